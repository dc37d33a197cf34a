//! A strict reader of OpenMetrics text: what the standard says a scraper may refuse is refused here.

use std::collections::{BTreeMap, BTreeSet, HashMap};

pub type Labels = BTreeMap<String, String>;

#[derive(Debug, Clone)]
pub struct Sample {
    pub name: String,
    pub labels: Labels,
    pub value: f64,
    pub exemplar: Option<Labels>,
}

#[derive(Debug, Default)]
pub struct Scrape {
    /// The families with their types.
    pub families: BTreeMap<String, String>,
    pub samples: Vec<Sample>,
}

impl Scrape {
    /// The value of one series; nothing when it is not there.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |sample: &&Sample| {
            sample.name == name
                && sample.labels.len() == labels.len()
                && labels
                    .iter()
                    .all(|(key, value)| sample.labels.get(*key).is_some_and(|found| found == value))
        };
        self.samples.iter().find(has).map(|sample| sample.value)
    }
}

fn suffixes(kind: &str) -> &'static [&'static str] {
    match kind {
        "counter" => &["_total"],
        "gauge" => &[""],
        "histogram" => &["_bucket", "_sum", "_count"],
        "info" => &["_info"],
        other => panic!("a type of none of ours: {other}"),
    }
}

/// Reads a scrape, or says in which line it breaks which rule.
pub fn read(text: &str) -> Result<Scrape, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("it does not end with `# EOF`")?;
    let mut scrape = Scrape::default();
    let (mut current, mut helped) = (String::new(), BTreeSet::new());
    let mut series = BTreeSet::new();
    for line in body.lines() {
        let broken = |rule: &str| Err(format!("{rule}: {line}"));
        if let Some(meta) = line.strip_prefix("# ") {
            let mut words = meta.splitn(3, ' ');
            let (keyword, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let rest = words.next().unwrap_or_default();
            if name != current && (scrape.families.contains_key(name) || helped.contains(name)) {
                return broken("a family is in two places");
            }
            name.clone_into(&mut current);
            match keyword {
                "HELP" if !rest.is_empty() && helped.insert(name.to_owned()) => {}
                "TYPE" if scrape.families.insert(name.to_owned(), rest.to_owned()).is_none() => {
                    if scrape.samples.last().is_some_and(|last| last.name.starts_with(&format!("{name}_"))) {
                        return broken("the type comes after the samples");
                    }
                }
                "UNIT" if name.ends_with(&format!("_{rest}")) => {}
                _ => return broken("a line of metadata that is none, or twice"),
            }
            continue;
        }
        let sample = sample(line).map_err(|rule| format!("{rule}: {line}"))?;
        let Some(kind) = scrape.families.get(&current) else { return broken("a sample without a type") };
        let Some(suffix) = sample.name.strip_prefix(&current) else {
            return broken("a sample of another family");
        };
        if !suffixes(kind).contains(&suffix) {
            return broken("a suffix that the type does not have");
        }
        if kind == "counter" && (sample.value < 0.0 || !sample.value.is_finite()) {
            return broken("a counter below zero");
        }
        if sample.exemplar.is_some() && suffix != "_bucket" && suffix != "_total" {
            return broken("an exemplar where none may be");
        }
        if !series.insert(format!("{}{:?}", sample.name, sample.labels)) {
            return broken("a series is there twice");
        }
        scrape.samples.push(sample);
    }
    let untyped = helped.iter().find(|name| !scrape.families.contains_key(*name));
    if let Some(name) = untyped {
        return Err(format!("{name} has no type"));
    }
    histograms(&scrape)?;
    Ok(scrape)
}

fn histograms(scrape: &Scrape) -> Result<(), String> {
    for family in scrape.families.iter().filter(|(_, kind)| *kind == "histogram").map(|(name, _)| name) {
        let mut buckets: HashMap<Labels, Vec<(f64, f64)>> = HashMap::new();
        for sample in scrape.samples.iter().filter(|sample| sample.name == format!("{family}_bucket")) {
            let mut labels = sample.labels.clone();
            let bound = labels.remove("le").ok_or_else(|| format!("a bucket of {family} without `le`"))?;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().map_err(|_| bound)? };
            buckets.entry(labels).or_default().push((bound, sample.value));
        }
        for (labels, buckets) in buckets {
            let rises = buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
            let last = buckets.last().copied().unwrap_or_default();
            let of: Vec<_> = labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
            let count = scrape.value(&format!("{family}_count"), &of);
            let has_sum = scrape.value(&format!("{family}_sum"), &of).is_some();
            if !rises || last.0.is_finite() || Some(last.1) != count || !has_sum {
                return Err(format!("the buckets of {family} {labels:?} do not fit: {buckets:?}, {count:?}"));
            }
        }
    }
    Ok(())
}

