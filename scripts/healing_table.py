#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Markdown tables of what bench/healing_table measured: perplexity by replacement and loss, one table a cut.

    scripts/healing_table.py runs.jsonl

Mean over seeds, and ± half of what lies between the smallest and the largest where there are several. Standard library
only.
"""
import collections
import json
import sys


def cell(values):
    if not values:
        return "–"
    mean, spread = sum(values) / len(values), (max(values) - min(values)) / 2
    return f"{mean:.2f}" + (f" ± {spread:.2f}" if len(values) > 1 else "")


def main():
    runs = collections.defaultdict(list)
    for line in open(sys.argv[1], encoding="utf-8"):
        run = json.loads(line)
        runs[run["cut"], run["replacement"], run["loss"]].append(run["perplexity"])
    losses = list(dict.fromkeys(loss for _, _, loss in runs if loss))
    for cut in sorted({cut for cut, _, _ in runs}):
        print(f"{cut} layers cut; nothing in their place: {cell(runs.get((cut, 'none', ''), []))}\n")
        print("| replacement |" + "".join(f" {loss} |" for loss in losses))
        print("|---|" + "---:|" * len(losses))
        for name in dict.fromkeys(name for of, name, _ in runs if of == cut and name != "none"):
            print(f"| `{name}` |" + "".join(f" {cell(runs.get((cut, name, loss), []))} |" for loss in losses))
        print()


if __name__ == "__main__":
    main()
