#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two fine-tunings of one model and their merges, scaled alike in all layers and with depth, as docs/methods/lines.md
shows them.

    scripts/merge_results.py MODEL --tune stories=TRAIN:SEARCH:TEST --tune plays=TRAIN:SEARCH:TEST --control SEARCH:TEST --out FOLDER

Tunes MODEL by `heal` on each TRAIN, looks for the best coefficient of every merge on the texts SEARCH (`merge --sweep`),
and measures the best one on the texts TEST. FOLDER keeps the tuned models and a file for each merge; what is there is
not made again. Writes FOLDER/table.md. Standard library only; the program does the work.
"""
import argparse
import pathlib

from measuring import PROGRAM, Program, kept

# The title of a merge, its words, the coefficient that is looked for, and its values.
ALONE = [("all layers alike", ["--rule", "sum"], "scale", "0.2:1:0.2"), ("with depth", ["--rule", "sum"], "alpha", "0:0.8:0.2")]
TOGETHER = [
    ("mean", ["--rule", "mean"], "scale", "1"),
    ("sum, all layers alike", ["--rule", "sum"], "scale", "0.2:1:0.2"),
    ("sum, with depth", ["--rule", "sum", "--lines-alpha", "auto"], "beta", "0.1:0.9:0.2"),
    ("ties, all layers alike", ["--rule", "ties"], "scale", "0.4:1.6:0.3"),
    ("ties, with depth", ["--rule", "ties", "--lines-alpha", "auto"], "beta", "0.1:1.3:0.3"),
]


def sweep(run, args, models, words, coefficient, values, texts, control):
    return run("merge", *models, "--base", args.model, *words, "--sweep", f"{coefficient}={values}", "--target", ",".join(texts),
               "--control", control, "--windows", args.windows, "--window", args.window)["sweep"]


def best(run, args, models, merge, texts):
    """The coefficient that was best where it was looked for, and the record of that one on the test texts."""
    _, words, coefficient, values = merge
    control = args.control.split(":")
    found = sweep(run, args, models, words, coefficient, values, [text[1] for text in texts], control[0])
    tested = sweep(run, args, models, words, coefficient, found["best"], [text[2] for text in texts], control[1])
    return {"searched": found, "coefficient": coefficient, "best": found["best"], "tested": tested}


def figures(row):
    return [f"{value:.2f}" for value in [*row["targets"], row["control"]]]


def table(args, names, records):
    both = {title: record for (models, title), record in records.items() if len(models) == len(names)}
    one = {(models[0], title): record for (models, title), record in records.items() if len(models) == 1}
    first = next(iter(both.values()))["tested"]
    lines = [["", *names, "control"], ["---", *["---:"] * (len(names) + 1)], ["base", *figures(first["base"])]]
    lines += [[f"tuned on {name}", *figures(tuned)] for name, tuned in zip(names, first["tuned"])]
    for (name, title), record in one.items():
        cells = ["–"] * len(names)
        target, control = figures(record["tested"]["rows"][0])
        cells[names.index(name)] = target
        lines.append([f"{name} alone, {title}, {record['coefficient']} {record['best']:g}", *cells, control])
    for title, record in both.items():
        told = "" if title == "mean" else f", {record['coefficient']} {record['best']:g}"
        lines.append([f"both: {title}{told}", *figures(record["tested"]["rows"][0])])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--tune", action="append", required=True, metavar="NAME=TRAIN:SEARCH:TEST")
    parser.add_argument("--control", required=True, metavar="SEARCH:TEST")
    parser.add_argument("--tokens", default=100000, type=int)
    parser.add_argument("--learning-rate", default="3e-4")
    parser.add_argument("--matrices", default="all")
    parser.add_argument("--window", default=256, type=int)
    parser.add_argument("--windows", default=24, type=int)
    parser.add_argument("--threads", default="1")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--program", default=PROGRAM, type=pathlib.Path)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    run = Program(args.program, ["--threads", args.threads, "--dtype", args.dtype, "--seed", args.seed, "--json", "--quiet"])
    settings = {key: getattr(args, key) for key in ("model", "tune", "control", "tokens", "learning_rate", "matrices", "window",
                                                    "windows", "threads", "dtype", "seed")}

    texts = {}
    for entry in args.tune:
        name, files = entry.split("=", 1)
        texts[name] = files.split(":")
        kept(args.out / f"{name}.heal.json", settings, lambda: run(
            "heal", args.model, "--with", "lora", "--matrices", args.matrices, "--data", texts[name][0], "--tokens", args.tokens,
            "--learning-rate", args.learning_rate, "--seq-len", args.window, "--out", args.out / name, "--overwrite"))

    names, records = list(texts), {}
    for models, merges in [*(([name], ALONE) for name in names), (names, TOGETHER)]:
        for merge in merges:
            file = args.out / ("-".join([*models, merge[0].replace(",", "").replace(" ", "-")]) + ".json")
            records[(tuple(models), merge[0])] = kept(file, settings, lambda: best(
                run, args, [args.out / model for model in models], merge, [texts[model] for model in models]))
    (args.out / "table.md").write_text(table(args, names, records))
    print(table(args, names, records))


if __name__ == "__main__":
    main()
