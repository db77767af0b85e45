# SPDX-License-Identifier: Apache-2.0
"""Checkpoints whose number format the program does not compute with: a plan is applied by names alone, the bytes of what
survives are the source's, and everything else is refused in one line that says what to do."""

import json

import pytest
from program import BOOKS, CALIBRATION, copy_of_books, replace, run, run_json, safetensors_bytes, weights

LAYERS = 12
KEPT = [0, 1, 2, 3, 6, 7, 8, 9, 10, 11]
# What each tool stores in place of "….weight", with safetensors' types.
FORMS = {
    "gptq": {"qweight": "I32", "qzeros": "I32", "scales": "F16", "g_idx": "I32"},
    "awq": {"qweight": "I32", "qzeros": "I32", "scales": "F16"},
    "compressed-tensors": {"weight_packed": "I32", "weight_scale": "BF16", "weight_shape": "I64"},
    "bitsandbytes": {"weight": "U8", "weight.absmax": "F32", "weight.quant_map": "F32",
                     "weight.quant_state.bitsandbytes__nf4": "U8"},
    "mystery": {"weight": "I8", "hyper_scale": "F64"},
}
SIZE = {"I32": 4, "F16": 2, "BF16": 2, "I64": 8, "U8": 1, "F32": 4, "I8": 1, "F64": 8}
GATES = [f"model.layers.{layer}.mlp.gate_proj" for layer in (0, 4, 5, 6, 11)]
GATES_AFTER = [f"model.layers.{layer}.mlp.gate_proj" for layer in (0, 4, 9)]


def quantised(folder, method, config=None, lists=None):
    """The shipped model as a tool of this kind would have stored it, with bytes that differ from tensor to tensor."""
    header, data = weights()
    tensors, number = {}, 0
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        module, _, last = name.rpartition(".")
        if "_proj" not in module:
            tensors[name] = (entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])])
            continue
        for suffix, dtype in FORMS[method].items():
            number += 1
            content = number.to_bytes(8, "little") * 4
            tensors[f"{module}.{suffix}"] = (dtype, [len(content) // SIZE[dtype]], content)
    copy_of_books(folder, config={"quantization_config": {"quant_method": method, **(lists or {})}} | (config or {}))
    replace(folder / "model.safetensors", packed(tensors))
    return folder


def packed(tensors):
    header, chunks, offset = {}, [], 0
    for name in sorted(tensors, key=lambda name: (-SIZE[tensors[name][0]], name)):
        dtype, shape, content = tensors[name]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(content)]}
        chunks.append(content)
        offset += len(content)
    return safetensors_bytes(header, b"".join(chunks))


def contents(folder):
    header, data = weights(folder / "model.safetensors")
    return {name: (entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])])
            for name, entry in header.items() if name != "__metadata__"}


def plan(path, digest="", dropped=(4, 5), action="drop", layers=LAYERS):
    segments = [{"first": 0, "last": dropped[0] - 1, "action": "keep"},
                {"first": dropped[0], "last": dropped[1], "action": action,
                 **({"replacement": "layer"} if action == "replace" else {})},
                {"first": dropped[1] + 1, "last": layers - 1, "action": "keep"}]
    path.write_text(json.dumps({"format": "streamline-plan", "version": 1, "base": {"layers": layers, "digest": digest},
                                "method": {"name": "manual"}, "segments": segments}))
    return path


def expected_name(name):
    """What a tensor of the source is called in the result; None: it is gone."""
    parts = name.split(".")
    if parts[:2] != ["model", "layers"]:
        return name
    layer = int(parts[2])
    return ".".join([*parts[:2], str(KEPT.index(layer)), *parts[3:]]) if layer in KEPT else None


