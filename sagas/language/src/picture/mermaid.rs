//! The scene as a Mermaid flowchart.

use std::fmt::Write as _;

use super::scene::{Card, Look, Scene, Undo};
use super::text::mermaid;
use snorri_saga::definition::Zone;

/// How the kinds look; readable on light and on dark.
const STYLES: &str = "\
    classDef step fill:#f6f8fa,stroke:#59636e,color:#1f2328
    classDef pivot fill:#fbefff,stroke:#8250df,stroke-width:3px,color:#1f2328
    classDef wait fill:#ddf4ff,stroke:#0969da,color:#1f2328
    classDef many fill:#f6f8fa,stroke:#59636e,stroke-width:4px,color:#1f2328
    classDef terminal fill:#ffffff,stroke:#59636e,color:#1f2328
";

/// The flowchart's text.
pub(super) fn text(scene: &Scene) -> String {
    // Writing to a text cannot fail.
    let mut out = String::new();
    let _ = write(&mut out, scene);
    out
}

fn write(out: &mut String, scene: &Scene) -> std::fmt::Result {
    writeln!(out, "flowchart TB")?;
    if scene.leads_back() {
        writeln!(out, "    %% dashed: the way back, if something fails")?;
    }
    writeln!(out, "    begin([\"{}\"])", mermaid(&format!("{} · {}", scene.title, scene.facts)))?;
    let is_behind = |one: &Card| one.zone == Zone::Behind;
    for (at, one) in scene.cards.iter().enumerate().filter(|(_, one)| !is_behind(one)) {
        writeln!(out, "    {}", node(at, one))?;
    }
    if scene.cards.iter().any(is_behind) {
        writeln!(out, "    subgraph behind[\"behind the point of no return\"]")?;
        for (at, one) in scene.cards.iter().enumerate().filter(|(_, one)| is_behind(one)) {
            writeln!(out, "        {}", node(at, one))?;
        }
        writeln!(out, "    end")?;
    }
    writeln!(out, "    done([\"completed\"])")?;
    let mut dashed = Vec::new();
    let mut count = 0_usize;
    for at in scene.firsts() {
        writeln!(out, "    begin -->{} s{at}", condition(scene, at))?;
        count += 1;
    }
    for arrow in &scene.arrows {
        writeln!(out, "    s{} -->{} s{}", arrow.from, condition(scene, arrow.to), arrow.to)?;
        count += 1;
        if arrow.leads_back {
            // With a head at both ends: an arrow the other way would make a circle, and Mermaid would put a step that waits for
            // several above some of them.
            writeln!(out, "    s{} <-.-> s{}", arrow.from, arrow.to)?;
            dashed.push(count.to_string());
            count += 1;
        }
    }
    for at in scene.lasts() {
        writeln!(out, "    s{at} --> done")?;
    }
    if !dashed.is_empty() {
        writeln!(out, "    linkStyle {} stroke:#bc4c00", dashed.join(","))?;
    }
    out.push_str(STYLES);
    writeln!(out, "    class begin,done terminal")
}

fn condition(scene: &Scene, at: usize) -> String {
    let when = scene.cards.get(at).and_then(|one| one.when.as_ref());
    when.map(|when| format!("|\"{}\"|", mermaid(when))).unwrap_or_default()
}

fn node(at: usize, one: &Card) -> String {
    let kind = if one.zone == Zone::Pivot { "pivot: the point of no return" } else { one.kind };
    let mut lines = vec![format!("<b>{}</b> ({})", mermaid(&one.name), mermaid(kind)), mermaid(&one.what)];
    lines.extend(one.notes.iter().map(|note| mermaid(note)));
    match &one.undo {
        Undo::Nothing => {}
        Undo::Stays => lines.push("its effect stays".to_owned()),
        Undo::By(what) => lines.push(format!("undone by {}", mermaid(what))),
    }
    let label = lines.join("<br/>");
    let (open, close) = match one.look {
        _ if one.zone == Zone::Pivot => ("{{", "}}"),
        Look::Work => ("[", "]"),
        Look::Saga => ("[[", "]]"),
        Look::Wait => ("([", "])"),
    };
    let class = match one.look {
        _ if one.zone == Zone::Pivot => "pivot",
        Look::Wait => "wait",
        Look::Work | Look::Saga if one.is_stacked => "many",
        Look::Work | Look::Saga => "step",
    };
    format!("s{at}{open}\"{label}\"{close}:::{class}")
}
