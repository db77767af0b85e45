# SPDX-License-Identifier: Apache-2.0
"""Checks from the #include lines that includes only point down the layer table, and that the half of the source that
is free of torch stays so. Prints each violation; exit status 1 if there is one."""

import pathlib
import re
import sys

# What each folder of src/streamline may include, besides itself. The first seven never see torch.
TORCH_FREE = {
    "base": [],
    "io": ["base"],
    "arch": ["base", "io"],
    "plan": ["base", "io", "arch"],
    "text": ["base", "io"],
    "report": ["base", "plan"],
    "tasks": ["base", "io", "text"],
}
COMPUTING = {
    "nn": ["base", "io", "arch"],
    "engine": ["base", "io", "arch", "plan", "text", "nn"],
    "eval": ["base", "io", "arch", "plan", "text", "tasks", "nn", "engine"],
    "surgery": ["base", "io", "arch", "plan", "nn", "engine"],
    "prune": ["base", "io", "arch", "plan", "text", "nn", "engine", "eval"],
    "heal": ["base", "io", "arch", "plan", "text", "nn", "engine", "eval", "surgery"],
    "merge": ["base", "io", "arch", "plan", "nn", "engine", "surgery", "heal"],
    "chip": ["base", "io", "arch", "plan", "text", "tasks", "nn", "engine", "surgery", "heal"],
    "sparse": ["base", "io", "arch", "text", "plan", "nn", "engine", "prune", "heal"],
}
ALLOWED = TORCH_FREE | COMPUTING
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')
TORCH = re.compile(r"^(torch|ATen|c10|caffe2)/")


def includes(path):
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if match := INCLUDE.match(line):
            yield number, match[1], match[2]


def violations(source):
    """Sentences, one for each offending #include under `source`, the folder that holds streamline/."""
    found = []
    for path in sorted(source.glob("streamline/*/**/*")):
        if path.suffix not in (".h", ".cpp", ".def"):
            continue
        folder = path.relative_to(source).parts[1]
        if folder not in ALLOWED:
            found.append(f"{path}: the folder {folder} is not in the layer table")
            continue
        for number, quote, name in includes(path):
            where = f"{path}:{number}: {folder} includes {name}"
            if TORCH.match(name) and folder in TORCH_FREE:
                found.append(f"{where}; this folder is free of torch")
            elif quote == '"' and not name.startswith("streamline/"):
                found.append(f'{where}; write the path from src: "streamline/{folder}/…"')
            elif name.startswith("streamline/"):
                target = name.split("/")[1]
                if target != folder and target not in ALLOWED[folder]:
                    found.append(f"{where}; it may include {', '.join([folder] + ALLOWED[folder])}")
    return found


if __name__ == "__main__":
    problems = violations(pathlib.Path(sys.argv[1]))
    print("\n".join(problems) or "includes point down the layer table")
    sys.exit(1 if problems else 0)
