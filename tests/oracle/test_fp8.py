# SPDX-License-Identifier: Apache-2.0
"""FP8 checkpoints compute as transformers does from the same numbers dequantised by PyTorch, whatever a factor covers;
they are scored, cut byte for byte and given a replacement, and broken ones are refused in one line."""

import json
import os
import pathlib
import subprocess

import pytest
import torch
import transformers
from results import our_logits
from safetensors.torch import load_file, save_file

ROOT = pathlib.Path(__file__).parents[2]
BOOKS = ROOT / "models" / "books-5m"
LOGITS_TOLERANCE = 1e-4  # both in float32 from the same numbers
LAYERS = 12
BLOCK = (64, 80)  # divides neither side of books-5m's matrices (192, 512, 64 by 192)
# name: (suffix of the factors, their type, what config.json says)
FORMS = {
    "blocks": ("_scale_inv", torch.float32, {"quant_method": "fp8", "weight_block_size": list(BLOCK)}),
    "blocks in bfloat16": ("_scale_inv", torch.bfloat16, {"quant_method": "fp8", "weight_block_size": list(BLOCK)}),
    "rows": ("_scale", torch.float32, {"quant_method": "compressed-tensors", "format": "float-quantized"}),
    "rows as a vector": ("_scale", torch.float32, {"quant_method": "fbgemm_fp8"}),
    "matrices": ("_scale", torch.float32, {"quant_method": "modelopt", "quant_algo": "FP8"}),
    "matrices without a shape": ("_scale", torch.float32, {"quant_method": "fp8"}),
    "e5m2": ("_scale_inv", torch.float32, {"quant_method": "fp8", "weight_block_size": list(BLOCK)}),
}


def spread(form, factors, shape):
    """The factors as a matrix of the weight's shape."""
    if form in ("blocks", "blocks in bfloat16", "e5m2"):
        wide = factors.float().repeat_interleave(BLOCK[0], 0).repeat_interleave(BLOCK[1], 1)
        return wide[: shape[0], : shape[1]]
    return factors.float().reshape(-1, 1) if form.startswith("rows") else factors.float().reshape(1, 1)


