# SPDX-License-Identifier: Apache-2.0
"""Cuts between the periods of a model whose every sixth layer has no window (Gemma 3): llama.cpp counts on the period."""

import json
import random
from array import array

import pytest
from program import CALIBRATION, copy_of_books, replace, run, run_json, safetensors_bytes

LAYERS, HIDDEN, INNER, HEADS, KV_HEADS, HEAD, VOCAB = 12, 32, 48, 4, 2, 8, 4096
CONFIG = {"model_type": "gemma3_text", "architectures": ["Gemma3ForCausalLM"], "hidden_size": HIDDEN, "intermediate_size": INNER,
          "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD,
          "vocab_size": VOCAB, "max_position_embeddings": 256, "sliding_window": 32, "sliding_window_pattern": 6,
          "query_pre_attn_scalar": HEAD, "rope_theta": 1e6, "rope_local_base_freq": 1e4, "rms_norm_eps": 1e-6,
          "hidden_activation": "gelu_pytorch_tanh", "torch_dtype": "float32", "tie_word_embeddings": True, "bos_token_id": 1,
          "eos_token_id": 2}
TEXT = ["--data", CALIBRATION, "--seq-len", 48, "--samples", 2, "--eval-windows", 1, "--no-speed"]


def shapes():
    yield "model.embed_tokens.weight", [VOCAB, HIDDEN]
    yield "model.norm.weight", [HIDDEN]
    for layer in range(LAYERS):
        for name, shape in [("self_attn.q_proj", [HEADS * HEAD, HIDDEN]), ("self_attn.k_proj", [KV_HEADS * HEAD, HIDDEN]),
                            ("self_attn.v_proj", [KV_HEADS * HEAD, HIDDEN]), ("self_attn.o_proj", [HIDDEN, HEADS * HEAD]),
                            ("self_attn.q_norm", [HEAD]), ("self_attn.k_norm", [HEAD]), ("mlp.gate_proj", [INNER, HIDDEN]),
                            ("mlp.up_proj", [INNER, HIDDEN]), ("mlp.down_proj", [HIDDEN, INNER]), ("input_layernorm", [HIDDEN]),
                            ("post_attention_layernorm", [HIDDEN]), ("pre_feedforward_layernorm", [HIDDEN]),
                            ("post_feedforward_layernorm", [HIDDEN])]:
            yield f"model.layers.{layer}.{name}.weight", shape


@pytest.fixture(scope="module")
def gemma(tmp_path_factory):
    """A random one, with the shipped model's tokenizer, and the GGUF file of it."""
    folder = tmp_path_factory.mktemp("gemma")
    copy_of_books(folder / "model", without=["model.safetensors", "config.json", "generation_config.json"])
    draw, header, data = random.Random(1), {}, b""
    for name, shape in shapes():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        content = array("f", (draw.gauss(0, 0.2) for _ in range(count))).tobytes()
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    replace(folder / "model/model.safetensors", safetensors_bytes(header, data))
    replace(folder / "model/config.json", json.dumps(CONFIG).encode())
    exported = run("export", folder / "model", "--gguf", folder / "model.gguf", "--type", "f32")
    assert exported.returncode == 0, exported.stderr
    return folder


@pytest.mark.parametrize("replacement", [["none"], ["layer", "--tokens", 400, "--validation", 1]])
def test_a_gguf_file_is_not_cut_where_llama_cpp_could_not_follow(gemma, tmp_path, replacement):
    done = run("prune", gemma / "model.gguf", *TEXT, "--cut", 3, "--start", 1, "--replace", *replacement, "--out", tmp_path / "y.gguf", "--verbose")
    assert done.returncode == 1 and list(tmp_path.iterdir()) == []
    assert "a GGUF file cannot hold what this cut leaves: layer " in done.stderr and "llama.cpp's 'gemma3' counts on" in done.stderr
    assert "measure source" not in done.stderr and "cannot become a GGUF file" not in done.stderr


def test_a_plan_alone_warns_of_it(gemma):
    words = ["prune", gemma / "model.gguf", *TEXT, "--start", 1, "--replace", "none", "--plan-only"]
    done = run(*words, "--cut", 3)
    assert done.returncode == 0 and json.loads(done.stdout)["segments"]
    assert "a GGUF file cannot hold what this cut leaves" in done.stderr
    assert "cannot hold" not in run(*words, "--cut", 6).stderr  # a whole period


def test_candidates_that_cannot_be_written_are_not_tried(gemma, tmp_path):
    found = run_json("prune", gemma / "model.gguf", *TEXT, "--cut", 6, "--start", 1, "--replace", "auto", "--candidates", "layer,none",
                     "--tokens", 400, "--candidate-tokens", 100, "--validation", 1, "--out", tmp_path / "y.gguf")
    layer, none = found["candidates"]["results"]
    assert "cannot hold what this cut leaves" in layer["refused"] and none["perplexity"] > 0
    assert found["candidates"]["chosen"] == "none" and (tmp_path / "y.gguf").exists()


def test_what_is_said_of_a_checkpoint_is_true_of_each_loader(gemma, tmp_path):
    between = run_json("prune", gemma / "model", *TEXT, "--cut", 3, "--start", 1, "--replace", "none", "--out", tmp_path / "between")
    notes = " ".join(between["output"]["notes"])
    assert "transformers and vLLM load it" in notes and "not for llama.cpp and MLX" in notes
    card, page = ((tmp_path / "between" / name).read_text() for name in ("README.md", "report.html"))
    assert "convert_hf_to_gguf.py" not in card and "not for llama.cpp and MLX" in card and "vllm serve" in card
    assert "not for llama.cpp and MLX" in page and "other tools load it" not in page
    whole = run_json("prune", gemma / "model", *TEXT, "--cut", 6, "--start", 1, "--replace", "none", "--out", tmp_path / "whole")
    assert "llama.cpp's converter and MLX" in " ".join(whole["output"]["notes"])
    assert "convert_hf_to_gguf.py" in (tmp_path / "whole/README.md").read_text()
