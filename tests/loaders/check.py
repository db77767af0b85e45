#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Does what we write load where people run it?  check.py --environments DIR [--model DIR…] [--out docs/loads.md]

Prunes the shipped model (and every --model) with each foldable replacement, one small random checkpoint of each family and
one of several parts, and leaves out halves of layers; opens the results in every loader that is set up under
--environments; and compares the log probabilities of the same tokens with ours. Then GGUF files of all types, of all
families, cut ones, and classifiers, in llama.cpp; for each --twins DIR (a checkpoint beside its source.gguf) perplexities. A loader that
fails to load a result, or disagrees, fails the check, unless it fails on the source in the same way. Writes the tables as
Markdown. Rows go to --results too; those that stand there are not checked again, so that an interrupted run goes on.
Standard library only.
"""
import argparse
import json
import pathlib
import sys
import tempfile

import made
from compare import (Difference, Failure, largest_difference, llama_answer, loader_answer, our_classes, our_logprobs,
                     token_ids)
from pages import page
from perplexity import perplexities

LOADERS = ["transformers", "vllm", "mlx-lm", "llama.cpp"]
SECTIONS = ["gguf", "classifiers", "perplexity", "checkpoints"]
# What a loader is known not to do: of a layer's kind by its position, hard-coded, which is right for the source and wrong
# for any cut that shifts it; and of layers without a half.
KNOWN = {("llama.cpp", "smollm3"): "takes each fourth layer for the one without rotary embedding",
         ("llama.cpp", "llama4_text"): "takes each fourth layer for the one without rotary embedding",
         ("mlx-lm", "cohere2"): "takes each fourth layer for the one without window",
         ("llama.cpp", "cohere2"): "takes each fourth layer for the one without window",
         ("llama.cpp", "gemma3_text"): "takes each sixth layer for the one without window",
         ("mlx-lm", "gemma3_text"): "takes each sixth layer for the one without window",
         ("llama.cpp", "nemotron_nas"): "its converter; exported by this program, see below"}


class Checked:
    """A checkpoint with our log probabilities, to hold loaders against."""

    def __init__(self, args, model, scratch):
        self.args, self.model, self.scratch = args, model, scratch
        self.ids = token_ids(model)
        self.ours = our_logprobs(args.build, model, self.ids, scratch)

    def agree(self, loader, versions):
        """The largest difference. Raises Failure where the loader does not load it, or differs by too much."""
        try:
            answer = loader_answer(self.args.environments, loader, self.model, self.ids, self.scratch)
        except Failure as failure:
            raise Failure(f"does not load: {failure}") from failure
        versions[loader] = answer["version"]
        return largest_difference(self.ours, answer["logprobs"], made.TYPES["f32"])


def is_no_worse(trouble, of_source):
    """Whether a loader fares with the result as it does with the source."""
    if isinstance(trouble, Difference) and isinstance(of_source, Difference):
        return trouble.worst <= 4 * of_source.worst
    return type(trouble) is type(of_source)


def cell(loader, family, result, source, versions):
    """(text, whether it is as it should be)."""
    try:
        return f"{result.agree(loader, versions):.0e}", True
    except Failure as failure:
        trouble = failure
    try:
        source().agree(loader, versions)
    except Failure as of_source:
        if is_no_worse(trouble, of_source):
            both = isinstance(trouble, Difference)
            return f"{trouble.worst:.0e} (the source {of_source.worst:.0e})" if both else f"{trouble}; nor the source", True
    if (loader, family) in KNOWN:
        said = trouble if isinstance(trouble, Difference) else "does not load"
        return f"{said}: {KNOWN[loader, family]}", True
    return f"**{trouble}**", False


def check_checkpoint(args, item, scratch, versions):
    result = Checked(args, item.result, scratch)
    cells = [cell(loader, item.family, result, lambda: Checked(args, item.source, scratch), versions)
             if loader in (item.loaders or args.loaders) else ("—", True) for loader in args.loaders]
    return [text for text, _ in cells], all(right for _, right in cells)


def check_gguf(args, item, scratch, versions):
    """A quantised file may differ by more if llama.cpp agrees with us once its values stand there as float32."""
    ids = token_ids(item.source)
    ours = our_logprobs(args.build, item.result, ids, scratch)

    def difference(file, tolerance):
        answer = llama_answer(args.environments, file, ids, scratch)
        versions["llama.cpp"] = answer["version"]
        return largest_difference(ours, answer["logprobs"], tolerance)

    allowed, exactly = f"{item.tolerance:g}", made.TYPES["f32"]
    try:
        return [f"{difference(item.result, item.tolerance):.0e}", allowed], True
    except Failure as failure:
        trouble = failure
    if not (item.quantised and isinstance(trouble, Difference)):
        return [f"**{trouble}**", allowed], False
    try:
        as_float = difference(made.written_out(args, item.result), exactly)
    except Failure as failure:
        return [f"**{trouble}; as f32: {failure}**", allowed], False
    return [f"{trouble.worst:.0e}; as f32 {as_float:.0e}", f"{allowed}, or {exactly:g} as f32"], True


def check_classifier(args, item, scratch, versions):
    """Of other architectures than Qwen3 llama.cpp must refuse the file, which is what `chip export` says of it."""
    texts, refused = [row["text"] for row in made.labelled_texts()], item.family != "qwen3"
    try:
        answer = llama_answer(args.environments, item.result, texts, scratch, "classes.mjs")
        versions["llama.cpp"] = answer["version"]
        worst = largest_difference(our_classes(args.build, item.source, texts), answer["logprobs"], item.tolerance)
        found, right = f"{worst:.0e}", not refused
    except Failure as failure:
        found = str(failure).split("error loading model: ")[-1]
        right = refused and "wrong number of tensors" in found
    return [found if right else f"**{found}**", "—" if refused else f"{item.tolerance:g}"], right


class Results:
    """Rows of all sections, kept in a file line by line; those that were not right are checked again."""

    def __init__(self, file):
        self.file = file
        kept = file.read_text().splitlines() if file and file.exists() else []
        self.rows = [row for row in map(json.loads, kept) if row["right"]]

    def has(self, section, title):
        return any(row["section"] == section and row["title"] == title for row in self.rows)

    def add(self, section, title, cells, right, versions):
        row = {"section": section, "title": title, "cells": cells, "right": right, "versions": versions}
        self.rows.append(row)
        print(f"{title}: " + " | ".join(cells) + ("" if right else "   <-- not as it should be"), flush=True)
        if self.file:
            with self.file.open("a") as file:
                file.write(json.dumps(row) + "\n")


def check_section(args, section, make_items, check_one, results, scratch):
    args.wants = lambda title: (not args.only or args.only in title) and not results.has(section, title)
    for item in make_items(args, scratch):
        versions = {}
        cells, right = check_one(args, item, scratch, versions)
        cells = [text.replace(str(scratch) + "/", "").replace("|", "/") for text in cells]
        results.add(section, item.title, cells, right, versions)


def check_perplexities(args, results, scratch):
    for folder in args.twins:
        if any(row["section"] == "perplexity" and row["title"].startswith(folder.name + ":") for row in results.rows):
            continue
        for row in perplexities(args, folder, scratch):
            cells = [f"{row.ours:.3f}", f"{row.other:.3f}", f"{row.difference:.1e}", f"{row.allowed:g}"]
            results.add("perplexity", row.title, cells, row.right, {})


def check(args, results, scratch):
    if "gguf" in args.sections and "llama.cpp" in args.loaders:
        check_section(args, "gguf", made.gguf_files, check_gguf, results, scratch)
    if "classifiers" in args.sections and "llama.cpp" in args.loaders:
        check_section(args, "classifiers", made.classifiers, check_classifier, results, scratch)
    if "perplexity" in args.sections and "llama.cpp" in args.loaders:
        check_perplexities(args, results, scratch)
    if "checkpoints" in args.sections:
        check_section(args, "checkpoints", made.checkpoints, check_checkpoint, results, scratch)


def parsed():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=pathlib.Path, required=True)
    parser.add_argument("--build", type=pathlib.Path, default=made.ROOT / "build/release")
    parser.add_argument("--model", type=pathlib.Path, action="append", default=[], help="another Llama to prune; repeatable")
    parser.add_argument("--twins", type=pathlib.Path, action="append", default=[],
                        help="a checkpoint beside source.gguf, the file it was made of: perplexities; repeatable")
    parser.add_argument("--text", type=pathlib.Path, default=made.ROOT / "models/text/valid.txt", help="for perplexities")
    parser.add_argument("--calibration", type=pathlib.Path, default=made.ROOT / "models/text/calibration.jsonl")
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--windows", type=int, default=4)
    parser.add_argument("--loaders", type=lambda text: text.split(","), default=LOADERS)
    parser.add_argument("--sections", type=lambda text: text.split(","), default=SECTIONS, help=",".join(SECTIONS))
    parser.add_argument("--only", help="rows whose title has this in it")
    parser.add_argument("--results", type=pathlib.Path)
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    args.environments = args.environments.resolve()
    return args


def main():
    args = parsed()
    results = Results(args.results)
    with tempfile.TemporaryDirectory() as folder:
        try:
            check(args, results, pathlib.Path(folder))
        except Failure as failure:  # of this program, or of what makes the families' checkpoints
            sys.exit(f"check.py: {failure}")
    if args.out:
        args.out.write_text(page(args.loaders, results.rows))
    sys.exit(0 if all(row["right"] for row in results.rows) else 1)


if __name__ == "__main__":
    main()
