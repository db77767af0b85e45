# SPDX-License-Identifier: Apache-2.0
"""Models of several parts, made tiny by transformers: the text model inside is found and computes the same logits there
and here, before and after a cut; what was cut loads in the class that it came from, and the other parts are the same
bytes."""

import json
import logging
import os
import pathlib
import subprocess

import pytest
import safetensors
import torch
import transformers
from results import our_logits, streamline
from safetensors.torch import load_file, save_file

ROOT = pathlib.Path(__file__).parents[2]
# Both compute in float32 from the same stored weights.
LOGITS_TOLERANCE = 1e-4
TEXT = {"vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 4,
        "num_key_value_heads": 2, "max_position_embeddings": 128, "bos_token_id": 1, "eos_token_id": 2}
VISION = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
          "image_size": 28, "patch_size": 14}
QWEN_VISION = {"depth": 3, "hidden_size": 16, "intermediate_size": 24, "num_heads": 2, "out_hidden_size": 32,
               "patch_size": 14}
QWEN_TOKENS = {"image_token_id": 90, "video_token_id": 91, "vision_start_token_id": 92, "vision_end_token_id": 93}
SECTIONS = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [1, 1, 2]}
# name: (class, configuration class, text keys, other keys)
MODELS = {
    "gemma3": ("Gemma3ForConditionalGeneration", "Gemma3Config",
               {"num_hidden_layers": 7, "head_dim": 8, "sliding_window": 8},
               {"vision_config": VISION, "mm_tokens_per_image": 1, "image_token_index": 90, "boi_token_index": 91,
                "eoi_token_index": 92}),
    "qwen2_5_vl": ("Qwen2_5_VLForConditionalGeneration", "Qwen2_5_VLConfig",
                   {"num_hidden_layers": 5, "rope_parameters": SECTIONS, "use_sliding_window": True,
                    "sliding_window": 8, "max_window_layers": 2, "tie_word_embeddings": False},
                   {"vision_config": QWEN_VISION | {"fullatt_block_indexes": [1]}, "tie_word_embeddings": False,
                    **QWEN_TOKENS}),
    "qwen2_vl": ("Qwen2VLForConditionalGeneration", "Qwen2VLConfig",
                 {"num_hidden_layers": 5, "rope_parameters": SECTIONS},
                 {"vision_config": {"depth": 2, "embed_dim": 16, "hidden_size": 32, "num_heads": 2, "patch_size": 14,
                                    "mlp_ratio": 2}, "tie_word_embeddings": True, **QWEN_TOKENS}),
    "qwen3_vl": ("Qwen3VLForConditionalGeneration", "Qwen3VLConfig",
                 {"num_hidden_layers": 5, "head_dim": 8,
                  "rope_parameters": SECTIONS | {"mrope_section": [2, 1, 1], "mrope_interleaved": True}},
                 {"vision_config": QWEN_VISION | {"deepstack_visual_indexes": [0, 2], "num_position_embeddings": 16},
                  "tie_word_embeddings": False, **QWEN_TOKENS}),
    "mistral3": ("Mistral3ForConditionalGeneration", "Mistral3Config",
                 {"model_type": "mistral", "num_hidden_layers": 5, "head_dim": 8, "sliding_window": None},
                 {"vision_config": {"model_type": "pixtral", **VISION}, "image_token_index": 90,
                  "tie_word_embeddings": False}),
    "llava": ("LlavaForConditionalGeneration", "LlavaConfig", {"model_type": "llama", "num_hidden_layers": 5},
              {"vision_config": {"model_type": "clip_vision_model", "projection_dim": 16, **VISION},
               "image_token_index": 90, "vision_feature_layer": -2, "tie_word_embeddings": False}),
    # Chunks shorter than the text, and queries whose temperature changes within it.
    "llama4": ("Llama4ForConditionalGeneration", "Llama4Config",
               {"intermediate_size_mlp": 40, "num_hidden_layers": 6, "head_dim": 8, "num_local_experts": 3,
                "interleave_moe_layer_step": 2, "attention_chunk_size": 16, "floor_scale": 4, "attn_scale": 0.5},
               {"vision_config": VISION | {"intermediate_size": 64, "vision_output_dim": 16,
                                           "projector_input_dim": 16, "projector_output_dim": 16},
                "image_token_index": 90, "boi_token_index": 91, "eoi_token_index": 92}),
    # As Maverick: no norm of q and k; two experts a token.
    "llama4_plain": ("Llama4ForConditionalGeneration", "Llama4Config",
                     {"intermediate_size_mlp": 40, "num_hidden_layers": 5, "head_dim": 8, "num_local_experts": 4,
                      "num_experts_per_tok": 2, "use_qk_norm": False, "attn_temperature_tuning": False},
                     {"vision_config": VISION | {"intermediate_size": 64, "vision_output_dim": 16,
                                                 "projector_input_dim": 16, "projector_output_dim": 16},
                      "image_token_index": 90, "boi_token_index": 91, "eoi_token_index": 92}),
}


