use std::time::{Duration, Instant};
use snorri_language::check::{File, check};
use snorri_language::explore::{Bounds, Role, explore};
use snorri_language::text::Format;
#[test]
fn measure() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../definitions");
    let mut texts = Vec::new();
    let mut names: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    for p in names { texts.push((p.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(&p).unwrap())); }
    let files: Vec<File> = texts.iter().map(|(n, t)| File { name: n, text: t, format: Format::of(n) }).collect();
    let report = check(&files, |_, _| None);
    let faults = std::env::var("FAULTS").ok().and_then(|f| f.parse().ok()).unwrap_or(1);
    let secs = std::env::var("SECS").ok().and_then(|f| f.parse().ok()).unwrap_or(20);
    let only = std::env::var("ONLY").unwrap_or_default();
    for f in &report.files {
        if !only.is_empty() && !f.file.starts_with(&only) { continue }
        let Some(d) = &f.definition else { println!("{}: errors {:?}", f.file, f.diagnostics); continue };
        for role in [Role::Alone, Role::Part] {
            if role == Role::Part && !["trip.yaml", "payment.yaml"].contains(&f.file.as_str()) { continue }
            let began = Instant::now();
            let b = Bounds { faults, states: 3_000_000, time: Duration::from_secs(secs), role, ..Bounds::default() };
            let e = explore(d, &b, &|| began.elapsed());
            println!("{} {e} {:?} {:?}", f.file, e.stopped, e.ends);
        }
    }
}
