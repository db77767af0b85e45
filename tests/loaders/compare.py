# SPDX-License-Identifier: Apache-2.0
"""Log probabilities of the same tokens, ours and a loader's. Standard library only."""
import array
import json
import math
import os
import pathlib
import random
import signal
import subprocess

HERE = pathlib.Path(__file__).resolve().parent
TOKENS = 48
OFFLINE = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1",
           "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR"}


class Failure(Exception):
    pass


class Difference(Failure):
    def __init__(self, worst):
        super().__init__(f"differs by {worst:.0e}")
        self.worst = worst


def run(*command, given=None):
    """The standard output. Raises Failure with the line that says most."""
    done = subprocess.run([str(word) for word in command], input=given, capture_output=True, text=True,
                          env=os.environ | OFFLINE)
    if done.returncode < 0:
        raise Failure(f"it ends with {signal.Signals(-done.returncode).name}")
    if done.returncode != 0:
        lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        telling = [line for line in lines if "error loading" in line] or [line for line in lines if "Error" in line] or lines
        raise Failure(telling[-1] if telling else f"status {done.returncode}")
    return done.stdout


def token_ids(model):
    """Of a checkpoint's directory: BOS and random ones."""
    config = json.loads((model / "config.json").read_text())
    config = {**config, **config.get("text_config", {})}
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


def llama_answer(environments, gguf, given, scratch, script="worker.mjs"):
    """llama.cpp's version and log probabilities: of the tokens of one sequence, or of several one after the other; or of
    each text's classes, by classes.mjs."""
    (scratch / "given.json").write_text(json.dumps(given))
    worker, out = environments / "llama.cpp" / script, scratch / "llama.cpp.json"  # beside its modules
    worker.write_text((HERE / script).read_text())
    run("node", worker, gguf, scratch / "given.json", out)
    return json.loads(out.read_text())


def our_classes(build, model, texts):
    """Log probabilities of each text's classes."""
    answer = run(build / "streamline", "chip", "run", model, "--dtype", "float32", "--json", given="\n".join(texts) + "\n")
    return [math.log(share) for (verdict,) in json.loads(answer)["lines"] for share in verdict["probabilities"].values()]


def loader_answer(environments, loader, model, ids, scratch):
    """The same of a checkpoint's directory; llama.cpp's own converter makes a float32 GGUF of it."""
    if loader == "llama.cpp":
        gguf = scratch / "model.gguf"
        run(environments / "transformers/bin/python", HERE / "to_gguf.py", environments / "converter", model, gguf)
        return llama_answer(environments, gguf, ids, scratch)
    (scratch / "ids.json").write_text(json.dumps(ids))
    out = scratch / f"{loader}.json"
    run(environments / loader / "bin/python", HERE / "worker.py", loader, model, scratch / "ids.json", out)
    return json.loads(out.read_text())


def largest_difference(ours, theirs, tolerance):
    """Raises Difference where it is more than that (or no number)."""
    worst = max(abs(a - b) for a, b in zip(ours, theirs, strict=True))
    if not worst <= tolerance:
        raise Difference(worst)
    return worst
