#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every method on one model at several sizes, before and after one budget of healing, as docs/comparison.md shows it.

    scripts/comparison.py MODEL --data FILE --perplexity FILE --layers 1,2,4 --out FOLDER [-- further options of compare]

Runs one `streamline compare` for each size (FOLDER/SIZE.json, .html; what is there is not measured again), and prints a
table. `--layers` cuts whole layers; `--budget params=0.8x` (repeatable) takes any method to a share of the parameters.
Standard library only; the program does the work.
"""
import argparse
import json
import math
import pathlib
import statistics
import sys

from measuring import PROGRAM, Program, write_json


def measured(run, args, size, words):
    """The record of one size, from FOLDER or measured now."""
    file = args.out / f"{size.replace('=', '-')}.json"
    if not file.exists():
        page = file.with_suffix(".html")
        page.unlink(missing_ok=True)
        heal_data = ["--heal-data", args.heal_data] if args.heal_data else []
        write_json(file, run("compare", args.model, "--methods", args.methods, *words, "--data", args.data, "--perplexity",
                             args.perplexity, "--seeds", args.seeds, "--heal-tokens", args.heal_tokens, *heal_data, "--html", page,
                             "--out", args.out / "kept"))
    return json.loads(file.read_text(encoding="utf-8"))


def spread(values):
    """'12.34', or '12.34 to 15.60' where draws came to different cuts."""
    low, high = (f"{value:.2f}" if value < 1e4 else f"{value:.2g}" for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def excess(model, source):
    """'+4.2 % ± 0.4', or 'x 290': the perplexity over the source's, with a standard error of the windows' differences."""
    windows, tokens = source["perplexity"]["window_nll"], source["perplexity"]["tokens"]
    differences = [(a - b) * len(windows) / tokens for a, b in zip(model["perplexity"]["window_nll"], windows)]
    mean = statistics.fmean(differences)
    error = statistics.stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else math.nan
    if mean > math.log(10):
        return f"x {math.exp(mean):.0f}" if mean < math.log(1e4) else f"x {math.exp(mean):.1g}"
    return f"{100 * math.expm1(mean):+.1f} % ± {100 * math.exp(mean) * error:.1f}"


def times_faster(model, source):
    """'1.25, 1.31': prefill and decode over the source's; '–' where no speed was measured."""
    if "speed" not in model or "speed" not in source:
        return "–"
    return ", ".join(f"{model['speed'][key] / source['speed'][key]:.2f}"
                     for key in ("prefill_tokens_per_second", "decode_tokens_per_second"))


def cut_words(cut):
    return cut.split(" (of")[0]


def rows(record):
    """One row a method, best perplexity first: name, parameters, what the first draw cut, perplexities, the first draw's
    over the source's, speeds, overlap, seconds."""
    source, found = record["models"][0], {}
    for model in record["models"][1:]:
        entry = found.setdefault(model["method"], {"cut": [], "healed": [], "model": model, "seconds": []})
        kind = "healed" if "healed" in model else "cut"
        if not entry[kind]:
            entry["first"] = model
        entry[kind].append(model["perplexity"]["value"])
        entry["seconds"].append(model["choosing_seconds"])
    overlap = {entry["method"]: entry["overlap"] for entry in record.get("calibration", [])}
    for name, entry in sorted(found.items(), key=lambda item: min(item[1]["healed"] or item[1]["cut"])):
        share = entry["model"]["parameters"] / source["parameters"]
        yield [f"`{name}`", f"{100 * share:.0f} %", cut_words(entry["model"].get("cut", "")), spread(entry["cut"]),
               spread(entry["healed"]) if entry["healed"] else "–", excess(entry["first"], source),
               times_faster(entry["model"], source), f"{overlap[name]:.2f}" if name in overlap else "–",
               f"{max(entry['seconds']):.1f}"]


def table(record):
    """Columns that say nothing of any method are left out."""
    head = ["method", "parameters", "cut by the first draw", "perplexity, cut", "healed", "first draw over the whole model",
            "times as fast (prefill, decode)", "overlap of draws", "seconds to choose"]
    lines = list(rows(record))
    told = [k for k in range(len(head)) if any(row[k] != "–" for row in lines)]
    rule = ["---" if head[k] in ("method", "cut by the first draw") else "---:" for k in told]
    return "\n".join("| " + " | ".join(line) + " |" for line in
                     [[head[k] for k in told], rule] + [[row[k] for k in told] for row in lines]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=pathlib.Path, help="checkpoint; options of compare may follow after --")
    parser.add_argument("--data", required=True, help="text that methods choose by")
    parser.add_argument("--perplexity", required=True, help="text to measure on")
    parser.add_argument("--heal-data", help="text to heal on; default: --data")
    parser.add_argument("--layers", default="", help="sizes in layers, as 1,2,4")
    parser.add_argument("--budget", action="append", default=[], help="or what may be left, as params=0.8x; repeatable")
    parser.add_argument("--methods", default="all")
    parser.add_argument("--seeds", type=int, default=3, help="draws of the calibration text")
    parser.add_argument("--heal-tokens", type=int, default=50000)
    parser.add_argument("--program", type=pathlib.Path, default=PROGRAM)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    args = parser.parse_args(words[:end])
    args.further = words[end + 1:]
    args.out.mkdir(parents=True, exist_ok=True)
    sizes = [(f"layers={layers}", ["--layers", layers]) for layers in filter(None, args.layers.split(","))]
    sizes += [(budget, ["--budget", budget]) for budget in args.budget]
    if not sizes:
        sys.exit("comparison.py: give --layers or --budget")
    run = Program(args.program, [*args.further, "--json"])
    for size, words in sizes:
        record = measured(run, args, size, words)
        source = record["models"][0]["perplexity"]
        print(f"### {size}\n\nThe whole model: {source['value']:.2f} ± {source['standard_error']:.2f}.\n\n{table(record)}")
        for sentence in record.get("warnings", []):
            print(f"- {sentence}")


if __name__ == "__main__":
    main()
