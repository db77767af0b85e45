#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Does what we write load where people run it?  check.py --environments DIR [--model DIR…] [--out docs/loads.md]

Prunes the shipped model (and every --model) with each foldable replacement, and one small random checkpoint of each
family; opens the results in every loader that is set up under --environments; and compares the log probabilities of the
same tokens with ours. A loader that fails to load a result, or disagrees, fails the check, unless it fails on the source
in the same way. Writes the table as Markdown.
Standard library only.
"""
import argparse
import array
import json
import math
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
LOADERS = ["transformers", "vllm", "mlx-lm", "llama.cpp"]
TOLERANCE = 1e-3  # of a log probability, float32 on both sides
TOKENS = 48
REPLACEMENTS = ["none", "layer", "swiglu-residual"]
FAMILIES = ["llama", "llama3", "mistral", "qwen2", "qwen3", "opt", "gemma2", "gemma3_text", "phi", "phi3", "gpt2",
            "gpt2_bare", "gpt_neox", "olmo2", "olmo3", "smollm3", "granite", "falcon", "glm4", "starcoder2", "cohere2",
            "mixtral", "qwen2_moe", "qwen3_moe"]
FAMILY_LAYERS = 8  # as families.py makes them
# A layer's kind by its position, hard-coded by the loader: right for the source, wrong for any cut that shifts it.
POSITIONAL = {("llama.cpp", "smollm3"): "takes each fourth layer for the one without rotary embedding",
              ("mlx-lm", "cohere2"): "takes each fourth layer for the one without window",
              ("llama.cpp", "cohere2"): "takes each fourth layer for the one without window",
              ("llama.cpp", "gemma3_text"): "takes each sixth layer for the one without window",
              ("mlx-lm", "gemma3_text"): "takes each sixth layer for the one without window"}
OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1",
           "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR"}


class Failure(Exception):
    pass


class Difference(Failure):
    def __init__(self, worst):
        super().__init__(f"differs by {worst:.0e}")
        self.worst = worst


def run(*command):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=os.environ | OFFLINE)
    if done.returncode < 0:
        raise Failure(f"it ends with {signal.Signals(-done.returncode).name}")
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        telling = [line for line in lines if "error loading" in line] or [line for line in lines if "Error" in line] or lines
        raise Failure(telling[-1] if telling else f"status {done.returncode}")


def token_ids(model):
    config = json.loads((model / "config.json").read_text())
    draw = random.Random(0)
    return [config.get("bos_token_id") or 1] + [draw.randrange(3, config["vocab_size"]) for _ in range(TOKENS - 1)]


def our_logprobs(build, model, ids, scratch):
    (scratch / "ours.txt").write_text(" ".join(map(str, ids)) + "\n")
    run(build / "tests" / "streamline_logits", model, scratch / "ours.txt", scratch / "ours.bin")
    logits = array.array("f", (scratch / "ours.bin").read_bytes())
    vocabulary = len(logits) // len(ids)
    found = []
    for position, token in enumerate(ids[1:]):
        row = logits[position * vocabulary : (position + 1) * vocabulary]
        largest = max(row)
        found.append(row[token] - largest - math.log(sum(math.exp(value - largest) for value in row)))
    return found


def loader_answer(environments, loader, model, ids, scratch):
    (scratch / "ids.json").write_text(json.dumps(ids))
    out = scratch / f"{loader}.json"
    if loader == "llama.cpp":
        gguf = scratch / "model.gguf"
        run(environments / "transformers/bin/python", HERE / "to_gguf.py", environments / "converter", model, gguf)
        worker = environments / "llama.cpp" / "worker.mjs"  # beside its modules
        worker.write_text((HERE / "worker.mjs").read_text())
        run("node", worker, gguf, scratch / "ids.json", out)
    else:
        run(environments / loader / "bin/python", HERE / "worker.py", loader, model, scratch / "ids.json", out)
    return json.loads(out.read_text())


def drop_two(layers, first):
    segments = [{"first": 0, "last": first - 1, "action": "keep"}, {"first": first, "last": first + 1, "action": "drop"},
                {"first": first + 2, "last": layers - 1, "action": "keep"}]
    return {"format": "streamline-plan", "version": 1, "base": {"layers": layers}, "method": {"name": "manual"},
            "segments": segments}


def pruned_models(args, scratch):
    """(title, family, source, result) of everything that is checked."""
    for source in [ROOT / "models/books-5m", *args.model]:
        for replacement in REPLACEMENTS:
            out = scratch / f"{source.name}-{replacement}"
            run(args.build / "streamline", "prune", source, "--data", ROOT / "models/text/calibration.jsonl", "--out", out,
                "--cut", 3, "--replace", replacement, "--tokens", 20000, "--samples", 8, "--seq-len", 128, "--no-speed",
                "--eval-windows", 4, "--accept-worse", "--quiet")
            yield f"{source.name}, 3 layers cut, `{replacement}`", "llama", source, out
    run(args.environments / "transformers/bin/python", HERE / "families.py", scratch / "families", *FAMILIES)
    (scratch / "plan.json").write_text(json.dumps(drop_two(FAMILY_LAYERS, 1)))
    for family in FAMILIES:
        out = scratch / f"{family}-cut"
        run(args.build / "streamline", "apply", scratch / "families" / family, "--plan", scratch / "plan.json", "--out", out,
            "--quiet", "--dtype", "float32")
        yield f"{family}, random, layers 1..2 cut", family, scratch / "families" / family, out


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
        worst = max(abs(a - b) for a, b in zip(self.ours, answer["logprobs"], strict=True))
        if not worst <= TOLERANCE:
            raise Difference(worst)
        return worst


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
    if (loader, family) in POSITIONAL:
        return f"{trouble}: {POSITIONAL[loader, family]}", True
    return f"**{trouble}**", False


def check(args, scratch):
    """Rows of cells, the versions seen, and whether all agreed."""
    rows, versions, good = [], {}, True
    for title, family, source, model in pruned_models(args, scratch):
        result = Checked(args, model, scratch)
        cells = []
        for loader in args.loaders:
            text, right = cell(loader, family, result, lambda source=source: Checked(args, source, scratch), versions)
            cells.append(text.replace(str(scratch) + "/", "").replace("|", "/"))
            good &= right
        print(f"{title}: " + ", ".join(f"{loader} {cell}" for loader, cell in zip(args.loaders, cells)), flush=True)
        rows.append([title, *cells])
    return rows, versions, good


def page(args, rows, versions):
    head = ["checkpoint", *(f"{loader} {versions.get(loader, '')}".strip() for loader in args.loaders)]
    table = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|", *("| " + " | ".join(row) + " |" for row in rows)]
    return f"""# What loads what we write

