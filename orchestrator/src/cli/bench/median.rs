//! Several runs of the same set: medians, and how far apart the runs were.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};

use super::report::{Report, RowReport, Spread};

/// The median, if there is anything; of an even number the mean of the middle two.
pub(super) fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(*values.get(middle.checked_sub(1)?)?, upper))
}

/// The lowest and the highest, if there is anything.
fn range(values: impl Iterator<Item = f64>) -> Option<[f64; 2]> {
    values.fold(None, |range, value| {
        let [low, high] = range.unwrap_or([value; 2]);
        Some([low.min(value), high.max(value)])
    })
}

/// One report of several runs of the same set: each row has its medians, and the runs are in it.
pub(super) fn combine(mut runs: Vec<Report>) -> Result<Report, serde_json::Error> {
    let Some(first) = runs.first() else { return Ok(Report::default()) };
    if runs.len() == 1 {
        return Ok(runs.remove(0));
    }
    let mut combined = first.heading();
    for row in &first.rows {
        let same: Vec<&RowReport> =
            runs.iter().filter_map(|run| run.rows.iter().find(|other| other.name == row.name)).collect();
        combined.rows.push(combine_rows(&same)?);
    }
    // What only a later run has: a row is named by the best number in flight, for example.
    for row in runs.iter().skip(1).flat_map(|run| &run.rows) {
        if combined.rows.iter().all(|other| other.name != row.name) {
            combined.rows.push(same_again(row)?);
        }
    }
    combined.sagas_in_postgres = runs.iter().map(|run| run.sagas_in_postgres).sum();
    combined.sagas_not_ended = runs.iter().map(|run| run.sagas_not_ended).sum();
    combined.runs = runs;
    Ok(combined)
}

fn combine_rows(rows: &[&RowReport]) -> Result<RowReport, serde_json::Error> {
    let mut row = middle_of(rows)?;
    let figures = |of: fn(&RowReport) -> Option<f64>| range(rows.iter().filter_map(|row| of(row)));
    row.spread = Some(Spread {
        sagas_per_s: figures(|row| row.sagas_per_s),
        end_to_end_p50: figures(|row| Some(row.end_to_end?.p50)),
        end_to_end_p99: figures(|row| Some(row.end_to_end?.p99)),
        start_p50: figures(|row| Some(row.start?.p50)),
        start_p99: figures(|row| Some(row.start?.p99)),
        cpu_s_per_1000: figures(RowReport::cpu_together),
        recovered_s: figures(RowReport::recovered_s),
    });
    row.problems = rows
        .iter()
        .zip(1..)
        .flat_map(|(row, run)| row.problems.iter().map(move |problem| format!("run {run}: {problem}")))
        .collect();
    Ok(row)
}

fn same_again<T: Serialize + DeserializeOwned>(one: &T) -> Result<T, serde_json::Error> {
    middle_of(&[one])
}

/// A value whose numbers are the medians of the others' numbers. What only some have counts where it is; of flags any
/// one is enough; words and lists of different lengths are the first one's.
fn middle_of<T: Serialize + DeserializeOwned>(all: &[&T]) -> Result<T, serde_json::Error> {
    let values: Result<Vec<Value>, _> = all.iter().map(serde_json::to_value).collect();
    serde_json::from_value(middle(&values?.iter().collect::<Vec<_>>()))
}

fn middle(values: &[&Value]) -> Value {
    let there: Vec<&Value> = values.iter().copied().filter(|value| !value.is_null()).collect();
    let Some(first) = there.first() else { return Value::Null };
    match first {
        Value::Number(_) => {
            let is_whole = there.iter().all(|value| value.as_u64().is_some());
            let Some(middle) = median(there.iter().filter_map(|value| value.as_f64())) else {
                return Value::Null;
            };
            if is_whole {
                // Counts; none of them is as large as what a float cannot hold.
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
                return Value::Number(Number::from(middle.round() as u64));
            }
            Number::from_f64(middle).map_or(Value::Null, Value::Number)
        }
        Value::Bool(_) => Value::Bool(there.iter().any(|value| **value == Value::Bool(true))),
        Value::Array(items) => {
            let arrays: Vec<&Vec<Value>> = there.iter().filter_map(|value| value.as_array()).collect();
            if arrays.iter().any(|array| array.len() != items.len()) {
                return (*first).clone();
            }
            let at = |place: usize| {
                middle(&arrays.iter().filter_map(|array| array.get(place)).collect::<Vec<_>>())
            };
            Value::Array((0..items.len()).map(at).collect())
        }
        Value::Object(fields) => {
            let of =
                |name: &String| middle(&there.iter().filter_map(|value| value.get(name)).collect::<Vec<_>>());
            Value::Object(fields.keys().map(|name| (name.clone(), of(name))).collect::<Map<_, _>>())
        }
        Value::String(_) | Value::Null => (*first).clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::report::Latency;

    #[test]
    fn a_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0].into_iter()), Some(2.5));
        assert_eq!(median(std::iter::empty()), None);
        assert_eq!(range([3.0, 1.0, 2.0].into_iter()), Some([1.0, 3.0]));
    }

    fn run(rate: f64, accepted: u64, problem: Option<&str>) -> Report {
        let mut row = RowReport::new("16 in flight".to_owned());
        row.in_flight = Some(16);
        row.sagas_per_s = Some(rate);
        row.accepted = accepted;
        row.end_to_end = Some(Latency { p50: rate / 100.0, p99: 20.0, max: 30.0 });
        row.problems.extend(problem.map(str::to_owned));
        let mut report = Report::default();
        report.add(row);
        report.audit(accepted, u64::from(problem.is_some()));
        report
    }

    #[test]
    fn three_runs_show_their_medians_and_how_far_apart_they_were() {
        let runs = vec![run(1000.0, 11, None), run(1300.0, 14, Some("late")), run(1100.0, 12, None)];
        let combined = combine(runs).expect("a report");
        let row = combined.rows.first().expect("a row");
        assert_eq!((row.sagas_per_s, row.accepted, row.in_flight), (Some(1100.0), 12, Some(16)));
        assert_eq!(row.end_to_end, Some(Latency { p50: 11.0, p99: 20.0, max: 30.0 }));
        let spread = row.spread.as_ref().expect("a spread");
        assert_eq!(spread.sagas_per_s, Some([1000.0, 1300.0]));
        assert_eq!(spread.start_p99, None);
        assert_eq!(row.problems, ["run 2: late"]);
        assert_eq!((combined.sagas_in_postgres, combined.sagas_not_ended), (37, 1));
        assert_eq!(combined.runs.len(), 3);
    }

    #[test]
    fn one_run_is_itself() {
        let report = combine(vec![run(1000.0, 11, None)]).expect("a report");
        assert!(report.runs.is_empty());
        assert!(report.rows.iter().all(|row| row.spread.is_none()));
    }

    #[test]
    fn a_row_that_only_a_later_run_has_is_kept() {
        let mut second = run(1000.0, 11, None);
        second.add(RowReport::new("another".to_owned()));
        let combined = combine(vec![run(1000.0, 11, None), second]).expect("a report");
        let names: Vec<&str> = combined.rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["16 in flight", "another"]);
    }
}
