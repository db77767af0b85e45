#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sets what the program says of a model beside figures that other code computed, and fails where they differ.

    scripts/compare_yardsticks.py MODEL yardstick.json --data FOLDER

Runs `score`, `prune --method leave-one-out --plan-only` and `eval` on the texts that the yardstick names, which lie in
FOLDER, and prints one Markdown table. The yardstick holds `importance` ([n - 1][i]: mean cosine over the window of n
layers from i on), `best` (the best window of a length), `bi` and `bi_order` (block influence), `mean_norm` (of each
hidden state), and, as summed negative log likelihoods of windows of tokens, `texts.NAME.plans` (whole, the best windows
cut, the layers of lowest influence cut), `texts.NAME.dense` (whole, on more windows) and `leave_one_out.nll`. What it
lacks is left out. Standard library only.
"""
import argparse
import json
import math
import pathlib
import sys
import tempfile

from measuring import PROGRAM, Program, plan_file

ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE = 1e-4, 2e-3  # of cosines and nats; of norms and perplexities


class Table:
    """Figures of one kind a row: how many, what agrees, how far they are apart at most."""

    def __init__(self):
        self.failed = False
        print("| what | figures | largest difference | the same |\n|---|---:|---:|---|")

    def _row(self, what, count, difference, same, fails):
        self.failed |= fails
        print(f"| {what} | {count} | {difference} | {same}{' **differs**' if fails else ''} |", flush=True)

    def absolute(self, what, ours, theirs):
        difference = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
        self._row(what, len(ours), f"{difference:.1e}", "", not difference <= ABSOLUTE_TOLERANCE)

    def relative(self, what, ours, theirs):
        difference = max(abs(a / b - 1) for a, b in zip(ours, theirs, strict=True))
        self._row(what, len(ours), f"{100 * difference:.5f} %", "", not difference <= RELATIVE_TOLERANCE)

    def choices(self, what, ours, theirs):
        same = sum(a == b for a, b in zip(ours, theirs, strict=True))
        self._row(what, len(ours), "", f"{same} of {len(ours)}", same < len(ours))


def rising(values):
    return sorted(range(len(values)), key=lambda i: (values[i], i))


def compare_scores(run, model, yardstick, data, table):
    text = data / yardstick["calibration"]["file"]
    scores = run("score", model, "--data", text, "--seq-len", yardstick["window"], "--samples",
                 yardstick["scoring"]["sequences"])
    cosine, importance = scores["cosine"], yardstick["importance"]
    windows = [(n, i) for n, row in enumerate(importance, 1) for i in range(len(row))]
    table.absolute("cosine of every window", [cosine[i][i + n] for n, i in windows], [importance[n - 1][i] for n, i in windows])
    best = {entry["count"]: entry["best_first"][0]["start"] for entry in scores["windows"]}
    table.choices("best window of every length", [best[n] for n in range(1, len(importance) + 1)],
                  [max(range(len(row)), key=lambda i, row=row: (row[i], -i)) for row in importance])
    influence = [layer["block_influence"] for layer in scores["per_layer"]]
    table.absolute("block influence of every layer", influence, yardstick["bi"])
    table.choices("layers in order of block influence", rising(influence), yardstick["bi_order"])
    table.relative("mean norm of every hidden state", [state["mean_norm"] for state in scores["states"]], yardstick["mean_norm"])


def compare_leave_one_out(run, model, yardstick, data, table):
    expected = yardstick["leave_one_out"]
    text, windows = data / yardstick["texts"][expected["text"]]["file"], expected["windows"]
    plan = run("prune", model, "--data", text, "--seq-len", yardstick["window"], "--samples", windows, "--method", "leave-one-out",
               "--layers", 1, "--replace", "none", "--plan-only")
    found = plan["scores"]["estimates"]
    losses = [found["whole"]["value"], *(unit["without"] for unit in found["units"])]
    tokens = windows * (yardstick["window"] - 1)
    names = ["dense", *(f"without {layer}" for layer in range(yardstick["layers"]))]
    reference = [sum(expected["nll"][name][:windows]) / tokens for name in names]
    table.absolute("loss of the whole model and without each layer, nats a token", losses, reference)
    table.relative("their perplexities", [math.exp(loss) for loss in losses], [math.exp(loss) for loss in reference])
    table.choices("layers in order of the loss without them", rising(losses[1:]), rising(reference[1:]))


def dropped_layers(yardstick, name):
    """Of "cut N", the best window, and of "shortgpt K", the layers of lowest influence."""
    kind, _, count = name.partition(" ")
    if kind == "dense":
        return []
    if kind == "shortgpt":
        return yardstick["bi_order"][: int(count)]
    (best,) = (window for window in yardstick["best"] if window["n"] == int(count))
    return range(best["first"], best["first"] + best["n"])


def compare_perplexities(run, model, yardstick, data, windows, table):
    kinds = {"dense": "the whole model", "cut": "cuts of the best windows", "shortgpt": "cuts by block influence"}
    for text, expected in yardstick["texts"].items():
        losses = {**expected["plans"], **({"dense": expected["dense"]} if "dense" in expected else {})}
        for kind, what in kinds.items():
            ours, theirs = [], []
            for name, window_nll in losses.items():
                if name.partition(" ")[0] != kind:
                    continue
                with tempfile.TemporaryDirectory() as folder:
                    plan = plan_file(folder, yardstick["layers"], set(dropped_layers(yardstick, name)))
                    found = run("eval", model, "--plan", plan, "--perplexity", data / expected["file"], "--window",
                                yardstick["window"], "--max-windows", min(windows, len(window_nll)))["perplexity"]
                ours.append(found["value"])
                theirs.append(math.exp(sum(window_nll[: found["windows"]]) / found["tokens"]))
            if ours:
                table.relative(f"perplexity of {what}, {text}", ours, theirs)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("yardstick")
    parser.add_argument("--data", required=True, type=pathlib.Path, help="folder of the texts that the yardstick names")
    parser.add_argument("--windows", type=int, default=2,
                        help="of each text, for the perplexities, as far as the yardstick has them; 0: no perplexities")
    parser.add_argument("--threads", type=int, default=0, help="0: the program's default")
    parser.add_argument("--program", type=pathlib.Path, default=PROGRAM)
    args = parser.parse_args()
    yardstick = json.loads(pathlib.Path(args.yardstick).read_text())
    bos = ["--bos", "on" if yardstick["bos"] else "off"]
    run = Program(args.program, [*bos, "--dtype", "float32", "--threads", args.threads, "--quiet", "--json"])
    table = Table()
    compare_scores(run, args.model, yardstick, args.data, table)
    if "leave_one_out" in yardstick:
        compare_leave_one_out(run, args.model, yardstick, args.data, table)
    if args.windows > 0:
        compare_perplexities(run, args.model, yardstick, args.data, args.windows, table)
    sys.exit(1 if table.failed else 0)


if __name__ == "__main__":
    main()
