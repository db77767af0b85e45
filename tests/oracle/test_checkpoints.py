# SPDX-License-Identifier: Apache-2.0
"""What `streamline apply` and `streamline prune` write loads in transformers without a missing or unexpected tensor and
without a warning, computes the same logits there, and opens in the safetensors library. One tiny checkpoint a family
from the reference folder (skipped where it is absent), and the model in models/."""

import json
import logging
import os
import pathlib
import shutil
import subprocess

import pytest
import safetensors
import torch
import transformers
from results import our_logits, streamline

ROOT = pathlib.Path(__file__).parents[2]
SHARED = pathlib.Path(os.environ.get("STREAMLINE_SHARED", ROOT.parent / "shared"))
BOOKS = ROOT / "models" / "books-5m"
# Their rotary settings are one object; the others have none, or one for each kind of layer.
ONE_ROPE = ["llama2", "llama3", "mistral", "qwen2", "qwen3", "books-5m", "gemma2", "granite", "smollm3", "olmo2", "phi",
            "phi3", "starcoder2", "falcon", "cohere2", "glm4", "mixtral", "qwen2_moe", "qwen3_moe"]
FAMILIES = ONE_ROPE + ["opt", "opt_350m", "gemma3_text", "olmo3", "gpt2", "gpt2_bare", "gpt_neox",
                       "gpt_neox_sequential", "baichuan2"]
FOLDING = [family for family in FAMILIES if family != "opt_350m"]  # norms after the sums: stored as our extension
# Both compute in float32 from the same stored weights; 1e-7 to 2e-6 of the largest logit is what summation order costs.
LOGITS_TOLERANCE = 1e-4


def model_folder(family):
    folder = BOOKS if family == "books-5m" else SHARED / "golden" / family
    if family == "baichuan2":
        pytest.skip("transformers has no class for Baichuan 2, whose files bring their own code")
    if not folder.is_dir():
        pytest.skip(f"reference data not present: {folder}")
    return folder


def layer_count(config):
    return config.get("num_hidden_layers", config.get("n_layer"))


def write_plan(path, source, segments):
    layers = layer_count(json.loads((source / "config.json").read_text()))
    covered = [(segment["first"], segment["last"]) for segment in segments]
    kept = [i for i in range(layers) if not any(first <= i <= last for first, last in covered)]
    segments = segments + [{"first": i, "last": i, "action": "keep"} for i in kept]
    path.write_text(json.dumps({
        "format": "streamline-plan", "version": 1, "base": {"layers": layers}, "method": {"name": "manual"},
        "segments": sorted(segments, key=lambda segment: segment["first"])}))


def applied(tmp_path, family, segments, *options):
    """The folder that `apply` wrote for a plan with these segments, all other layers kept."""
    source = model_folder(family)
    write_plan(tmp_path / "plan.json", source, segments)
    streamline("apply", source, "--plan", tmp_path / "plan.json", "--out", tmp_path / "out", "--dtype", "float32",
               *options)
    return tmp_path / "out"


def load_in_transformers(folder, caplog, **options):
    """The model, after checking that loading had nothing to complain about."""
    transformers.utils.logging.enable_propagation()
    with caplog.at_level(logging.WARNING):
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True, **options)
    assert {key: list(found) for key, found in info.items() if found} == {}
    assert [record.getMessage() for record in caplog.records] == []
    return model.eval()


