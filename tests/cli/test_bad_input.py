# SPDX-License-Identifier: Apache-2.0
"""Bad input, as a user gives it: one clear line on stderr, the right exit status, and nothing left on the disk."""

import json
import resource

import pytest
from program import (BOOKS, CALIBRATION, VALID, copy_of_books, replace, run, safetensors_bytes, split_in_two, weights,
                     with_number)

FIRST_LAYER = "model.layers.0.mlp.up_proj.weight"


def prune(model, out, *options, data=CALIBRATION, seq_len=64):
    return ["prune", model, "--data", data, "--out", out, "--seq-len", seq_len, "--samples", 8, *options]


def plan(path, *segments, layers=12):
    path.write_text(json.dumps({"format": "streamline-plan", "version": 1, "base": {"layers": layers},
                                "method": {"name": "manual"}, "segments": list(segments)}))
    return path


def text(path, content):
    path.write_bytes(content)
    return path


def folder(path):
    path.mkdir()
    return path


def truncated(folder):
    copy_of_books(folder)
    replace(folder / "model.safetensors", (BOOKS / "model.safetensors").read_bytes()[:5_000_000])
    return folder


def shard_missing(folder):
    split_in_two(folder)
    (folder / "model-00002-of-00002.safetensors").unlink()
    return folder


def shard_elsewhere(folder):
    split_in_two(folder)
    index = (folder / "model.safetensors.index.json").read_text()
    (folder / "model.safetensors.index.json").write_text(index.replace("model-00002-of", "../model-00002-of"))
    return folder


def tensor_missing(folder):
    copy_of_books(folder)
    header, data = weights()
    # What follows is moved up, so that the file itself is sound.
    first, last = header.pop("model.norm.weight")["data_offsets"]
    for entry in header.values():
        if "data_offsets" in entry and entry["data_offsets"][0] >= last:
            entry["data_offsets"] = [offset - (last - first) for offset in entry["data_offsets"]]
    replace(folder / "model.safetensors", safetensors_bytes(header, data[:first] + data[last:]))
    return folder


def without(folder, *names):
    return copy_of_books(folder, without=names)


