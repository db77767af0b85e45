#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Chips behind every layer beside the model's own answers, as docs/methods/chip-tuning.md shows them.

    scripts/chip_results.py MODEL --data-dir DIR --tasks sst2,boolq,mmlu --out FOLDER

Takes the states of each task's questions behind all layers, trains ridge chips from them, asks the model itself the same
benchmark, and writes FOLDER/table.md. What lies in FOLDER already is not made again. Standard library only; the program
does the work.
"""
import argparse
import pathlib

from measuring import PROGRAM, Program, kept


def chips_of(run, args, task, settings):
    """The record of `chip train` of one task."""
    features = args.out / f"{task}.features"
    drawn = ["--samples", args.samples] if args.samples else []
    kept(args.out / f"{task}.cache.json", settings, lambda: run(
        "chip", "cache", args.model, "--task", task, "--data-dir", args.data_dir, *drawn, "--seed", args.seed, "--out", features,
        "--overwrite"))
    return kept(args.out / f"{task}.chips.json", settings, lambda: run(
        "chip", "train", features, "--method", "ridge", "--feature-norm", "rms", "--no-bias", "--test", args.test, "--validation",
        args.validation, "--seed", args.seed))


def own_answers(run, args, task, settings):
    """(mean accuracy, its standard error, questions) of the model's head; a task of several sets weighs questions alike."""
    limit = ["--limit", args.limit] if args.limit else []
    record = kept(args.out / f"{task}.eval.json", settings,
                  lambda: run("eval", args.model, "--tasks", task, "--data-dir", args.data_dir, *limit))
    sets = [found for name, found in record["tasks"].items() if found["group"] == task]
    items = sum(found["items"] for found in sets)
    accuracy = sum(found["acc"]["value"] * found["items"] for found in sets) / items
    error = sum((found["acc"]["standard_error"] * found["items"]) ** 2 for found in sets) ** 0.5 / items
    return accuracy, error, items


def depths(chips, shown):
    """So many chips, evenly spread, the last among them."""
    last = len(chips) - 1
    return [chips[index] for index in sorted({round((i + 1) * last / shown) for i in range(shown)})]


def score(part):
    return f"{part['accuracy']:.3f} ({part['low']:.3f}–{part['high']:.3f})"


def rows(args, task, trained, own):
    (found,) = trained["tasks"]
    chosen, layers = found["chips"][found["choice"]["chip"]], trained["trunk"]["layers"]
    shown = {chip["layer"]: chip for chip in [*depths(found["chips"], args.depths), chosen]}
    for layer, chip in sorted(shown.items()):
        name = f"chip behind {layer}" + (", chosen" if chip is chosen else "")
        yield [task, name, f"{layer + 1} of {layers}", score(chip["validation"]), score(chip["test"])]
    frequent = found["most_frequent"]
    yield [task, f"always '{frequent['class']}'", "–", f"{frequent['validation']['accuracy']:.3f}", f"{frequent['test']['accuracy']:.3f}"]
    accuracy, error, items = own
    yield [task, f"the model's own answers, {items} questions", f"{layers} of {layers}", "–", f"{accuracy:.3f} ± {error:.3f}"]


def table(lines):
    head = ["task", "answered by", "layers", "validation", "test (95 %), or ± a standard error"]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *lines]) + "\n"


def parsed():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--data-dir", type=pathlib.Path, required=True, help="in the layout of docs/evaluation.md")
    parser.add_argument("--tasks", type=lambda text: text.split(","), default=["sst2", "boolq", "mmlu"])
    parser.add_argument("--samples", type=int, help="texts of each task for the chips, drawn by --seed; default: all")
    parser.add_argument("--limit", type=int, help="questions of each set that the model itself is asked; default: all")
    parser.add_argument("--depths", type=int, default=6, help="layers in the table, beside the chosen one")
    parser.add_argument("--test", type=float, default=0.3)
    parser.add_argument("--validation", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--program", type=pathlib.Path, default=PROGRAM)
    parser.add_argument("--threads", default="1")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    return parser.parse_args()


def main():
    args = parsed()
    args.out.mkdir(parents=True, exist_ok=True)
    settings = {name: str(getattr(args, name)) for name in ("model", "samples", "limit", "test", "validation", "seed", "dtype")}
    run = Program(args.program, ["--threads", args.threads, "--dtype", args.dtype, "--json", "--quiet"])
    lines = []
    for task in args.tasks:
        lines += rows(args, task, chips_of(run, args, task, settings), own_answers(run, args, task, settings))
        (args.out / "table.md").write_text(table(lines))
    print((args.out / "table.md").read_text())


if __name__ == "__main__":
    main()
