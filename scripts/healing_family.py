#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every way to heal one cut, at equal tokens: perplexity, trained parameters, time and memory, as docs/healing.md shows it.

    scripts/healing_family.py MODEL --training PATH --eval NAME=FILE --cut 6 --out family.md

Cuts the best window, heals the rest with each adapter (`heal --with`) and each replacement (`prune --replace`), and
writes one Markdown table and a .json beside it, after every run. Run again, it measures only what the .json does not
hold. Standard library only; the work is done by the program.
"""
import argparse
import json
import pathlib
import shutil
import sys
import tempfile

from measuring import PROGRAM, Program, write_json

# Words of `heal`; a replacement and its loss, words of `prune`, where there is an @.
WAYS = ["lora", "lora --base nf4", "dora", "norms", "sherl", "sherl --late 4", "lora --batch 2", "norms --batch 2", "layer@mse", "layer@lm", "layer@kl", "linear@mse"]


def healed(run, args, way, cut, out):
    """(trained parameters, cost) of one way; the model is at `out`."""
    text = ["--data", args.training, "--seq-len", args.seq_len, "--tokens", args.tokens, "--out", out]
    if "@" not in way:
        report, cost = run.timed("heal", cut, "--with", *way.split(), *text)
    else:
        name, loss = way.split("@")
        report, cost = run.timed("prune", args.model, "--cut", args.cut, "--replace", name, "--loss", loss, "--samples", args.samples,
                                 "--no-speed", "--accept-worse", *text)
    training = report["healing"][0]
    return training["trained_parameters"], {**cost, "heal_s": training["seconds"]}


def evaluated(run, args, model):
    return {name: run("eval", model, "--perplexity", file, "--window", args.seq_len, "--max-windows", args.windows)["perplexity"]
            for name, file in (pair.split("=", 1) for pair in args.eval)}


def table(args, result):
    names = [pair.split("=", 1)[0] for pair in args.eval]
    head = ["healed by", "trained parameters", *names, "seconds of training", "CPU seconds, whole run", "peak MB"]
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for row in result["rows"]:
        cost = [f"{row['cost'][key]:.0f}" for key in ("heal_s", "cpu_s", "peak_mb")] if row["way"] != "nothing" else ["", "", ""]
        figures = [f"{row['perplexity'][name]['value']:.2f}" for name in names]
        lines.append(f"| {row['way']} | {row['parameters']:,} | " + " | ".join([*figures, *cost]) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--training", required=True, help="text for calibration and training")
    parser.add_argument("--eval", action="append", required=True, metavar="NAME=FILE")
    parser.add_argument("--cut", default=6, type=int)
    parser.add_argument("--tokens", default=100000, type=int)
    parser.add_argument("--seq-len", default=512, type=int)
    parser.add_argument("--samples", default=32, type=int)
    parser.add_argument("--windows", default=16, type=int, help="windows of each text that perplexity is measured on")
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--threads", default="1")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--program", default=PROGRAM)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    args = parser.parse_args()

    run = Program(args.program, ["--threads", args.threads, "--dtype", args.dtype, "--seed", args.seed, "--json", "--quiet"])
    settings = {key: getattr(args, key) for key in ("model", "training", "eval", "cut", "tokens", "seq_len", "samples", "windows",
                                                    "dtype", "threads", "seed")}
    file = args.out.with_suffix(".json")
    result = json.loads(file.read_text()) if file.exists() else {"settings": settings, "rows": [], "commands": []}
    if result["settings"] != settings:
        sys.exit(f"{file} was measured with {result['settings']}; give another --out")

    def add(way, parameters, cost, model):
        result["rows"].append({"way": way, "parameters": parameters, "cost": cost, "perplexity": evaluated(run, args, model)})
        result["commands"] += run.log
        run.log.clear()
        write_json(file, result)
        args.out.write_text(table(args, result), encoding="utf-8")

    with tempfile.TemporaryDirectory() as folder:
        cut, out = pathlib.Path(folder) / "cut", pathlib.Path(folder) / "healed"
        _, cost = run.timed("prune", args.model, "--data", args.training, "--cut", args.cut, "--seq-len", args.seq_len,
                            "--samples", args.samples, "--replace", "none", "--no-speed", "--out", cut)
        done = {row["way"] for row in result["rows"]}
        if "nothing" not in done:
            add("nothing", 0, cost, cut)
        for way in args.ways.split(","):
            if way in done:
                continue
            add(way, *healed(run, args, way, cut, out), out)
            shutil.rmtree(out)
    print(args.out.read_text(encoding="utf-8"), end="")


if __name__ == "__main__":
    main()