# name: (what to run, given an empty folder; exit status; words that stderr must hold)
MODELS = {
    "no such folder": (lambda t: ["inspect", t / "absent"], 1, ["absent"]),
    "a file of the model": (lambda t: ["inspect", BOOKS / "config.json"], 1, ["is a file", f"{BOOKS}"]),
    "adapters without their model": (
        lambda t: ["eval", text(folder(t / "m") / "adapter_config.json", b"{}").parent, "--perplexity", VALID], 1, ["streamline merge"]),
    "no config.json": (lambda t: ["inspect", without(t / "m", "config.json")], 1, ["config.json"]),
    "no weights": (lambda t: ["inspect", without(t / "m", "model.safetensors")], 1, ["safetensors"]),
    "no tokenizer": (lambda t: prune(without(t / "m", "tokenizer.model"), t / "out", "--cut", 2), 1, ["tokenizer"]),
    "truncated weights": (lambda t: ["inspect", truncated(t / "m")], 1, ["model.safetensors", "is the download complete?"]),
    "missing shard": (lambda t: ["inspect", shard_missing(t / "m")], 1, ["model-00002-of-00002.safetensors"]),
    "shard outside": (lambda t: ["inspect", shard_elsewhere(t / "m")], 1, ["../model-00002"]),
    "missing tensor": (lambda t: ["inspect", tensor_missing(t / "m")], 1, ["model.norm.weight"]),
    "NaN": (lambda t: prune(with_number(t / "m", FIRST_LAYER, 0x7FC0), t / "out", "--cut", 2), 1, [FIRST_LAYER, "NaN"]),
    "infinity": (lambda t: prune(with_number(t / "m", FIRST_LAYER, 0xFF80), t / "out", "--cut", 2), 1, [FIRST_LAYER]),
    "NaN on inspection": (
        lambda t: ["inspect", with_number(t / "m", FIRST_LAYER, 0x7FC0), "--check"], 1, [FIRST_LAYER, "NaN"]),
    "config.json that is not JSON": (
        lambda t: ["inspect", t / "m"] if replace(copy_of_books(t / "m") / "config.json", b"{") is None else [],
        1, ["config.json"]),
    "shapes that disagree": (
        lambda t: ["inspect", copy_of_books(t / "m", {"intermediate_size": 500})], 1, ["mlp", "500"]),
    "vocabulary above the embedding": (
        lambda t: ["inspect", copy_of_books(t / "m", {"vocab_size": 5000})], 1, ["5000", "4096"]),
    "more layers than there are": (
        lambda t: ["inspect", copy_of_books(t / "m", {"num_hidden_layers": 13})], 1, ["layers.12"]),
    "unknown family": (lambda t: ["inspect", copy_of_books(t / "m", {"model_type": "mamba"})], 1, ["mamba"]),
    "unknown RoPE": (
        lambda t: ["inspect", copy_of_books(t / "m", {"rope_scaling": {"rope_type": "spiral", "factor": 2.0}})],
        1, ["spiral"]),
    "quantised weights": (
        lambda t: ["inspect", copy_of_books(t / "m", {"quantization_config": {"quant_method": "gptq"}})],
        1, ["quantization_config"]),
}
TEXTS = {
    "no such text": (lambda t: prune(BOOKS, t / "out", "--cut", 2, data=t / "absent.txt"), 1, ["absent.txt"]),
    "empty text": (lambda t: prune(BOOKS, t / "out", "--cut", 2, data=text(t / "a.txt", b"")), 1, ["a.txt"]),
    "too little text": (
        lambda t: prune(BOOKS, t / "out", "--cut", 2, data=text(t / "a.txt", b"Once upon a time.")), 1, ["tokens"]),
    "invalid UTF-8": (
        lambda t: prune(BOOKS, t / "out", "--cut", 2, data=text(t / "a.txt", b"ab \xff\xfe" * 99)), 1, ["UTF-8"]),
    "too little text to measure on, told before the scores": (
        lambda t: prune(BOOKS, t / "out", "--cut", 2, "--eval", text(t / "a.txt", b"Once upon a time.")), 1,
        ["a.txt", "one window needs 64", "--seq-len"]),
    "a window longer than the text": (
        lambda t: ["eval", BOOKS, "--perplexity", text(t / "a.txt", b"Once upon a time.")], 1, ["one window needs 255", "--window"]),
    "a field that is not there": (
        lambda t: prune(BOOKS, t / "out", "--cut", 2, "--text-field", "body"), 1, ["body", "calibration.jsonl"]),
    "a line that is not JSON": (
        lambda t: prune(BOOKS, t / "out", "--cut", 2, data=text(t / "a.jsonl", b'{"text": "a"}\n{"text": \n')),
        1, ["a.jsonl:2"]),
    "sequences beyond the positions": (
        lambda t: prune(BOOKS, t / "out", "--cut", 2, seq_len=300), 1, ["300", "256", "--allow-long"]),
    "sequences that BOS makes too long": (
        lambda t: prune(BOOKS, t / "out", "--cut", 2, seq_len=256), 1, ["BOS", "256 positions", "at most 255", "--allow-long"]),
    "windows that BOS makes too long": (
        lambda t: ["eval", BOOKS, "--perplexity", VALID, "--window", 256], 1, ["BOS", "at most 255", "--allow-long"]),
    "windows of a sweep that BOS makes too long": (
        lambda t: ["merge", BOOKS, "--base", BOOKS, "--sweep", "scale=0,1", "--target", VALID, "--window", 256], 1, ["at most 255"]),
    "windows beyond the positions": (
        lambda t: ["eval", BOOKS, "--perplexity", VALID, "--window", 300], 1, ["300", "256", "--allow-long"]),
    "more memory than there is": (
        lambda t: ["eval", BOOKS, "--perplexity", VALID, "--window", 100_000, "--allow-long", "--memory", "10MB"], 1,
        ["tokens need at least", "10.0 MB"]),
}
TARGETS = {
    "an output that exists": (
        lambda t: prune(BOOKS, text(t / "out", b"x").parent, "--cut", 2), 1, ["already", "--overwrite"]),
    "a folder of something else": (
        lambda t: prune(BOOKS, text(t / "thesis.txt", b"x").parent, "--cut", 2, "--overwrite"), 1, ["--overwrite", "remove it yourself"]),
    "a file in the place of a folder": (
        lambda t: prune(BOOKS, text(t / "thesis.txt", b"x"), "--cut", 2, "--overwrite"), 1, ["thesis.txt", "is a file"]),
    "a folder that nobody can write into, told before any text is read": (
        lambda t: prune(BOOKS, "/proc/out", "--cut", 2, data=t / "none.txt"), 1, ["/proc/out: cannot create"]),
    "folders above the target that a run made before it failed": (
        lambda t: prune(BOOKS, folder(t / "mine") / "a" / "b" / "out", "--cut", 2, data=t / "none.txt"), 1, ["none.txt"]),
    "a target inside the source": (
        lambda t: ["apply", copy_of_books(t / "m"), "--plan", plan(t / "p.json", *DROP_TWO), "--out", t / "m" / "out"],
        None, ["inside"]),
    "the source as target": (
        lambda t: ["apply", copy_of_books(t / "m"), "--plan", plan(t / "p.json", *DROP_TWO), "--out", t / "m",
                   "--overwrite"], None, ["the source"]),
    "a target below a file": (
        lambda t: ["apply", BOOKS, "--plan", plan(t / "p.json", *DROP_TWO), "--out", text(t / "f", b"") / "out"],
        1, ["f"]),
}
KEEP = {"action": "keep"}
DROP_TWO = [{"first": 0, "last": 3, **KEEP}, {"first": 4, "last": 5, "action": "drop"}, {"first": 6, "last": 11, **KEEP}]
PLANS = {
    "no such plan": (lambda t: ["apply", BOOKS, "--plan", t / "p.json", "--out", t / "out"], 1, ["p.json"]),
    "a plan for another model": (
        lambda t: ["apply", BOOKS, "--plan", plan(t / "p.json", {"first": 0, "last": 4, **KEEP}, layers=5),
                   "--out", t / "out"], 1, ["5", "12"]),
    "a plan that covers a layer twice": (
        lambda t: ["apply", BOOKS, "--plan", plan(t / "p.json", {"first": 0, "last": 6, **KEEP},
                                                  {"first": 6, "last": 11, **KEEP}), "--out", t / "out"],
        1, ["layer 6", "twice"]),
    "an unknown replacement": (
        lambda t: ["apply", BOOKS, "--plan",
                   plan(t / "p.json", {"first": 0, "last": 5, **KEEP},
                        {"first": 6, "last": 11, "action": "replace", "replacement": "magic"}), "--out", t / "out"],
        None, ["magic", "swiglu-residual"]),
}
USAGE = {
    "no command": (lambda t: [], 2, ["--help"]),
    "an unknown command": (lambda t: ["shrink"], 2, ["no command 'shrink'", "--help"]),
    "a command with a letter missing": (lambda t: ["sparsfy", BOOKS], 2, ["'sparsfy'; the nearest is 'sparsify'"]),
    "an action with a letter missing": (lambda t: ["chip", "tran", BOOKS], 2, ["'tran'; the nearest is 'train'", "chip --help"]),
    "what is trained where nothing is": (
        lambda t: prune(BOOKS, t / "out", "--cut", 2, "--replace", "none", "--epochs", 2), 2, ["--epochs goes with"]),
    "a limit of what is not kept": (
        lambda t: prune(BOOKS, t / "out", "--cut", 2, "--replace", "none", "--cache-limit", "1GB"), 2, ["--cache-limit goes with"]),
    "a limit of what no method keeps": (
        lambda t: ["compare", BOOKS, "--data", CALIBRATION, "--methods", "deepest", "--layers", 2, "--cache-limit", "1GB"], 2,
        ["--cache-limit goes with --methods that try many candidates"]),
    "a limit that is no size": (
        lambda t: prune(BOOKS, t / "out", "--halves", 2, "--method", "blockpruner", "--cache-limit", "much"), 2, ["'much' is not a size"]),
    "an unknown option": (lambda t: ["inspect", BOOKS, "--fast"], 2, ["no option '--fast'"]),
    "an option with a letter too many": (
        lambda t: ["prune", BOOKS, "--out", t / "out", "--cutt", 4], 2, ["no option '--cutt'; the nearest is '--cut'", "prune --help"]),
    "a word too many": (lambda t: ["inspect", BOOKS, BOOKS], 2, ["is a word too many"]),
    "a method with a letter missing": (
        lambda t: prune(BOOKS, t / "out", "--cut", 2, "--method", "shortgp"), 2, ["the nearest is 'shortgpt'"]),
    "a replacement with a letter missing": (
        lambda t: prune(BOOKS, t / "out", "--cut", 2, "--replace", "layr"), 2, ["the nearest is 'layer'"]),
    "a task with a letter too many": (
        lambda t: ["eval", BOOKS, "--tasks", "piqua", "--data-dir", t], 2, ["no task 'piqua'", "the nearest is 'piqa'"]),
    "a choice with a letter missing": (
        lambda t: ["score", BOOKS, "--data", CALIBRATION, "--bos", "of"], 2, ["--bos takes one of auto, on, off; got 'of'"]),
    "a number of words": (
        lambda t: ["score", BOOKS, "--data", CALIBRATION, "--samples", "two"], 2, ["--samples takes an integer, 1 or more; got 'two'"]),
    "an integer with an exponent": (
        lambda t: ["score", BOOKS, "--data", CALIBRATION, "--cut", "1e0"], 2, ["--cut takes an integer; got '1e0'"]),
    "a number out of a range": (
        lambda t: ["inspect", BOOKS, "--threads", -1], 2, ["--threads takes an integer, 0 to 4096; got '-1'"]),
    "a seed below zero": (
        lambda t: ["score", BOOKS, "--data", CALIBRATION, "--seed", -3], 2, ["--seed takes an integer, 0 or more; got '-3'"]),
    "no value": (lambda t: ["score", BOOKS, "--data", CALIBRATION, "--cut"], 2, ["--cut takes an integer"]),
    "two values": (
        lambda t: ["score", BOOKS, "--data", CALIBRATION, "--cut", 1, "--cut", 2], 2, ["--cut is given more than once"]),
    "weight files of a byte": (
        lambda t: prune(BOOKS, t / "out", "--cut", 2, "--max-shard-size", 1), 2, ["--max-shard-size takes 100KB or more"]),
    "a state's seconds where nothing is trained": (
        lambda t: prune(BOOKS, t / "out", "--halves", 2, "--method", "blockpruner", "--state", t / "s", "--save-every", 1), 2,
        ["--save-every goes with what --replace trains; what a method finds is saved"]),
    "a share without its x": (
        lambda t: prune(BOOKS, t / "out", "--replace", "none", "--budget", "params=0.8"), 2, ["params=0.8x"]),
    "a machine of no estimate": (lambda t: ["inspect", BOOKS, "--device", "cpu"], 2, ["--device goes with --estimate"]),
    "no model": (lambda t: ["inspect"], 2, ["MODEL"]),
    "no data": (lambda t: ["prune", BOOKS, "--out", t / "out", "--cut", 2], 2, ["--data", "--replace layer learns from it"]),
    "no data to heal with": (lambda t: ["heal", BOOKS, "--out", t / "out"], 2, ["--data", "text like your model's use"]),
    "no output": (lambda t: ["prune", BOOKS, "--data", CALIBRATION, "--cut", 2], 2, ["--out"]),
    "nothing said about how much": (lambda t: prune(BOOKS, t / "out"), 2, ["--cut", "--layers", "--sparsity"]),
    "said twice how much": (lambda t: prune(BOOKS, t / "out", "--cut", 2, "--sparsity", 0.2), 2, ["--cut", "--sparsity"]),
    "sparsity of one": (lambda t: prune(BOOKS, t / "out", "--sparsity", 1), 2, ["sparsity", "1"]),
    "sparsity below zero": (lambda t: prune(BOOKS, t / "out", "--sparsity", -0.1), 2, ["sparsity"]),
    "a share that is no number": (lambda t: prune(BOOKS, t / "out", "--sparsity", "nan"), 2, ["--sparsity", "nan"]),
    "a ratio that is no number": (
        lambda t: ["sparsify", BOOKS, "--data", CALIBRATION, "--out", t / "out", "--ratio", "nan"], 2, ["--ratio", "nan"]),
    "a window longer than the model, told before any text is read": (
        lambda t: ["score", BOOKS, "--data", t / "none.txt", "--cut", 13], 2, ["--cut 13: the model has 12 layers, give 1 to 12"]),
    "a cut of words": (lambda t: prune(BOOKS, t / "out", "--cut", "four"), 2, ["four"]),
    "an unknown replacement": (lambda t: prune(BOOKS, t / "out", "--cut", 2, "--replace", "x"), 2, ["swiglu-residual"]),
    "an unknown method": (lambda t: prune(BOOKS, t / "out", "--cut", 2, "--method", "x"), 2, ["streamline"]),
    "an unknown device": (lambda t: ["eval", BOOKS, "--perplexity", VALID, "--device", "tpu"], 2, ["tpu"]),
    "an unknown type": (lambda t: ["eval", BOOKS, "--perplexity", VALID, "--dtype", "int3"], 2, ["int3"]),
    "a negative temperature": (
        lambda t: ["generate", BOOKS, "--prompt", "It", "--temperature", -1], 2, ["--temperature"]),
}
EXPORTS = {
    "settings of generation that are no object": (
        lambda t: ["export", t / "m", "--gguf", t / "a.gguf"]
        if replace(copy_of_books(t / "m") / "generation_config.json", b"[]") is None else [], 1,
        ["generation_config.json", "not a JSON object"]),
    "an unknown type": (lambda t: ["export", BOOKS, "--gguf", t / "a.gguf", "--type", "q2_k"], 2, ["q2_k", "q8_0"]),
    "another ending": (lambda t: ["export", BOOKS, "--gguf", t / "a.bin"], 2, ["a.bin", ".gguf"]),
    "no file": (lambda t: ["export", BOOKS], 2, ["--gguf"]),
    "a file that exists": (
        lambda t: ["export", BOOKS, "--gguf", text(t / "a.gguf", b"x")], 1, ["a.gguf", "already", "--overwrite"]),
    "more positions than there are": (
        lambda t: ["export", BOOKS, "--gguf", t / "a.gguf", "--context", 512], 2, ["256", "512"]),
    "a number beyond the type": (
        lambda t: ["export", with_number(t / "m", FIRST_LAYER, 0x7F00), "--gguf", t / "a.gguf"], 1,
        ["mlp.up_proj", "F16", "bf16"]),
    "NaN": (
        lambda t: ["export", with_number(t / "m", FIRST_LAYER, 0x7FC0), "--gguf", t / "a.gguf"], 1, ["mlp.up_proj"]),
    "another activation": (
        lambda t: ["export", copy_of_books(t / "m", {"hidden_act": "gelu"}), "--gguf", t / "a.gguf"], 1,
        ["gelu", "silu", "llama.cpp"]),
    "another rotary scaling": (
        lambda t: ["export", copy_of_books(t / "m", {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}),
                   "--gguf", t / "a.gguf"], 1, ["dynamic", "llama.cpp"]),
    "a tokenizer that is none": (
        lambda t: ["export", t / "m", "--gguf", t / "a.gguf"]
        if replace(copy_of_books(t / "m") / "tokenizer.model", b"nothing") is None else [], 1, ["tokenizer.model"]),
    "a directory as a cut's target": (
        lambda t: ["apply", BOOKS, "--plan", plan(t / "p.json", *DROP_TWO), "--out", t / "a.gguf"], 2,
        ["a.gguf", "directory", "export"]),
}
# None: where the command line meets a file, both 1 and 2 say it rightly.
WINDOWS = {
    "a cut of everything": (lambda t: prune(BOOKS, t / "out", "--cut", 12), None, ["12"]),
    "a window past the end": (lambda t: prune(BOOKS, t / "out", "--cut", 4, "--start", 9), None, ["--start 9", "0..11"]),
    "a state among a model's files": (
        lambda t: prune(BOOKS, t / "out", "--cut", 2, "--state", BOOKS), 2, ["--state", "a model lies there"]),
    "a protected layer out of range": (lambda t: prune(BOOKS, t / "out", "--cut", 4, "--protect", 40), None, ["40"]),
    "no window that spares the protected": (
        lambda t: prune(BOOKS, t / "out", "--cut", 4, "--protect", "2,5,8,11"), None, ["4"]),
}
CASES = [(group + ": " + name, *case)
         for group, cases in (("model", MODELS), ("text", TEXTS), ("target", TARGETS), ("plan", PLANS),
                              ("usage", USAGE), ("window", WINDOWS), ("export", EXPORTS))
         for name, case in cases.items()]


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def check_failure(result, status, words):
    assert result.returncode in ([status] if status else [1, 2]), result.stderr
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("streamline: ")
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize("name, arguments, status, words", CASES, ids=[case[0] for case in CASES])
def test_bad_input_is_one_clear_line_and_leaves_nothing(name, arguments, status, words, tmp_path):
    command = arguments(tmp_path)
    before = files_below(tmp_path)
    check_failure(run(*command, *(["--quiet"] if command[1:] else [])), status, words)
    assert files_below(tmp_path) == before


def test_a_full_disk_leaves_nothing(tmp_path):
    plan_file = plan(tmp_path / "p.json", *DROP_TWO)

    def at_most_a_megabyte():  # writing beyond fails as on a full disk; Python ignores SIGXFSZ, and so does its child
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    result = run("apply", BOOKS, "--plan", plan_file, "--out", tmp_path / "a" / "b" / "out", "--quiet",
                 preexec_fn=at_most_a_megabyte, restore_signals=False)
    check_failure(result, 1, ["File too large"])
    assert files_below(tmp_path) == ["p.json"]


def test_a_refused_output_is_untouched(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")
    check_failure(run(*prune(BOOKS, tmp_path / "out", "--cut", 2), "--quiet"), 1, ["--overwrite"])
    assert files_below(tmp_path) == ["out", "out/mine"]
