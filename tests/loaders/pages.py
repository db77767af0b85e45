# SPDX-License-Identifier: Apache-2.0
"""docs/loads.md, from the rows that check.py found."""
from compare import TOKENS
from made import CLASSIFIED

INTRODUCTION = f"""# What loads what we write

Made by `scripts/test-loaders.sh`. Each figure is the largest difference, over {TOKENS - 1} tokens, between the loader's log
probability and ours, on the CPU.

## Checkpoints

Written by this program and opened unchanged, computed in float32 on both sides; allowed: 0.001. llama.cpp reads a float32 GGUF
that its own converter made of the directory. Where a loader does not load the unpruned model either, or computes something else
for it, the cell says so: llama.cpp has its GELU from a table in half precision, mlx-lm an approximate one. The families' random
checkpoints are made by transformers; `gpt2_bare` has the tensor names of OpenAI's own. DeciLM is what `--format decilm` writes for
halves of layers; transformers and vLLM are told to trust the two Python files that travel with it. Where layers lost different
numbers of heads or channels, an ordinary checkpoint has zeros up to the widest. Of the random model of several parts only
transformers is held to the result; the other three did not load it ("—").
"""

GGUF = """
## GGUF files in llama.cpp

Written by `streamline export`, or by `prune` from such a file; ours is what this program computes in float32 from the same file.
llama.cpp rounds what it multiplies to the type of the file (to eight bits where that is quantised), and has GELU from a table in
half precision; hence what is allowed. A quantised file beyond that must agree once `streamline export` has written its values out
as float32, where llama.cpp rounds nothing: SmolLM2 has massive activations, of which eight bits leave little. A row in bold
fails.
"""

CLASSIFIERS = f"""
## Classifiers in llama.cpp

Chips of random models, written by `streamline chip export --gguf`. Each figure is the largest difference between llama.cpp's log
probability and ours, which is what `streamline chip run` says of the directory beside the file, over all classes of {CLASSIFIED}
texts. llama.cpp tokenises them itself, and adds BOS and EOS where the file says so. It has a classifier for Qwen3 alone, and a file
of another architecture must be refused, as `export` says.
"""

PERPLEXITIES = """
## Perplexities

Of windows of one text, the same tokens on both sides, ours in float32; the difference is relative. The models are given with
`--twins`, the text with `--text`, `--window` and `--windows`: see [gguf.md](gguf.md). llama.cpp rounds activations to eight bits
where a matrix is quantised; the last row of each model is the cut model written as float32, where nothing is rounded.
"""


def table(head, rows):
    return "\n".join(["| " + " | ".join(head) + " |", "|---" * len(head) + "|",
                      *("| " + " | ".join([row["title"], *row["cells"]]) + " |" for row in rows)]) + "\n"


def page(loaders, rows):
    """`rows` have "section", "title", "cells" and the loaders' "versions"."""
    versions = {}
    for row in rows:
        versions |= row["versions"]
    named = {loader: f"{loader} {versions.get(loader, '')}".strip() for loader in loaders}
    sections = {"checkpoints": (INTRODUCTION, ["checkpoint", *named.values()]),
                "gguf": (GGUF, ["GGUF file", named.get("llama.cpp", "llama.cpp"), "allowed"]),
                "classifiers": (CLASSIFIERS, ["GGUF file", named.get("llama.cpp", "llama.cpp"), "allowed"]),
                "perplexity": (PERPLEXITIES, ["model; the other", "ours", "the other", "difference", "allowed"])}
    text = ""
    for section, (words, head) in sections.items():
        found = [row for row in rows if row["section"] == section]
        if found or section == "checkpoints":
            text += words + "\n" + table(head, found)
    return text