Made by `scripts/test-loaders.sh`. Every checkpoint is written by this program and opened unchanged; each figure is the
largest difference, over {TOKENS - 1} tokens, between the loader's log probability and ours (float32 on both sides, on the CPU;
allowed: {TOLERANCE:g}). llama.cpp reads a float32 GGUF that its own converter made of the directory. Where a loader does not
load the unpruned model either, or computes something else for it, the cell says so: llama.cpp has its GELU from a table in half
precision, mlx-lm an approximate one. The families' random checkpoints are made by transformers; `gpt2_bare` has the tensor names of
OpenAI's own.

""" + "\n".join(table) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--environments", type=pathlib.Path, required=True)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build/release")
    parser.add_argument("--model", type=pathlib.Path, action="append", default=[], help="another Llama to prune; repeatable")
    parser.add_argument("--loaders", type=lambda text: text.split(","), default=LOADERS)
    parser.add_argument("--out", type=pathlib.Path)
    args = parser.parse_args()
    args.environments = args.environments.resolve()
    with tempfile.TemporaryDirectory() as folder:
        try:
            rows, versions, good = check(args, pathlib.Path(folder))
        except Failure as failure:  # of this program, or of what makes the families' checkpoints
            sys.exit(f"check.py: {failure}")
    if args.out:
        args.out.write_text(page(args, rows, versions))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