def check_logits(folder, tmp_path, caplog, **options):
    model = load_in_transformers(folder, caplog, **options)
    vocab = model.config.vocab_size
    # 40 positions: beyond the windows of 12 to 20 that the reference checkpoints have.
    ids = torch.randint(3, vocab, (2, 40), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = model(ids).logits
    difference = (our_logits(folder, ids, tmp_path) - expected).abs().max() / expected.abs().max()
    assert difference < LOGITS_TOLERANCE
    return model


def window(family, first=1, count=2):
    """Layers first … first+count-1, or as many as the checkpoint can spare; of the reference checkpoints two have two."""
    layers = layer_count(json.loads((model_folder(family) / "config.json").read_text()))
    return {"first": first, "last": min(first + count, layers - 1 if first == 0 else layers) - 1}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_without_two_layers_loads_and_agrees(family, tmp_path, caplog):
    out = applied(tmp_path, family, [window(family) | {"action": "drop"}])
    check_logits(out, tmp_path, caplog)


# The first layer goes, and with it every pattern that counts from there moves.
@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_whose_patterns_have_shifted_loads_and_agrees(family, tmp_path, caplog):
    out = applied(tmp_path, family, [window(family, first=0, count=1) | {"action": "drop"}])
    check_logits(out, tmp_path, caplog)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_with_a_layer_in_place_of_two_loads_and_agrees(family, tmp_path, caplog):
    out = applied(tmp_path, family, [window(family) | {"action": "replace", "replacement": "layer"}])
    check_logits(out, tmp_path, caplog)


@pytest.mark.parametrize("family", FOLDING)
def test_a_folded_swiglu_loads_and_agrees(family, tmp_path, caplog):
    out = applied(tmp_path, family, [window(family) | {"action": "replace", "replacement": "swiglu-residual"}])
    check_logits(out, tmp_path, caplog)


@pytest.mark.parametrize("family", FAMILIES)
def test_safetensors_opens_every_file_of_a_sharded_result(family, tmp_path, caplog):
    out = applied(tmp_path, family, [{"first": 0, "last": 0, "action": "drop"}], "--max-shard-size", "100KB")
    index = json.loads((out / "model.safetensors.index.json").read_text())
    files = {}
    for path in sorted(out.glob("*.safetensors")):
        with safetensors.safe_open(path, framework="pt") as file:
            assert file.metadata()["format"] == "pt"
            files |= {name: path.name for name in file.keys()}
            assert all(torch.isfinite(file.get_tensor(name).float()).all() for name in file.keys())
    assert len(set(files.values())) > 1
    assert files == index["weight_map"]
    check_logits(out, tmp_path, caplog)


@pytest.mark.parametrize("family", ONE_ROPE)
def test_both_spellings_of_the_configuration_are_written(family, tmp_path):
    out = applied(tmp_path, family, [{"first": 1, "last": 1, "action": "drop"}])
    config = json.loads((out / "config.json").read_text())
    source = json.loads((model_folder(family) / "config.json").read_text())
    assert config["rope_parameters"]["rope_theta"] == config["rope_theta"] == source["rope_theta"]
    assert config["torch_dtype"] == config["dtype"] == source["torch_dtype"]
    assert config["num_hidden_layers"] == source["num_hidden_layers"] - 1
    scaling = (source.get("rope_scaling") or {"rope_type": "default"})["rope_type"]
    assert config["rope_parameters"]["rope_type"] == scaling


# An MLP alone, an attention and an MLP of different layers, an attention alone.
@pytest.mark.parametrize("family", ["llama2", "llama3", "qwen2", "books-5m"])
def test_halves_as_decilm_load_by_the_code_beside_them_and_agree(family, tmp_path, caplog):
    last = layer_count(json.loads((model_folder(family) / "config.json").read_text())) - 1
    plan = [{"first": 0, "last": 0, "action": "drop-attention"}, {"first": 1, "last": 1, "action": "drop-mlp"},
            {"first": 2, "last": 2, "action": "drop-attention"}, {"first": last, "last": last, "action": "drop-mlp"}]
    out = applied(tmp_path, family, plan, "--format", "decilm")
    model = check_logits(out, tmp_path, caplog, trust_remote_code=True)
    # The layer without attention has no place in the cache.
    ids = torch.arange(5, 15).unsqueeze(0)
    settings = {"max_new_tokens": 6, "min_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    assert torch.equal(model.generate(ids, use_cache=True, **settings), model.generate(ids, use_cache=False, **settings))
    # What transformers saves of it is read here.
    model.save_pretrained(tmp_path / "saved")
    assert torch.equal(our_logits(tmp_path / "saved", ids, tmp_path), our_logits(out, ids, tmp_path))


def test_a_folded_swiglu_as_decilm_loads_and_agrees(tmp_path, caplog):
    out = applied(tmp_path, "llama2", [window("llama2") | {"action": "replace", "replacement": "swiglu-residual"}],
                  "--format", "decilm")
    check_logits(out, tmp_path, caplog, trust_remote_code=True)


# Once transformers applies the key, this fails, and what we say of it has to change.
def test_transformers_records_halves_that_are_skipped_and_builds_them_all_the_same(tmp_path):
    out = applied(tmp_path, "books-5m", [{"first": 3, "last": 3, "action": "drop-attention"}], "--format", "per-layer")
    model, info = transformers.AutoModelForCausalLM.from_pretrained(out, output_loading_info=True)
    assert model.config.to_dict()["per_layer_config"] == {"3": {"skip": ["attention"]}}
    assert "model.layers.3.self_attn.o_proj.weight" in info["missing_keys"]


# 40 positions lie within the first of these original lengths and beyond the second, where the long factors apply.
@pytest.mark.parametrize("original", [64, 32])
def test_long_rope_is_that_of_transformers(original, tmp_path, caplog):
    source = model_folder("phi3")
    config = json.loads((source / "config.json").read_text())
    pairs = config["hidden_size"] // config["num_attention_heads"] // 2
    config["original_max_position_embeddings"] = original
    factor = config["max_position_embeddings"] / original
    config["rope_scaling"] = {"type": "longrope", "factor": factor,
                              "short_factor": [1 + 0.1 * i for i in range(pairs)],
                              "long_factor": [2.0 + i for i in range(pairs)]}
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    shutil.copy(source / "model.safetensors", tmp_path / "model")
    check_logits(tmp_path / "model", tmp_path, caplog)


@pytest.mark.parametrize("replacement", ["none", "layer", "swiglu-residual"])
def test_the_shipped_model_pruned_and_healed_loads_with_its_tokenizer(replacement, tmp_path, caplog):
    out = tmp_path / "out"
    streamline("prune", BOOKS, "--data", ROOT / "models" / "text" / "calibration.jsonl", "--out", out, "--cut", 3,
               "--replace", replacement, "--seq-len", 64, "--samples", 16, "--validation", 8,
               "--eval-windows", 4, "--no-speed", "--dtype", "float32",
               *([] if replacement == "none" else ["--tokens", 8192, "--accept-worse"]))
    check_logits(out, tmp_path, caplog)
    for path in out.rglob("*.safetensors"):
        with safetensors.safe_open(path, framework="pt") as file:
            assert list(file.keys())
    text = "It was a dark and stormy night; the rain fell in torrents."
    ours, original = (transformers.AutoTokenizer.from_pretrained(folder) for folder in (out, BOOKS))
    assert ours(text).input_ids == original(text).input_ids


# Matrices of experts, shared ones among them, each by the tokens that are routed to it.
@pytest.mark.parametrize("method", ["magnitude", "wanda", "sparsegpt"])
@pytest.mark.parametrize("family", ["mixtral", "qwen2_moe"])
def test_zeros_in_experts_load_and_agree(family, method, tmp_path, caplog):
    config = transformers.AutoConfig.from_pretrained(model_folder(family))
    config.vocab_size = 4096  # of the shipped model's tokenizer
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).save_pretrained(tmp_path / "model")
    for path in BOOKS.glob("token*"):
        shutil.copy(path, tmp_path / "model")
    text = [] if method == "magnitude" else ["--data", ROOT / "models" / "text" / "calibration.jsonl", "--seq-len", 64,
                                             "--samples", 8]
    streamline("sparsify", tmp_path / "model", "--method", method, "--ratio", 0.5, *text, "--dtype", "float32", "--out",
               tmp_path / "out")
    model = check_logits(tmp_path / "out", tmp_path, caplog)
    with safetensors.safe_open(tmp_path / "out" / "model.safetensors", framework="pt") as file:
        experts = [name for name in file.keys() if "experts." in name or "shared_expert." in name]
        assert len(experts) > model.config.num_hidden_layers * 6
        for name in experts:
            assert (file.get_tensor(name) == 0).float().mean() == pytest.approx(0.5, abs=0.02), name
        router = file.get_tensor("model.layers.0." + ("block_sparse_moe" if family == "mixtral" else "mlp") + ".gate.weight")
        assert (router != 0).all()


# The constants that stand for what went are biases, which the configuration announces; others that it then promises are
# zeros.
@pytest.mark.parametrize("format", ["ordinary", "decilm"])
def test_biases_of_a_refit_load_and_agree(format, tmp_path, caplog):
    out = tmp_path / "out"
    streamline("prune", BOOKS, "--data", ROOT / "models" / "text" / "calibration.jsonl", "--out", out, "--method", "flap",
               "--ratio", 0.5, "--scope", "local", "--refit", "bias", "--seq-len", 64, "--samples", 16, "--validation", 8,
               "--eval-windows", 4, "--no-speed", "--dtype", "float32", "--format", format)
    model = check_logits(out, tmp_path, caplog, **({"trust_remote_code": True} if format == "decilm" else {}))
    first = model.model.layers[0]
    assert first.self_attn.o_proj.bias.any() and first.mlp.down_proj.bias.any()
    assert not first.self_attn.q_proj.bias.any() and not first.mlp.up_proj.bias.any()


def slices(folder, differing):
    """Every second group of heads and three of five channels of each layer, or more of them in every other one."""
    config = json.loads((folder / "config.json").read_text())
    config = config.get("text_config", config)
    program = subprocess.run([os.environ["STREAMLINE_PROGRAM"], "inspect", folder, "--json"], capture_output=True,
                             text=True, check=True)
    layers = json.loads(program.stdout)["layer"]
    entries = []
    for i, layer in enumerate(layers):
        more = i % 2 if differing else 0
        heads = layer["kv_heads"]
        entry = {"layer": i}
        if config["model_type"] not in ("olmo2", "olmo3") and heads > 1:  # whose norms go over all heads together
            count = min(heads, max(1, heads // 2) + more)
            entry["kv_heads"] = {"of": heads, "kept": list(range(heads - count, heads))}
        width = layer["intermediate_size"]
        entry["channels"] = {"of": width, "kept": list(range(more, width * 3 // 5 + 3 * more))}
        entries.append(entry)
    return len(layers), entries


@pytest.mark.parametrize("differing", [False, True], ids=["equal", "differing"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_sliced_checkpoint_loads_and_agrees(family, differing, tmp_path, caplog):
    source = model_folder(family)
    layers, entries = slices(source, differing)
    (tmp_path / "plan.json").write_text(json.dumps({
        "format": "streamline-plan", "version": 2, "base": {"layers": layers}, "method": {"name": "manual"},
        "segments": [{"first": 0, "last": layers - 1, "action": "keep"}], "slices": entries}))
    streamline("apply", source, "--plan", tmp_path / "plan.json", "--out", tmp_path / "out", "--dtype", "float32")
    check_logits(tmp_path / "out", tmp_path, caplog)
