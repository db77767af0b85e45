#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Re-tests LLM-Streamline's claim on a model: accuracy, relative performance and stability of cuts of several sizes, for
each replacement.

    scripts/stability_results.py MODEL --training PATH --data-dir DIR --layers 4,8,10 --out FOLDER

Prunes and heals into FOLDER, asks every model the same questions (one `streamline compare`), and writes FOLDER/table.md,
table.csv and page.html. What lies in FOLDER already is not made again. Standard library only; the program does the work.
"""
import argparse
import pathlib

from measuring import PROGRAM, Program, write_json


def interval(row, name):
    low, high = (100 * bound for bound in row[f"{name}_interval"])
    return f"{100 * row[name]:.1f} ({low:.1f} to {high:.1f})"


def table(record):
    """Rows of Markdown, one a model."""
    source = record["models"][0]
    lines = ["| model | parameters | perplexity | accuracy, % | relative performance, % | stability, % | agreement, % | p |",
             "|---|---:|---:|---:|---:|---:|---:|---:|"]
    for model in record["models"]:
        share = model["parameters"] / source["parameters"] - 1
        cells = [model["name"], f"{100 * share:+.1f} %" if model is not source else f"{model['parameters']:,}",
                 f"{model['perplexity']['value']:.2f}" if "perplexity" in model else "–",
                 f"{100 * model['figures']['acc']:.1f}"]
        average = (model.get("against_source") or {}).get("average")
        cells += [interval(average, "relative_performance"), interval(average, "stability"), interval(average, "agreement"),
                  f"{average['mcnemar_p']:.2g}"] if average else ["–"] * 4
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--training", required=True, help="text for calibration and training (prune --data)")
    parser.add_argument("--data-dir", required=True, help="folder of the tasks' questions")
    parser.add_argument("--perplexity", help="text to measure perplexity on")
    parser.add_argument("--tasks", default="piqa,hellaswag,boolq,commonsense_qa,wsc,mmlu")
    parser.add_argument("--style", default="opencompass", help="as the paper; or lm-eval")
    parser.add_argument("--limit", default=200, type=int)
    parser.add_argument("--layers", default="4,8,10", help="layers to cut")
    parser.add_argument("--replacements", default="none,linear,swiglu-residual,layer")
    parser.add_argument("--tokens", default=100000, type=int)
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--program", default=PROGRAM)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--threads", default="1")
    parser.add_argument("--seed", default=0, type=int)
    arguments = parser.parse_args()

    streamline = Program(arguments.program, ["--threads", arguments.threads, "--dtype", arguments.dtype, "--seed", arguments.seed, "--json"])
    arguments.out.mkdir(parents=True, exist_ok=True)
    models = []
    for layers in arguments.layers.split(","):
        for replacement in arguments.replacements.split(","):
            models.append(arguments.out / f"{replacement}-{layers}")
            if not models[-1].exists():
                streamline("prune", arguments.model, "--data", arguments.training, "--cut", layers, "--replace", replacement,
                           *([] if replacement == "none" else ["--tokens", arguments.tokens, "--accept-worse"]),
                           "--no-speed", "--out", models[-1], "--quiet")
    perplexity = ["--perplexity", arguments.perplexity, "--max-windows", 64] if arguments.perplexity else []
    page, figures = arguments.out / "page.html", arguments.out / "table.csv"
    for earlier in (page, figures):  # of fewer models
        earlier.unlink(missing_ok=True)
    record = streamline("compare", arguments.model, *models, "--tasks", arguments.tasks, "--data-dir", arguments.data_dir,
                        "--style", arguments.style, "--limit", arguments.limit, *perplexity, "--no-speed",
                        "--out", arguments.out / "answers", "--html", page, "--csv", figures)
    write_json(arguments.out / "record.json", record)
    (arguments.out / "table.md").write_text(table(record), encoding="utf-8")
    print((arguments.out / "table.md").read_text(encoding="utf-8"), end="")


if __name__ == "__main__":
    main()
