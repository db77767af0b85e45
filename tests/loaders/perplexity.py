# SPDX-License-Identifier: Apache-2.0
"""Perplexities of a model in its three forms (GGUF, safetensors of the same values, cut GGUF), ours and llama.cpp's, on
the same windows of tokens. Standard library only."""
import dataclasses
import json
import math

from compare import llama_answer, run

TWINS = 1e-3     # relative: the same weights, once dequantised to bfloat16
LLAMA = 5e-3     # relative, where the matrices are float32
ROUNDED = 2e-2   # where they are quantised: llama.cpp rounds activations to eight bits before it multiplies
CUT = 6          # layers; a whole period of Gemma 3's windows


@dataclasses.dataclass
class Row:
    title: str
    ours: float
    other: float
    allowed: float

    @property
    def difference(self):
        return abs(self.other / self.ours - 1)

    @property
    def right(self):
        return self.difference <= self.allowed


def our_perplexity(args, model, bos):
    answer = json.loads(run(args.build / "streamline", "eval", model, "--perplexity", args.text, "--window", args.window,
                            "--max-windows", args.windows, "--bos", bos, "--dtype", "float32", "--json", "--quiet"))
    return answer["perplexity"]["value"]


def token_windows(args, folder, bos):
    """As `eval` cuts them: one after the other, BOS in front where the model has the habit."""
    ids = [int(line) for line in run(args.build / "tests" / "streamline_encode", folder, args.text).split()]
    front = [json.loads((folder / "config.json").read_text())["bos_token_id"]] if bos == "on" else []
    return [front + ids[i * args.window : (i + 1) * args.window] for i in range(args.windows)], len(front)


def llama_perplexity(args, gguf, windows, skipped, scratch):
    logprobs = llama_answer(args.environments, gguf, windows, scratch)["logprobs"]
    scored, place = [], 0
    for ids in windows:  # the first token of the text itself is not scored, behind BOS or not
        scored += logprobs[place + skipped : place + len(ids) - 1]
        place += len(ids) - 1
    return math.exp(-sum(scored) / len(scored))


def perplexities(args, folder, scratch):
    """Rows for a checkpoint's directory with the GGUF file that it was made of (source.gguf)."""
    config = json.loads((folder / "config.json").read_text())
    bos = "on" if config["model_type"].startswith("gemma") else "off"
    windows, skipped = token_windows(args, folder, bos)
    gguf, cut, wide = folder / "source.gguf", scratch / f"{folder.name}-twin-cut.gguf", scratch / f"{folder.name}-twin-cut-f32.gguf"
    whole = our_perplexity(args, gguf, bos)
    yield Row(f"{folder.name}: GGUF; safetensors of the same values in bfloat16, here too", whole,
              our_perplexity(args, folder, bos), TWINS)
    yield Row(f"{folder.name}: GGUF; llama.cpp", whole, llama_perplexity(args, gguf, windows, skipped, scratch), ROUNDED)
    run(args.build / "streamline", "prune", gguf, "--data", args.calibration, "--out", cut, "--cut", CUT, "--replace", "none",
        "--samples", 8, "--seq-len", args.window, "--no-speed", "--eval-windows", 1, "--dtype", "float32", "--quiet")
    value = our_perplexity(args, cut, bos)
    yield Row(f"{folder.name}: GGUF, {CUT} layers cut by `prune`; llama.cpp", value,
              llama_perplexity(args, cut, windows, skipped, scratch), ROUNDED)
    run(args.build / "streamline", "export", cut, "--gguf", wide, "--type", "f32", "--quiet")
    yield Row(f"{folder.name}: the same, exported as f32; llama.cpp", our_perplexity(args, wide, bos),
              llama_perplexity(args, wide, windows, skipped, scratch), LLAMA)
