//! The reference, `docs/definition.md`: its tables are those that the program makes, every field of the schema is in it, and what it shows
//! can be used.

#[path = "support/golden.rs"]
mod golden;

use golden::{is_kept, read};
use serde_json::Value;
use snorri_language::reference::{key_of, renewed};
use snorri_language::schema::{json_schema, mappings};
use snorri_saga::definition::{Definition, Draft};

const PAGE: &str = "docs/definition.md";

/// The blocks of code of a kind, each with the line that it begins in.
fn blocks<'a>(page: &'a str, kind: &str) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut block: Option<(usize, Vec<&'a str>)> = None;
    for (at, line) in page.lines().enumerate() {
        match &mut block {
            Some((begun, lines)) if line == "```" => {
                blocks.push((*begun, lines.join("\n")));
                block = None;
            }
            Some((_, lines)) => lines.push(line),
            None if line == format!("```{kind}") => block = Some((at + 2, Vec::new())),
            None => {}
        }
    }
    blocks
}

#[test]
fn its_tables_are_those_that_the_program_makes() {
    is_kept(PAGE, &renewed(&read(PAGE)));
}

#[test]
fn it_has_a_table_for_every_mapping() {
    let page = read(PAGE);
    let told: Vec<&str> = page.lines().filter_map(key_of).collect();
    let known: Vec<&str> = mappings().iter().map(|mapping| mapping.key).collect();
    for key in &known {
        assert_eq!(told.iter().filter(|told| told == &key).count(), 1, "{key}");
    }
    assert!(told.iter().all(|told| known.contains(told)), "{told:?}");
}

/// Taken from the schema itself, whoever makes it.
#[test]
fn it_names_every_field_of_the_schema() {
    fn fields(schema: &Value, found: &mut Vec<String>) {
        match schema {
            Value::Object(parts) => {
                if let Some(Value::Object(properties)) = parts.get("properties") {
                    found.extend(properties.keys().cloned());
                }
                parts.values().for_each(|part| fields(part, found));
            }
            Value::Array(parts) => parts.iter().for_each(|part| fields(part, found)),
            _ => {}
        }
    }
    let page = read(PAGE);
    let mut found = Vec::new();
    fields(&json_schema(), &mut found);
    assert!(found.len() > 30, "{found:?}");
    for field in found {
        assert!(page.contains(&format!("| `{field}` |")), "the field `{field}` is not in {PAGE}");
    }
}

#[test]
fn a_definition_that_it_shows_is_one() {
    let page = read(PAGE);
    let shown = blocks(&page, "yaml");
    let mut whole = 0;
    for (line, text) in &shown {
        // One that begins with a name is a definition; what else there is are parts.
        if !text.starts_with("name:") {
            continue;
        }
        whole += 1;
        let draft: Draft =
            serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("line {line}: {error}"));
        let checked = Definition::from_draft(&draft);
        assert!(checked.is_ok(), "line {line}: {checked:?}");
        let value: Value = serde_saphyr::from_str(text).expect("YAML");
        let fits = jsonschema::validate(&json_schema(), &value);
        assert!(fits.is_ok(), "line {line}: {fits:?}");
    }
    assert!(whole >= 2, "{whole} of {}", shown.len());
}

#[test]
fn the_parts_that_it_shows_are_steps() {
    let page = read(PAGE);
    let parts: Vec<(usize, String)> =
        blocks(&page, "yaml").into_iter().filter(|(_, text)| text.starts_with("- name:")).collect();
    assert!(parts.len() >= 5, "{parts:?}");
    for (line, text) in parts {
        let steps: Value =
            serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("line {line}: {error}"));
        let whole = serde_json::json!({"name": "shown", "steps": steps});
        let fits = jsonschema::validate(&json_schema(), &whole);
        assert!(fits.is_ok(), "line {line}: {fits:?}");
    }
}

/// The sum that it explains is the one that the program makes.
#[test]
fn its_example_of_a_window_adds_up() {
    let page = read(PAGE);
    let (_, text) =
        blocks(&page, "yaml").into_iter().find(|(_, text)| text.starts_with("name: sum")).expect("it");
    let draft: Draft = serde_saphyr::from_str(&text).expect("YAML");
    let worst = Definition::from_draft(&draft).expect("a definition").worst_case();
    let told = format!(
        "takes {}, the pivot {} and undoing\neverything {}: {} of {}",
        worst.before_millis(),
        worst.pivot_millis(),
        worst.unwind_millis(),
        worst.total(),
        draft.window.expect("a window"),
    );
    assert!(page.contains(&told), "{told}");
}

/// The links into the page of what happens when things go wrong lead somewhere, and all of its rows are there.
#[test]
fn every_row_of_the_semantics_is_there() {
    let semantics = read("docs/semantics.md");
    for row in 1..=20 {
        assert!(semantics.contains(&format!("\n### E{row:02}: ")), "E{row:02} is missing");
    }
    let page = read(PAGE);
    for link in page.split("semantics.md#").skip(1) {
        let anchor: String = link.chars().take_while(|c| *c != ')').collect();
        let heading = semantics.lines().filter_map(|line| line.strip_prefix("### ")).any(|heading| {
            let name: String = heading
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
                .collect();
            name.replace(' ', "-") == anchor
        });
        assert!(heading, "nothing is called {anchor}");
    }
}
