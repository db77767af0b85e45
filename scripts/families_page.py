# SPDX-License-Identifier: Apache-2.0
"""Writes the table of docs/families.md from the registry and from docs/loads.md:  families_page.py PROGRAM [--check]

PROGRAM is the built `streamline`. With --check nothing is written; the exit status says whether the table is right.
"""
import json
import pathlib
import subprocess
import sys

DOCS = pathlib.Path(__file__).resolve().parents[1] / "docs"
LOADERS = ["transformers", "vllm", "mlx-lm", "llama.cpp"]
BEGIN, END = "<!-- table: scripts/families_page.py -->\n", "<!-- end -->\n"


def cells(line):
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def tables(text):
    """Each as its head and its rows."""
    for block in text.split("\n\n"):
        lines = [cells(line) for line in block.splitlines() if line.startswith("|")]
        if lines:
            yield lines[0], lines[2:]


def checked_loaders():
    """Loaders by family, from the figures in the tables of loads.md."""
    page = DOCS / "loads.md"
    if not page.exists():
        return {}
    found = {}
    for head, rows in tables(page.read_text()):
        loaders = [title.split(" ")[0] for title in head[1:]]
        for title, *results in rows:
            family = "nemotron_nas" if "DeciLM" in title else title.split(",")[0]
            known = found.setdefault(family, [])
            known += [loader for loader, result in zip(loaders, results, strict=True)
                      if loader in LOADERS and loader not in known and is_number(result)]
    return {family: [loader for loader in LOADERS if loader in known] for family, known in found.items()}


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