@pytest.mark.parametrize("method", FORMS)
def test_a_plan_moves_bytes_and_touches_none(method, tmp_path):
    source = quantised(tmp_path / "m", method)
    result = run_json("apply", source, "--plan", plan(tmp_path / "p.json"), "--out", tmp_path / "out")
    assert result["layers"] == len(KEPT)
    assert result["parameters"] is None and result["checked"] == "tensors"
    before = {expected_name(name): content for name, content in contents(source).items()}
    before.pop(None)
    assert contents(tmp_path / "out") == before
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["num_hidden_layers"] == len(KEPT)
    assert config["quantization_config"] == {"quant_method": method}
    assert config["streamline"]["provenance"]["base_layers"] == LAYERS
    assert (tmp_path / "out" / "tokenizer.model").exists()


LISTS = {
    "modules_to_not_convert": (GATES, GATES_AFTER),
    "ignore": (["lm_head", *GATES], ["lm_head", *GATES_AFTER]),
    "llm_int8_skip_modules": (GATES, GATES_AFTER),
    "modules_in_block_to_quantize": ([["self_attn.q_proj"], ["mlp.up_proj"]], [["self_attn.q_proj"], ["mlp.up_proj"]]),
    "dynamic": ({"-:.*layers\\.[4-6]\\..*": {}, "+:.*layers\\.5\\.mlp": {"bits": 8}}, {"-:.*layers\\.4\\..*": {}}),
    "config_groups": ({"a": {"targets": ["re:.*layers\\.11\\..*"]}, "b": {"targets": ["re:.*layers\\.4\\..*"]}},
                      {"a": {"targets": ["re:.*layers\\.9\\..*"]}}),
}