fn sample(line: &str) -> Result<Sample, &'static str> {
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(line.len());
    let (name, mut rest) = line.split_at(end);
    if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
        return Err("not a name");
    }
    let mut labels = Labels::new();
    if rest.starts_with('{') {
        (labels, rest) = set(rest)?;
    }
    let rest = rest.strip_prefix(' ').ok_or("no blank before the value")?;
    let (value, exemplar) = match rest.split_once(" # ") {
        Some((value, exemplar)) => (value, Some(self::exemplar(exemplar)?)),
        None => (rest, None),
    };
    Ok(Sample { name: name.to_owned(), labels, value: number(value)?, exemplar })
}

fn exemplar(text: &str) -> Result<Labels, &'static str> {
    let (labels, rest) = set(text)?;
    let numbers: Vec<_> =
        rest.strip_prefix(' ').ok_or("no blank before an exemplar's value")?.split(' ').collect();
    if numbers.len() > 2 || numbers.iter().any(|text| number(text).is_err()) {
        return Err("an exemplar's value or time is no number");
    }
    let length: usize = labels.iter().map(|(key, value)| key.chars().count() + value.chars().count()).sum();
    if length > 128 { Err("an exemplar is longer than 128 characters") } else { Ok(labels) }
}

fn number(text: &str) -> Result<f64, &'static str> {
    text.parse().map_err(|_| "not a number")
}

/// `{a="b",c="d"}` and what follows.
fn set(text: &str) -> Result<(Labels, &str), &'static str> {
    let mut rest = text.strip_prefix('{').ok_or("no labels")?;
    let mut labels = Labels::new();
    loop {
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok((labels, rest));
        }
        if !labels.is_empty() {
            rest = rest.strip_prefix(',').ok_or("no comma between labels")?;
        }
        let (key, after) = rest.split_once("=\"").ok_or("a label without a value")?;
        let is_word = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if key.is_empty() || !is_word || key.starts_with(|c: char| c.is_ascii_digit()) {
            return Err("not a label's name");
        }
        let (mut value, mut chars) = (String::new(), after.chars());
        loop {
            match chars.next() {
                Some('"') => break,
                Some('\\') => match chars.next() {
                    Some('n') => value.push('\n'),
                    Some(c @ ('"' | '\\')) => value.push(c),
                    _ => return Err("a bad escape"),
                },
                Some(c) => value.push(c),
                None => return Err("a label's value does not end"),
            }
        }
        rest = chars.as_str();
        if labels.insert(key.to_owned(), value).is_some() {
            return Err("a label is there twice");
        }
    }
}

#[test]
fn the_reader_is_strict() {
    let good = "# HELP a x.\n# TYPE a counter\na_total{b=\"c\\\"\"} 1 # {trace_id=\"x\"} 1.0 2.0\n# EOF\n";
    assert_eq!(read(good).unwrap().value("a_total", &[("b", "c\"")]), Some(1.0));
    for bad in [
        "# TYPE a counter\na_total 1\n",
        "# TYPE a counter\na_total 1\n# EOF\n\n",
        "# TYPE a counter\na 1\n# EOF\n",
        "# TYPE a counter\na_total -1\n# EOF\n",
        "# TYPE a counter\na_total 1\na_total 1\n# EOF\n",
        "# TYPE a gauge\na 1\n# TYPE b gauge\nb 1\n# TYPE a gauge\n# EOF\n",
        "# TYPE a gauge\na 1 # {b=\"c\"} 1\n# EOF\n",
        "# TYPE a gauge\na{b=\"c} 1\n# EOF\n",
        "# TYPE a gauge\na{b=\"c\",b=\"d\"} 1\n# EOF\n",
        "# TYPE a histogram\na_bucket{le=\"1.0\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n# EOF\n",
        "# TYPE a histogram\na_bucket{le=\"1.0\"} 1\na_sum 1\na_count 1\n# EOF\n",
        "a 1\n# EOF\n",
    ] {
        assert!(read(bad).is_err(), "{bad}");
    }
}
