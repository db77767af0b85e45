#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what cutting and healing does to a model, as docs/results.md shows it.

    scripts/results.py MODEL --calibration FILE --training PATH --eval NAME=FILE --eval NAME=FILE --out results.md

Scores every window, cuts the best of each length, heals some of them with each replacement, and writes one Markdown
page and a .json beside it, after every model. Run again, it measures only what the .json does not hold. Standard library
only; the work is done by the program.
"""
import argparse
import json
import pathlib
import shutil
import sys
import tempfile

from measuring import PROGRAM, Program, plan_file, write_json


def numbers(text):
    """'1-3,6' as [1, 2, 3, 6]."""
    found = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def best_window(cosine, n):
    layers = len(cosine) - 1
    start = max(range(layers - n + 1), key=lambda i: (cosine[i][i + n], -i))
    return start, cosine[start][start + n]


def evaluate(run, model, texts, window, windows, plan=None):
    """Text name -> the perplexity object of `streamline eval --json`."""
    extra = ["--plan", plan] if plan else []
    return {name: run("eval", model, "--perplexity", file, "--window", window, "--max-windows", windows, *extra)["perplexity"]
            for name, file in texts.items()}


def heal(run, args, n, start, replacement, folder):
    """`replacement` may name its loss: layer@mse+kl."""
    out = pathlib.Path(folder) / f"{replacement}-{n}"
    name, _, loss = replacement.partition("@")
    rate = dict(pair.split("=") for pair in args.learning_rate).get(name)
    report, cost = run.timed("prune", args.model, "--data", args.training, "--out", out, "--cut", n, "--start", start,
                             "--replace", name, "--loss", loss or "mse", "--tokens", args.tokens, "--seq-len", args.seq_len,
                             "--no-speed", "--samples", args.samples, "--accept-worse",
                             *(["--learning-rate", rate] if rate else []), *(["--cache", args.cache] if args.cache else []))
    seconds = sum(stage["seconds"] for stage in report["stages"] if stage["name"] == "heal")
    return out, report, {**cost, "heal_s": seconds}


def cell(perplexity):
    return f"{perplexity['value']:.2f}"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]) + "\n"


def save(args, result):
    write_json(args.out.with_suffix(".json"), result)


def resumed(args, settings):
    """What an earlier run with the same settings has measured."""
    file = args.out.with_suffix(".json")
    found = json.loads(file.read_text()) if file.exists() else {"settings": settings, "cuts": [], "healed": [], "commands": []}
    if found["settings"] != settings:
        sys.exit(f"{file} was measured with {found['settings']}; give another --out")
    return found


def measure_cuts(run, args, texts, folder, result):
    """Adds the lengths that result["cuts"] lacks."""
    for n in sorted({0, *args.cuts, *args.heal} - {row["n"] for row in result["cuts"]}):
        start, value = best_window(result["cosine"], n) if n else (None, None)
        plan = plan_file(folder, len(result["cosine"]) - 1, set(range(start, start + n))) if n else None
        measured = evaluate(run, args.model, texts, args.seq_len, args.cut_windows, plan)
        result["cuts"].append({"n": n, "start": start, "cosine": value, "perplexity": measured})
        save(args, result)
    result["cuts"].sort(key=lambda row: row["n"])


def measure_healed(run, healing, args, texts, folder, result):
    """Adds the runs that result["healed"] lacks."""
    starts = {row["n"]: row["start"] for row in result["cuts"]}
    done = {(row["n"], row["replacement"]) for row in result["healed"]}
    for n, replacement in ((n, name) for n in args.heal for name in args.replacements.split(",") if (n, name) not in done):
        out, report, cost = heal(healing, args, n, starts[n], replacement, folder)
        stage = report["healing"][0]["stages"][-1]
        result["healed"].append({"n": n, "start": starts[n], "replacement": replacement, "cost": cost,
                                 "error": stage["best_error"] / stage["nothing_error"],
                                 "perplexity": evaluate(run, out, texts, args.seq_len, args.cut_windows)})
        save(args, result)
        shutil.rmtree(out)


def window(row):
    return f"{row['start']}..{row['start'] + row['n'] - 1}" if row["n"] else "-"


def page(args, texts, result):
    """The Markdown of what was measured."""
    scoring, lines = result["scoring"], [f"# {result['settings']['model']}\n"]
    lines += [f"Scoring every window on {args.samples} × {args.seq_len} tokens: {scoring['wall_s']:.1f} s, {scoring['cpu_s']:.1f} s CPU, "
              f"peak {scoring['peak_mb']:.0f} MB ({args.threads} thread(s), {args.dtype}, opening included).\n",
              f"Perplexity of the whole model, {args.windows} windows: "
              + "; ".join(f"{name} {value['value']:.4f} ± {value['standard_error']:.2f}" for name, value in result["whole"].items())
              + ".\n",
              f"## Best window of n layers removed ({args.cut_windows} windows a text)\n",
              table(["n", "window", "cosine", *texts],
                    [[row["n"], window(row), f"{row['cosine']:.6f}" if row["n"] else "-", *map(cell, row["perplexity"].values())]
                     for row in result["cuts"]])]
    if result["healed"]:
        lines += [f"## Healed on {args.tokens} tokens ({args.heal_dtype})\n",
                  table(["n", "window", "replacement", "error / error of nothing", *texts, "healing s", "CPU s of the run", "peak MB"],
                        [[row["n"], window(row), row["replacement"], f"{row['error']:.4f}", *map(cell, row["perplexity"].values()),
                          f"{row['cost']['heal_s']:.0f}", f"{row['cost']['cpu_s']:.0f}", f"{row['cost']['peak_mb']:.0f}"]
                         for row in result["healed"]])]
    return "\n".join(lines)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--name", help="what the page calls it")
    parser.add_argument("--calibration", required=True, help="text that chooses the windows")
    parser.add_argument("--training", required=True, help="text that heals")
    parser.add_argument("--eval", action="append", required=True, metavar="NAME=FILE", help="text to measure on; repeatable")
    parser.add_argument("--cuts", type=numbers, default=numbers("1-8"), help="lengths to cut, as 1-4,6")
    parser.add_argument("--heal", type=numbers, default=numbers("6,8"), help="lengths to heal")
    parser.add_argument("--replacements", default="ffn,swiglu-residual,layer", help="each as NAME or NAME@LOSS")
    parser.add_argument("--learning-rate", action="append", default=[], metavar="REPLACEMENT=RATE")
    parser.add_argument("--tokens", type=int, default=320000)
    parser.add_argument("--seq-len", type=int, default=512)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--windows", type=int, default=64, help="for the whole model")
    parser.add_argument("--cut-windows", type=int, default=16, help="for the cut and healed models")
    parser.add_argument("--program", type=pathlib.Path, default=PROGRAM)
    parser.add_argument("--threads", default="1")
    parser.add_argument("--dtype", default="float32", help="of scores and perplexities")
    parser.add_argument("--heal-dtype", default="bfloat16", help="of healing")
    parser.add_argument("--cache", help="directory for hidden states, which runs of one cut share")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    return parser.parse_args()


def main():
    args = arguments()
    texts = dict(pair.split("=", 1) for pair in args.eval)
    run = Program(args.program, ["--threads", args.threads, "--dtype", args.dtype, "--json", "--quiet"])
    healing = Program(args.program, ["--threads", args.threads, "--dtype", args.heal_dtype, "--json", "--quiet"])
    settings = {"model": args.name or args.model.name, **{name: getattr(args, name) for name in (
        "calibration", "training", "eval", "tokens", "seq_len", "samples", "windows", "cut_windows", "dtype", "heal_dtype")}}
    result = resumed(args, settings)
    run.log = healing.log = result["commands"]
    if "whole" not in result:
        scores, result["scoring"] = run.timed("score", args.model, "--data", args.calibration, "--seq-len", args.seq_len, "--samples",
                                        args.samples)
        result["cosine"] = scores["cosine"]
        result["whole"] = evaluate(run, args.model, texts, args.seq_len, args.windows)
        save(args, result)
    with tempfile.TemporaryDirectory() as folder:
        measure_cuts(run, args, texts, folder, result)
        measure_healed(run, healing, args, texts, folder, result)
    args.out.write_text(page(args, texts, result))
    print(args.out.read_text())


if __name__ == "__main__":
    main()