@pytest.mark.parametrize("key", LISTS)
def test_lists_of_modules_follow_the_layers(key, tmp_path):
    before, after = LISTS[key]
    source = quantised(tmp_path / "m", "gptq", lists={key: before})
    run_json("apply", source, "--plan", plan(tmp_path / "p.json"), "--out", tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["quantization_config"][key] == after


def test_a_file_of_modules_beside_the_configuration_follows_too(tmp_path):
    source = quantised(tmp_path / "m", "mystery")
    (source / "hf_quant_config.json").write_text(json.dumps({"quantization": {"exclude_modules": ["lm_head", *GATES]}}))
    run_json("apply", source, "--plan", plan(tmp_path / "p.json"), "--out", tmp_path / "out")
    written = json.loads((tmp_path / "out" / "hf_quant_config.json").read_text())
    assert written == {"quantization": {"exclude_modules": ["lm_head", *GATES_AFTER]}}


def test_a_plan_of_the_unquantised_twin_is_applied_when_asked(tmp_path):
    proposed = run_json("prune", BOOKS, "--data", CALIBRATION, "--cut", 2, "--start", 4, "--replace", "none",
                        "--seq-len", 64, "--samples", 4, "--plan-only", "--out", tmp_path / "unused")
    (tmp_path / "p.json").write_text(json.dumps(proposed.get("plan", proposed)))
    source = quantised(tmp_path / "m", "awq")
    refused = run("apply", source, "--plan", tmp_path / "p.json", "--out", tmp_path / "out", "--quiet")
    assert refused.returncode == 1
    assert "made for other weights" in refused.stderr and "--any-weights" in refused.stderr
    result = run_json("apply", source, "--plan", tmp_path / "p.json", "--out", tmp_path / "out", "--any-weights")
    assert result["layers"] == len(KEPT)


def test_a_family_that_nobody_knows_is_cut_by_names(tmp_path):
    source = quantised(tmp_path / "m", "mystery",
                       config={"model_type": "mamba_of_tomorrow", "quantization_config": None,
                               "layer_kinds": list(range(LAYERS))})
    run_json("apply", source, "--plan", plan(tmp_path / "p.json"), "--out", tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["layer_kinds"] == KEPT
    assert config["num_hidden_layers"] == len(KEPT)
    assert config["model_type"] == "mamba_of_tomorrow"


COMPUTING = {
    "score": lambda model, t: ["score", model, "--data", CALIBRATION],
    "eval": lambda model, t: ["eval", model, "--perplexity", CALIBRATION],
    "prune": lambda model, t: ["prune", model, "--data", CALIBRATION, "--cut", 2, "--out", t / "out"],
    "generate": lambda model, t: ["generate", model, "--prompt", "It"],
}


@pytest.mark.parametrize("command", COMPUTING)
@pytest.mark.parametrize("described", [True, False])
def test_computing_is_refused_with_what_works_instead(command, described, tmp_path):
    source = quantised(tmp_path / "m", "gptq", config=None if described else {"quantization_config": None})
    result = run(*COMPUTING[command](source, tmp_path), "--quiet")
    assert result.returncode == 1 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    for word in ("config.json", "gptq", "not computed with", "streamline apply"):
        assert word in line
    assert not (tmp_path / "out").exists()


def layers_doubled(folder):
    source = quantised(folder, "gptq")
    tensors = contents(source)
    tensors |= {"second." + name: content for name, content in tensors.items()}
    replace(source / "model.safetensors", packed(tensors))
    return source


def layer_missing(folder):
    source = quantised(folder, "gptq")
    tensors = {name: content for name, content in contents(source).items() if ".layers.7." not in name}
    replace(source / "model.safetensors", packed(tensors))
    return source


# name: (the source; how the plan differs; words that stderr must hold)
BROKEN = {
    "a description that is no object": (lambda t: quantised(t, "gptq", {"quantization_config": "gptq"}), {},
                                        ["quantization_config", "not an object"]),
    "a description that is a list": (lambda t: quantised(t, "gptq", {"quantization_config": ["gptq"]}), {},
                                     ["quantization_config", "not an object"]),
    "a regular expression that is none": (
        lambda t: quantised(t, "gptq", lists={"ignore": ["re:layers\\.[4\\.mlp"]}), {}, ["layers", "one entry a layer"]),
    "more layers than tensors": (lambda t: quantised(t, "gptq", {"num_hidden_layers": 13}), {"layers": 13},
                                 ["13 decoder layers"]),
    "more tensors than layers": (lambda t: quantised(t, "gptq", {"num_hidden_layers": 10}), {"layers": 10},
                                 ["model.layers.11", "num_hidden_layers 10"]),
    "layers of no number": (lambda t: quantised(t, "gptq", {"num_hidden_layers": "12"}), {}, ["num_hidden_layers"]),
    "a layer that is missing": (layer_missing, {}, ["12 decoder layers"]),
    "two stacks": (layers_doubled, {}, ["could both be the decoder layers"]),
    "a list that is too short": (
        lambda t: quantised(t, "gptq", {"model_type": "strange", "layer_types": ["full_attention"] * 3}), {},
        ["layer_types", "3", "12"]),
    "a period that breaks": (
        lambda t: quantised(t, "gptq", {"model_type": "strange", "full_attention_interval": 4}), {},
        ["full_attention_interval", "whole periods"]),
    "a tap out of range": (lambda t: quantised(t, "gptq", {"accept_hidden_layer": 40}), {},
                           ["accept_hidden_layer", "40"]),
    "a replacement": (lambda t: quantised(t, "gptq"), {"action": "replace"}, ["4..5", "quantise the result"]),
    "a plan for another model": (lambda t: quantised(t, "gptq"), {"layers": 11}, ["11", "12"]),
    "a plan for other weights": (lambda t: quantised(t, "gptq"), {"digest": "0" * 64}, ["--any-weights"]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_one_clear_line_and_leaves_nothing(name, tmp_path):
    make, changes, words = BROKEN[name]
    source = make(tmp_path / "m")
    result = run("apply", source, "--plan", plan(tmp_path / "p.json", **changes), "--out", tmp_path / "out", "--quiet")
    assert result.returncode == 1 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("streamline: ")
    for word in words:
        assert word in line
    assert not (tmp_path / "out").exists()