def made(name, folder, spread=0.1):
    """The model, saved with weights that matter."""
    model_class, config_class, text, others = MODELS[name]
    config = getattr(transformers, config_class)(text_config=TEXT | text, **others)
    torch.manual_seed(0)
    model = getattr(transformers, model_class)(config).eval().to(torch.float32)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=0.0 if parameter.dim() > 1 else 1.0, std=spread)
    model.tie_weights()
    model.save_pretrained(folder)
    return folder


def write_plan(path, layers, dropped, replacement=None):
    action = {"action": "replace", "replacement": replacement} if replacement else {"action": "drop"}
    segments = [{"first": i, "last": i, **({"action": "keep"} if i not in dropped else action)} for i in range(layers)]
    path.write_text(json.dumps({"format": "streamline-plan", "version": 1, "base": {"layers": layers},
                                "method": {"name": "manual"}, "segments": segments}))
    return path


def apply(source, layers, dropped, tmp_path, replacement=None):
    plan = write_plan(tmp_path / "plan.json", layers, dropped, replacement)
    result = streamline("apply", source, "--plan", plan, "--out", tmp_path / "out", "--dtype", "float32", "--json",
                        "--quiet", "--check", "logits")
    return tmp_path / "out", json.loads(result.stdout)


def check_logits(name, folder, tmp_path, caplog):
    transformers.utils.logging.enable_propagation()
    with caplog.at_level(logging.WARNING):
        model, info = getattr(transformers, MODELS[name][0]).from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    assert {key: list(found) for key, found in info.items() if found} == {}
    ids = torch.randint(3, 88, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        # Llama 4's own class fails without images in transformers 5.24.
        text = model.language_model if name.startswith("llama4") else model
        expected = text.eval()(input_ids=ids).logits
    difference = (our_logits(folder, ids, tmp_path) - expected).abs().max() / expected.abs().max()
    assert difference < LOGITS_TOLERANCE


def is_text(tensor):
    return any(tensor.startswith(start) for start in ("language_model.", "model.language_model.", "lm_head", "model.layers",
                                                      "model.norm", "model.embed_tokens"))


def other_parts(folder):
    return {name: value for name, value in load_file(folder / "model.safetensors").items() if not is_text(name)}


def check_other_parts(source, out):
    before, after = other_parts(source), other_parts(out)
    assert before and before.keys() == after.keys()
    assert all(torch.equal(before[name].view(torch.uint8), after[name].view(torch.uint8)) for name in before)


def layers_of(name):
    return MODELS[name][2]["num_hidden_layers"]


@pytest.mark.parametrize("name", MODELS)
def test_the_text_model_computes_as_in_transformers(name, tmp_path, caplog):
    check_logits(name, made(name, tmp_path / "m"), tmp_path, caplog)


@pytest.mark.parametrize("dropped", [(0,), (1, 3)])
@pytest.mark.parametrize("name", MODELS)
def test_a_cut_model_loads_with_its_other_parts(name, dropped, tmp_path, caplog):
    source = made(name, tmp_path / "m")
    out, result = apply(source, layers_of(name), dropped, tmp_path)
    assert result["largest_logit_difference"] == 0
    check_logits(name, out, tmp_path, caplog)
    check_other_parts(source, out)
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (source, out))
    assert after["text_config"]["num_hidden_layers"] == layers_of(name) - len(dropped)
    unchanged = set(before) - {"text_config", "dtype", "torch_dtype", "tie_word_embeddings"}
    assert {key: after[key] for key in unchanged} == {key: before[key] for key in unchanged}


# Of Llama 4 a layer with experts.
@pytest.mark.parametrize("replacement", ["layer", "swiglu-residual"])
@pytest.mark.parametrize(("name", "layer"), [("gemma3", 2), ("llama4", 1)])
def test_a_replaced_layer_loads_too(name, layer, replacement, tmp_path, caplog):
    source = made(name, tmp_path / "m")
    out, _ = apply(source, layers_of(name), (layer,), tmp_path, replacement)
    check_logits(name, out, tmp_path, caplog)
    check_other_parts(source, out)


def test_llama_4_keeps_the_kind_of_every_layer(tmp_path):
    out, _ = apply(made("llama4", tmp_path / "m"), 6, (0, 2), tmp_path)
    config = json.loads((out / "config.json").read_text())["text_config"]
    assert config["moe_layers"] == [0, 1, 3] and config["no_rope_layers"] == [1, 0, 1, 1]
    assert config["layer_types"] == ["chunked_attention", "full_attention", "chunked_attention", "chunked_attention"]


# As transformers 4.49 wrote Qwen2.5-VL: the text model's keys at the top, the RoPE type "mrope".
def test_keys_of_the_text_model_at_the_top_are_read(tmp_path, caplog):
    source = made("qwen2_5_vl", tmp_path / "m")
    config = json.loads((source / "config.json").read_text())
    text = config.pop("text_config")
    sections = text.pop("rope_parameters")["mrope_section"]
    config = text | config | {"rope_theta": 1e6, "rope_scaling": {"type": "mrope", "mrope_section": sections}}
    (source / "config.json").write_text(json.dumps(config))
    check_logits("qwen2_5_vl", source, tmp_path, caplog)
    out, _ = apply(source, 5, (1,), tmp_path)
    check_logits("qwen2_5_vl", out, tmp_path, caplog)
    check_other_parts(source, out)
    assert json.loads((out / "config.json").read_text())["rope_scaling"]["mrope_section"] == sections


