//! What an enemy may send: refused in less than a tenth of a second, with little memory, and with an answer of a size that
//! anybody can read.
#![expect(clippy::disallowed_methods, reason = "time and memory are measured here")]

use std::time::{Duration, Instant};

use snorri_language::check::{File, check};
use snorri_language::text::Format;

/// How long a refusal may take; a build without optimisation is not measured by that.
const TIME_MAX: Duration = Duration::from_millis(if cfg!(debug_assertions) { 5000 } else { 100 });
/// The largest answer, in bytes.
const ANSWER_MAX: usize = 200_000;
/// The most memory of the whole process, in KiB. The texts themselves have a part of it.
const MEMORY_MAX: u64 = 300 * 1024;

/// The time that this thread had a processor, where the system tells it: others may be at work on this machine.
fn now(began: Instant) -> Duration {
    let schedule = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let busy = schedule.and_then(|text| text.split(' ').next()?.parse().ok());
    busy.map_or_else(|| began.elapsed(), Duration::from_nanos)
}

fn is_refused(what: &str, text: &str, format: Format) {
    let began = Instant::now();
    let checked = || {
        let before = now(began);
        let report = check(&[File { name: "hostile", text, format }], |_, _| None);
        (report, now(began).saturating_sub(before))
    };
    let (report, mut took) = checked();
    // What takes too long again and again takes too long.
    for _ in 0..2 {
        if took >= TIME_MAX {
            took = took.min(checked().1);
        }
    }
    let answer = serde_json::to_string(&report).expect("JSON");
    let first = report.files.first().and_then(|file| file.diagnostics.first());
    let first =
        first.map(|found| format!("{}: {}", found.code, found.message.chars().take(60).collect::<String>()));
    println!("{took:>12?} {:>7} bytes  {what}: {}", answer.len(), first.unwrap_or_default());
    assert!(report.errors > 0, "{what} passes");
    assert!(took < TIME_MAX, "{what}: {took:?}");
    assert!(answer.len() < ANSWER_MAX, "{what}: an answer of {} bytes", answer.len());
}

fn yaml(what: &str, text: &str) {
    is_refused(what, text, Format::Yaml);
}

fn json(what: &str, text: &str) {
    is_refused(what, text, Format::Json);
}

fn with_input(input: &str) -> String {
    format!("name: order\nsteps:\n- name: a\n  participant: p\n  compensation: u\n  input: {input}\n")
}

fn with_steps(steps: &str) -> String {
    format!("name: order\nsteps:\n{steps}")
}

fn with_schema(schema: &str) -> String {
    format!("name: order\nsteps: [{{name: a, participant: p, compensation: u}}]\ninput: {schema}\n")
}

fn with_when(when: &str) -> String {
    format!("name: order\nsteps: [{{name: a, participant: p, compensation: u, when: '{when}'}}]\n")
}

/// One test, so that nothing else runs beside it.
#[test]
fn hostile_texts_are_refused_at_once() {
    aliases();
    sizes();
    depths();
    names();
    expressions();
    schemas();
    if let Ok(status) = std::fs::read_to_string("/proc/self/status") {
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak: u64 = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse().ok()).expect("a size");
        println!("{peak} KiB at the most");
        assert!(peak < MEMORY_MAX, "{peak} KiB");
    }
}

fn aliases() {
    // Each list names the one before nine times: nine to the power of nine.
    let mut bomb = vec![format!("l0: &l0 [{}]", ["x"; 9].join(","))];
    bomb.extend((1..9).map(|n| format!("l{n}: &l{n} [{}]", vec![format!("*l{}", n - 1); 9].join(","))));
    yaml("aliases of aliases", &with_input(&format!("{{{}}}", bomb.join(", "))));
    let long = "x".repeat(900_000);
    let aliases = vec!["*a"; 90].join(",");
    yaml("aliases of a long text", &with_input(&format!("[&a {long}, {aliases}]")));
    let anchors = (0..99).map(|n| format!("&a{n} {}", "x".repeat(9000))).collect::<Vec<_>>().join(",");
    let aliases = (0..990).map(|n| format!("*a{}", n % 99)).collect::<Vec<_>>().join(",");
    yaml("ten aliases of each anchor", &with_input(&format!("[{anchors},{aliases}]")));
    let merges = vec!["{<<: *a}"; 50_000].join(",");
    yaml("merges", &with_input(&format!("[&a {{b: c}}, {merges}]")));
    let fields = (0..5000).map(|n| format!("f{n}: 1")).collect::<Vec<_>>().join(",");
    let merges = vec!["{<<: *a}"; 4000].join(",");
    yaml("merges of many fields", &with_input(&format!("[&a {{{fields}}}, {merges}]")));
    yaml("an alias of what it is in", &with_input("&a [*a]"));
    let anchors = (0..80_000).map(|n| format!("&a{n} x")).collect::<Vec<_>>().join(",");
    yaml("anchors", &with_input(&format!("[{anchors}]")));
}