def factor_shape(form, shape):
    if form in ("blocks", "blocks in bfloat16", "e5m2"):
        return [-(-shape[0] // BLOCK[0]), -(-shape[1] // BLOCK[1])]
    return {"rows": [shape[0], 1], "rows as a vector": [shape[0]], "matrices": [1], "matrices without a shape": []}[form]


def made(form, folder, config=None, change=None):
    """books-5m in FP8, and what it stands for as a model of transformers."""
    suffix, factor_type, described = FORMS[form]
    float8 = torch.float8_e5m2 if form == "e5m2" else torch.float8_e4m3fn
    generator = torch.Generator().manual_seed(0)
    tensors, meant = {}, {}
    for name, value in load_file(BOOKS / "model.safetensors").items():
        if "_proj" not in name:
            tensors[name], meant[name] = value, value.float()
            continue
        factors = (0.5 + torch.rand(factor_shape(form, value.shape), generator=generator)).to(factor_type) / 64
        stored = (value.float() / spread(form, factors, value.shape)).to(float8)
        tensors[name], tensors[name + suffix] = stored, factors
        meant[name] = stored.float() * spread(form, factors, value.shape)
        if form == "matrices":
            tensors[name.removesuffix("weight") + "input_scale"] = torch.ones(1)
    if change:
        change(tensors)
    folder.mkdir()
    for path in BOOKS.iterdir():
        if path.name not in ("config.json", "model.safetensors"):
            (folder / path.name).symlink_to(path)
    source = json.loads((BOOKS / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(source | {"quantization_config": described} | (config or {})))
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder, meant


def streamline(*arguments, status=0):
    result = subprocess.run([os.environ["STREAMLINE_PROGRAM"], *map(str, arguments), "--quiet"], capture_output=True,
                            text=True)
    assert result.returncode == status, result.stderr
    return result


def plan(path, replacement=None):
    middle = {"action": "replace", "replacement": replacement} if replacement else {"action": "drop"}
    path.write_text(json.dumps({
        "format": "streamline-plan", "version": 1, "base": {"layers": LAYERS}, "method": {"name": "manual"},
        "segments": [{"first": 0, "last": 3, "action": "keep"}, {"first": 4, "last": 5, **middle},
                     {"first": 6, "last": 11, "action": "keep"}]}))
    return path


def check_logits(folder, meant, kept, tmp_path):
    """Ours against transformers with these layers of `meant`."""
    config = transformers.AutoConfig.from_pretrained(BOOKS)
    config.num_hidden_layers = len(kept)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32, attn_implementation="eager")
    state = {}
    for name, value in meant.items():
        parts = name.split(".")
        if parts[1] == "layers":
            if int(parts[2]) not in kept:
                continue
            parts[2] = str(kept.index(int(parts[2])))
        state[".".join(parts)] = value
    missing = model.load_state_dict(state, strict=False).missing_keys
    assert missing in ([], ["lm_head.weight"])
    ids = torch.randint(3, 4096, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model.eval()(ids).logits
    ours = our_logits(folder, ids, tmp_path)
    assert (ours - expected).abs().max() / expected.abs().max() < LOGITS_TOLERANCE


@pytest.mark.parametrize("form", FORMS)
def test_logits_are_those_of_the_dequantised_weights(form, tmp_path):
    folder, meant = made(form, tmp_path / "m")
    check_logits(folder, meant, list(range(LAYERS)), tmp_path)


@pytest.mark.parametrize("form", ["blocks", "rows", "matrices"])
def test_a_cut_keeps_bytes_and_computes_as_the_cut_model(form, tmp_path):
    gate = "model.layers.{}.mlp.gate_proj"
    config = {"quantization_config": FORMS[form][2] | {"modules_to_not_convert": [gate.format(i) for i in (0, 4, 11)]}}
    folder, meant = made(form, tmp_path / "m", config)
    result = streamline("apply", folder, "--plan", plan(tmp_path / "p.json"), "--out", tmp_path / "out", "--json",
                        "--threads", "1", "--dtype", "float32", "--check", "logits")
    assert json.loads(result.stdout)["largest_logit_difference"] == 0
    kept = [0, 1, 2, 3, 6, 7, 8, 9, 10, 11]
    check_logits(tmp_path / "out", meant, kept, tmp_path)
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    for name, value in after.items():
        parts = name.split(".")
        if parts[1] == "layers":
            parts[2] = str(kept[int(parts[2])])
        origin = before[".".join(parts)]
        assert origin.dtype == value.dtype and torch.equal(origin.view(torch.uint8), value.view(torch.uint8))
    written = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    assert written["modules_to_not_convert"] == [gate.format(i) for i in (0, 9)]


def test_a_replacement_is_listed_as_not_quantised(tmp_path):
    folder, _ = made("blocks", tmp_path / "m")
    streamline("apply", folder, "--plan", plan(tmp_path / "p.json", "layer"), "--out", tmp_path / "out", "--threads", "1",
               "--dtype", "float32")
    tensors = load_file(tmp_path / "out" / "model.safetensors")
    assert tensors["model.layers.4.mlp.up_proj.weight"].dtype == torch.bfloat16
    assert tensors["model.layers.5.mlp.up_proj.weight"].dtype == torch.float8_e4m3fn
    exempt = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]["modules_to_not_convert"]
    assert sorted(exempt) == sorted(["lm_head"] + [name.removesuffix(".weight") for name in tensors if
                                                   name.startswith("model.layers.4.") and name.endswith("_proj.weight")])


def test_a_checkpoint_in_fp8_is_scored(tmp_path):
    folder, _ = made("blocks", tmp_path / "m")
    result = streamline("score", folder, "--data", ROOT / "models" / "text" / "calibration.jsonl", "--seq-len", 64,
                        "--samples", 4, "--json", "--threads", "1")
    assert json.loads(result.stdout)["model"]


# What would change matrices, and what the refusal says.
CHANGES = {
    "zeros": (["sparsify", "--ratio", "0.5"], ["sparsify the unquantised checkpoint"]),
    "merged adapters": (["heal"], ["into which nothing can be merged", "or write --adapters alone"]),
    "sliced channels": (["prune", "--method", "wanda-sp", "--ratio", "0.5"], ["which cannot be cut"]),
    "fitted matrices": (["prune", "--method", "flap", "--ratio", "0.5", "--refit", "least-squares"], ["which cannot be cut"]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changed_matrices_are_refused_before_the_work(change, tmp_path):
    (command, *options), words = CHANGES[change]
    folder, _ = made("blocks", tmp_path / "m")
    result = streamline(command, folder, "--data", tmp_path / "no text", "--out", tmp_path / "out", *options, "--threads", "1", status=1)
    (line,) = result.stderr.splitlines()
    for word in ["_proj.weight: is stored in a quantised form", *words]:
        assert word in line


def test_a_half_alone_is_refused_where_zeros_would_stand_beside_it(tmp_path):
    folder, _ = made("blocks", tmp_path / "m")
    command = ["prune", folder, "--data", ROOT / "models" / "text" / "calibration.jsonl", "--seq-len", 32, "--samples", 2, "--method",
               "attention-drop", "--halves", 1, "--eval-windows", 1, "--no-speed", "--threads", "1", "--out", tmp_path / "out"]
    (line,) = streamline(*command, status=1).stderr.splitlines()
    assert "_proj.weight: is stored in a quantised form" in line and "give --format per-layer or decilm" in line
    streamline(*command, "--format", "per-layer")
    assert load_file(tmp_path / "out" / "model.safetensors")["model.layers.0.mlp.up_proj.weight"].dtype == torch.float8_e4m3fn


def test_norms_are_healed_beside_fp8(tmp_path):
    folder, _ = made("blocks", tmp_path / "m")
    streamline("heal", folder, "--data", ROOT / "models" / "text" / "calibration.jsonl", "--seq-len", 32, "--tokens", 1000, "--validation", 2,
               "--batch", 4, "--with", "norms", "--threads", "1", "--out", tmp_path / "out")
    before, after = load_file(folder / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(before[UP].view(torch.uint8), after[UP].view(torch.uint8))


UP = "model.layers.3.mlp.up_proj.weight"


def set_tensor(name, value):
    return lambda tensors: tensors.update({name: value})


def block_size(value):
    return {"quantization_config": {"quant_method": "fp8", "weight_block_size": value}}


# name: (config, what is done to the tensors, words that stderr must hold)
BROKEN = {
    "factors of another shape": (None, set_tensor(UP + "_scale_inv", torch.ones(3, 3)),
                                 [UP + "_scale_inv", "[3,3]", "64 x 80"]),
    "factors that are transposed": (None, lambda t: t.update({UP + "_scale_inv": t[UP + "_scale_inv"].T.contiguous()}),
                                    [UP + "_scale_inv"]),
    "too many dimensions": (None, set_tensor(UP + "_scale_inv", torch.ones(8, 3, 1)), [UP + "_scale_inv"]),
    "no factors for one matrix": (None, lambda t: t.pop(UP + "_scale_inv"), [UP, "is FP8", "factors"]),
    "factors without a matrix": (None, lambda t: t.pop(UP), ["not computed with"]),
    "integers for factors": (None, set_tensor(UP + "_scale_inv", torch.ones(8, 3, dtype=torch.int32)),
                             [UP + "_scale_inv", "I32"]),
    "a vector in FP8": (None, set_tensor("model.layers.3.input_layernorm.weight",
                                         torch.ones(192).to(torch.float8_e4m3fn)), ["input_layernorm", "FP8"]),
    "no block size": ({"quantization_config": {"quant_method": "fp8"}}, None, ["no block size"]),
    "a block size of one number": (block_size([64]), None, ["weight_block_size", "[64]"]),
    "a block size of nothing": (block_size([0, 80]), None, ["weight_block_size", "[0,80]"]),
    "a block size of words": (block_size("64x80"), None, ["weight_block_size"]),
    "another block size": (block_size([64, 64]), None, ["_scale_inv", "64 x 64"]),
    "a matrix of another shape": (None, set_tensor(UP, torch.ones(512, 100).to(torch.float8_e4m3fn)), [UP]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_one_clear_line(name, tmp_path):
    config, change, words = BROKEN[name]
    folder, _ = made("blocks", tmp_path / "m", config, change)
    result = streamline("eval", folder, "--perplexity", ROOT / "models" / "text" / "valid.txt", "--threads", "1", status=1)
    (line,) = result.stderr.splitlines()
    for word in words:
        assert word in line


def test_nan_in_fp8_is_found(tmp_path):
    folder, _ = made("blocks", tmp_path / "m", change=lambda t: t[UP].view(torch.uint8)[0].fill_(0x7F))
    result = streamline("inspect", folder, "--check", status=1)
    assert UP in result.stderr and "NaN" in result.stderr