# As transformers 5 calls the tensors in memory, and some tools in files.
def test_tensors_are_found_by_either_name(tmp_path, caplog):
    source = made("gemma3", tmp_path / "m")
    tensors = load_file(source / "model.safetensors")
    others = {"vision_tower.": "model.vision_tower.", "multi_modal_projector.": "model.multi_modal_projector."}
    renamed = {}
    for name, value in tensors.items():
        for start, beginning in ({"language_model.model.": "model.language_model."} | others).items():
            name = beginning + name.removeprefix(start) if name.startswith(start) else name
        renamed[name] = value
    save_file(renamed, source / "model.safetensors", metadata={"format": "pt"})
    check_logits("gemma3", source, tmp_path, caplog)
    out, _ = apply(source, 7, (1, 2), tmp_path)
    check_logits("gemma3", out, tmp_path, caplog)
    check_other_parts(source, out)


def test_deepstack_is_kept_and_what_it_means_now_is_said(tmp_path):
    source = made("qwen3_vl", tmp_path / "m")
    out, result = apply(source, 5, (1,), tmp_path)
    config = json.loads((out / "config.json").read_text())
    assert config["vision_config"]["deepstack_visual_indexes"] == [0, 2]
    assert any("DeepStack" in note and "now layers 0, 2" in note for note in result["notes"])


def test_safetensors_opens_a_result(tmp_path):
    out, _ = apply(made("gemma3", tmp_path / "m"), 7, (3,), tmp_path)
    with safetensors.safe_open(out / "model.safetensors", framework="pt") as file:
        assert file.metadata()["format"] == "pt"


def text_key(**keys):
    return lambda config: config["text_config"].update(keys)


def top_key(**keys):
    return lambda config: config.update(keys)


# name: (the model, what is done to its config.json, words that stderr must hold)
BROKEN = {
    "no object for the text model": ("gemma3", lambda c: c.pop("text_config"), ["config.json", "text_config"]),
    "a text model that is a word": ("gemma3", top_key(text_config="gemma3_text"), ["config.json", "text_config"]),
    "a text model without a family": ("gemma3", lambda c: c["text_config"].pop("model_type"), ["lacks 'model_type'"]),
    "no width": ("gemma3", lambda c: c["text_config"].pop("hidden_size"), ["lacks 'hidden_size'"]),
    "another width": ("gemma3", text_key(hidden_size=64), ["language_model.model.embed_tokens.weight", "64"]),
    "more layers than tensors": ("gemma3", text_key(num_hidden_layers=8, layer_types=None),
                                 ["language_model.model.layers.7"]),
    "fewer layers than tensors": ("gemma3", text_key(num_hidden_layers=6, layer_types=None),
                                  ["language_model.model.layers.6"]),
    "a list of layers that is too short": ("gemma3", text_key(layer_types=["full_attention"] * 3), ["layer_types", "3"]),
    "a tied head that is a word": ("gemma3", top_key(tie_word_embeddings="yes"), ["tie_word_embeddings"]),
    "a tap on no layer": ("gemma3", top_key(accept_hidden_layer=8), ["accept_hidden_layer", "8", "7"]),
    "a tap that is a word": ("gemma3", text_key(feature_layers=[1, "last"]), ["feature_layers", "last"]),
    "a DeepStack beyond the tower": (
        "qwen3_vl", lambda c: c["vision_config"].update(deepstack_visual_indexes=[0, 3]),
        ["deepstack_visual_indexes", "3 layers"]),
    "a DeepStack deeper than what is left": (
        "qwen3_vl", lambda c: c["vision_config"].update(depth=9, deepstack_visual_indexes=[0, 1, 2, 3, 4]),
        ["DeepStack", "5 layers", "4"]),
    "sections that are no object": ("qwen2_5_vl", text_key(rope_parameters=[1, 1, 2]), ["rope_parameters"]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_one_clear_line_and_leaves_nothing(name, tmp_path):
    model, change, words = BROKEN[name]
    source = made(model, tmp_path / "m")
    config = json.loads((source / "config.json").read_text())
    change(config)
    (source / "config.json").write_text(json.dumps(config))
    layers = config["text_config"].get("num_hidden_layers", 7) if isinstance(config.get("text_config"), dict) else 7
    plan = write_plan(tmp_path / "plan.json", layers, (1,))
    result = subprocess.run([os.environ["STREAMLINE_PROGRAM"], "apply", source, "--plan", plan, "--out", tmp_path / "out",
                             "--threads", "1", "--quiet"], capture_output=True, text=True)
    assert result.returncode == 1 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    for word in words:
        assert word in line
    assert not (tmp_path / "out").exists()