fn sizes() {
    yaml("empty steps", &with_steps(&"- {}\n".repeat(200_000)));
    yaml("as many steps as fit", &with_steps(&"- {name: a, participant: p}\n".repeat(37_000)));
    yaml("a million steps", &with_steps(&"- {name: a, participant: p}\n".repeat(1_000_000)));
    yaml("a million dashes", &with_steps(&"-\n".repeat(500_000)));
    let list = vec!["1"; 100_000].join(",");
    yaml("a template of 100,000 entries", &with_input(&format!("[{list}]")));
    let map = (0..100_000).map(|n| format!("{n}: 1")).collect::<Vec<_>>().join(", ");
    yaml("a template of 100,000 fields", &with_input(&format!("{{{map}}}")));
    yaml("many documents", &"---\na\n".repeat(100_000));
    yaml("a huge number", &with_input(&"9".repeat(900_000)));
    yaml("huge numbers", &with_input(&format!("[{}]", vec!["1e999999999"; 80_000].join(","))));
    yaml(
        "a huge exponent",
        &with_input("1e-99999999999999999999999999999999999999999999999999999999999999999"),
    );
    let unknown = (0..60_000).map(|n| format!("  f{n}: 1\n")).collect::<Vec<_>>().concat();
    yaml("unknown fields", &format!("name: order\nsteps:\n- name: a\n{unknown}"));
    yaml("one field 100,000 times", &with_steps(&format!("- name: a\n{}", "  when: a\n".repeat(90_000))));
    let tags = (0..60_000).map(|n| format!("t{n}: x")).collect::<Vec<_>>().join(", ");
    yaml(
        "tags",
        &format!("name: order\ntags: {{{tags}}}\nsteps: [{{name: a, participant: p, compensation: u}}]\n"),
    );
    let steps = vec![r#"{"name":"a","participant":"p"}"#; 34_000].join(",");
    json("as many steps as fit", &format!(r#"{{"name":"order","steps":[{steps}]}}"#));
    json("a huge number", &format!(r#"{{"name":{}}}"#, "9".repeat(900_000)));
    json("one field many times", &format!("{{{}}}", vec![r#""name":1"#; 100_000].join(",")));
    json("escapes", &format!(r#"{{"name":"{}"}}"#, "\\u0000".repeat(150_000)));
}

fn depths() {
    yaml("deep lists", &with_input(&format!("{}{}", "[".repeat(65), "]".repeat(65))));
    yaml("very deep lists", &with_input(&"[".repeat(500_000)));
    yaml("very deep mappings", &with_input(&"{a: ".repeat(200_000)));
    let blocks = (0..70).map(|n| format!("{}a:", "  ".repeat(n + 2))).collect::<Vec<_>>().join("\n");
    yaml("deep blocks", &with_input(&format!("\n{blocks} 1")));
    yaml("dashes", &with_input(&format!("\n    {}x", "- ".repeat(400_000))));
    yaml("question marks", &with_input(&format!("\n    {}x", "? ".repeat(400_000))));
    yaml("brackets that close nothing", &with_input(&"]".repeat(500_000)));
    json("deep lists", &"[".repeat(500_000));
    json("deep objects", &r#"{"a":"#.repeat(200_000));
}

fn names() {
    let long = "x".repeat(900_000);
    let names = (0..200)
        .map(|_| format!("- {{name: {}, participant: p}}\n", "x".repeat(5000)))
        .collect::<Vec<_>>()
        .concat();
    yaml("long names", &with_steps(&names));
    let more = "- {name: b, participant: p, kind: pivot}\n".repeat(199);
    let huge = format!("- {{name: {long}, participant: p, kind: pivot}}\n{more}");
    yaml("a huge name that others are told of", &with_steps(&huge));
    yaml("a long key", &with_steps(&format!("- {{? {long} : 1}}\n")));
    json("a long key", &format!(r#"{{"{long}":1}}"#));
    let needs = (0..200).map(|n| {
        format!(
            "- {{name: {}{n}, participant: p, needs: [{}]}}\n",
            "x".repeat(60),
            vec!["y".repeat(60); 60].join(",")
        )
    });
    yaml("needs of what is not there", &with_steps(&needs.collect::<Vec<_>>().concat()));
    let stray = vec!["\"${{ steps.q.output }}\""; 900].join(",");
    let many = (0..150)
        .map(|n| format!("- {{name: {}{n}, participant: p}}\n", "x".repeat(60)))
        .collect::<Vec<_>>()
        .concat();
    let ends = (0..40)
        .map(|n| format!("- {{name: z{n}, participant: p, input: [{stray}]}}\n"))
        .collect::<Vec<_>>()
        .concat();
    yaml("references to nothing", &with_steps(&format!("{many}{ends}")));
    let near = format!("\"${{{{ steps.{}9.output }}}}\"", "x".repeat(61));
    let near = vec![near; 900].join(",");
    let ends = (0..10)
        .map(|n| format!("- {{name: z{n}, participant: p, input: [{near}]}}\n"))
        .collect::<Vec<_>>()
        .concat();
    yaml("references to nearly something", &with_steps(&format!("{many}{ends}")));
}

fn expressions() {
    yaml("parentheses", &with_when(&"(".repeat(200_000)));
    yaml("few parentheses", &with_when(&"(".repeat(4000)));
    yaml("nots", &with_when(&"!".repeat(4000)));
    yaml("a sum", &with_when(&format!("1{}", "+1".repeat(2000))));
    yaml("macros in macros", &with_when(&format!("{}true{}", "[1].all(x, ".repeat(200), ")".repeat(200))));
    yaml("a text without an end", &with_when(&format!("\"{}", "x".repeat(900_000))));
    let wrong = vec!["\"${{ 1 + }}\""; 70_000].join(",");
    yaml("expressions that do not parse", &with_input(&format!("[{wrong}]")));
    let names = vec!["\"${{ inptu.a + outptu.b }}\""; 950].join(",");
    let steps =
        (0..35).map(|n| format!("- {{name: s{n}, participant: p, compensation: u, input: [{names}]}}\n"));
    yaml("expressions that make no sense", &with_steps(&steps.collect::<Vec<_>>().concat()));
}

fn schemas() {
    let mut defs: Vec<String> = (0..40)
        .map(|n| format!("d{n}: {{allOf: [{{$ref: '#/$defs/d{0}'}}, {{$ref: '#/$defs/d{0}'}}]}}", n + 1))
        .collect();
    defs.push("d40: {type: object}".to_owned());
    yaml(
        "references that double",
        &with_schema(&format!("{{$ref: '#/$defs/d0', $defs: {{{}}}}}", defs.join(", "))),
    );
    let properties = (0..50_000).map(|n| format!("p{n}: {{}}")).collect::<Vec<_>>().join(", ");
    yaml("properties", &with_schema(&format!("{{type: object, properties: {{{properties}}}}}")));
    let patterns =
        (0..2000).map(|n| format!("p{n}: {{pattern: '^[a-z{n}]{{500}}$'}}")).collect::<Vec<_>>().join(", ");
    yaml("patterns", &with_schema(&format!("{{type: object, properties: {{{patterns}}}}}")));
    let patterns = (0..49)
        .map(|n| format!("p{n}: {{pattern: '^(\\w{{{}}}){{99}}$'}}", n + 9))
        .collect::<Vec<_>>()
        .join(", ");
    yaml("large patterns", &with_schema(&format!("{{type: object, properties: {{{patterns}}}}}")));
    let keywords =
        (0..4000).map(|n| format!("{}{n}: 1", "minimumLength".repeat(4))).collect::<Vec<_>>().join(", ");
    yaml("keywords that are none", &with_schema(&format!("{{type: 7, {keywords}}}")));
}
