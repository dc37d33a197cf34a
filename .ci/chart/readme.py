"""Keeps the value table of helm/README.md equal to the comments of helm/values.yaml. With --write it writes it."""

import json
import pathlib
import re
import sys

import yaml

CHART = pathlib.Path(__file__).parent.parent.parent / "helm"
BEGIN, END = "<!-- values: written by .ci/chart-readme -->\n", "<!-- end of values -->\n"


def documented():
    """Path, description of every value with a `# --` comment, in the file's order; and all paths."""
    path, note, rows, seen = [], None, [], []
    for line in (CHART / "values.yaml").read_text().splitlines():
        comment = re.match(r"\s*# (-- )?(.*)", line)
        key = re.match(r"(\s*)([A-Za-z][A-Za-z0-9]*):", line)
        if comment and comment[1]:
            note = comment[2]
        elif comment and note is not None:
            note += " " + comment[2]
        elif key:
            path = [*path[: len(key[1]) // 2], key[2]]
            seen.append(tuple(path))
            if note is not None:
                rows.append((tuple(path), note))
            note = None
    return rows, seen


def value(values, path):
    for key in path:
        values = values[key]
    return values


def main():
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    rows, seen = documented()
    known = {path for path, _ in rows}
    leaves = [path for path in seen if not any(other[: len(path)] == path and other != path for other in seen)]
    bare = [".".join(leaf) for leaf in leaves if not any(leaf[:n] in known for n in range(1, len(leaf) + 1))]
    if bare:
        sys.exit(f"helm/values.yaml: no `# --` comment on {', '.join(bare)}")
    table = "| Value | Default | Meaning |\n| --- | --- | --- |\n"
    for path, note in rows:
        default = json.dumps(value(values, path), ensure_ascii=False)
        table += f"| `{'.'.join(path)}` | `{default}` | {note.replace('|', chr(92) + '|')} |\n"
    readme = CHART / "README.md"
    text = readme.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    wanted = f"{before}{BEGIN}{table}{END}{after}"
    if "--write" in sys.argv:
        readme.write_text(wanted)
    elif wanted != text:
        sys.exit("helm/README.md is not what values.yaml says: run .ci/chart-readme --write")
    print(f"helm/README.md names all {len(rows)} values")


main()
