# SPDX-License-Identifier: Apache-2.0
"""Writes the table of docs/families.md from the registry and from docs/loads.md:  families_page.py PROGRAM [--check]

PROGRAM is the built `streamline`. With --check nothing is written; the exit status says whether the table is right.
"""
import json
import pathlib
import subprocess
import sys

DOCS = pathlib.Path(__file__).resolve().parents[1] / "docs"
BEGIN, END = "<!-- table: scripts/families_page.py -->\n", "<!-- end -->\n"


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def checked_loaders():
    """Loaders by family, from the rows of loads.md that end with a figure."""
    page = DOCS / "loads.md"
    if not page.exists():
        return {}
    lines = [line for line in page.read_text().splitlines() if line.startswith("|")]
    loaders = [title.split(" ")[0] for title in cells(lines[0])[1:]]
    found = {}
    for line in lines[2:]:
        title, *results = cells(line)
        family = title.split(",")[0]
        found[family] = [loader for loader, result in zip(loaders, results, strict=True) if is_number(result)]
    return found


def table(program):
    registered = json.loads(subprocess.run([program, "list", "--json"], check=True, capture_output=True).stdout)
    loads = checked_loaders()
    rows = ["| family | `model_type` | beside Llama it has | GGUF | checked |", "|---|---|---|---|---|"]
    for family in registered["families"]:
        types = ", ".join(f"`{name}`" for name in family["model_types"])
        gguf = f"`{family['gguf']}`" if family["gguf"] else "—"
        checked = ", ".join(loads.get(family["name"], [])) or "—"
        rows.append(f"| {family['title']} | {types} | {family['about']} | {gguf} | {checked} |")
    return "\n".join(rows) + "\n"


def main():
    program, *options = sys.argv[1:]
    page = DOCS / "families.md"
    text = page.read_text()
    before, rest = text.split(BEGIN)
    after = rest.split(END, 1)[1]
    wanted = before + BEGIN + table(program) + END + after
    if "--check" in options:
        if wanted != text:
            sys.exit("docs/families.md is not what the registry says; run scripts/families_page.py PROGRAM")
        return
    page.write_text(wanted)


if __name__ == "__main__":
    main()
