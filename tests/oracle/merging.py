# SPDX-License-Identifier: Apache-2.0
"""Merging rules as formulas on PyTorch tensors, tensor by tensor, and small models to merge: what test_merging.py and
mergekit_compare.py share. The formulas are those of mergekit 0.1.5; random masks are those of this program."""

import hashlib

import numpy as np
import torch
from safetensors.torch import load_file, save_file

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def make_models(folder, count, dtype=torch.float32, tied=False, seed=0, layers=4):
    """A tiny Llama and models tuned from it: each differs in most entries, by amounts that differ in size."""
    import transformers

    config = transformers.LlamaConfig(vocab_size=96, hidden_size=48, intermediate_size=80, num_hidden_layers=layers,
                                      num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
                                      tie_word_embeddings=tied)
    torch.manual_seed(seed)
    base = transformers.LlamaForCausalLM(config).to(dtype)
    base.save_pretrained(folder / "base")
    paths = [folder / "base"]
    state = load_file(folder / "base" / "model.safetensors")
    for index in range(count):
        tuned = {}
        for name, value in state.items():
            change = 0.02 * torch.randn(value.shape) * (torch.rand(value.shape) < 0.8)
            tuned[name] = (value.float() + change).to(dtype)
        path = folder / f"tuned{index}"
        path.mkdir()
        (path / "config.json").write_bytes((folder / "base" / "config.json").read_bytes())
        save_file(tuned, path / "model.safetensors", {"format": "pt"})
        paths.append(path)
    return paths


def tensors(folder):
    return {name: value.float() for name, value in load_file(folder / "model.safetensors").items()}


def layer_of(name):
    return int(name.split(".")[2]) if name.startswith("model.layers.") else None


def trim_largest(delta, density):
    if density >= 1:
        return delta
    count = max(1, int(density * delta.numel()))
    mask = torch.zeros_like(delta).view(-1)
    mask[torch.argsort(delta.abs().view(-1), descending=True, stable=True)[:count]] = 1
    return delta * mask.view_as(delta)


def uniform(seed, operand, name, count):
    """One number in [0, 1) an entry: SplitMix64 from a state that the seed, the model's place and the name give."""
    digest = hashlib.sha256(f"{seed}/{operand}/{name}".encode()).hexdigest()
    with np.errstate(over="ignore"):
        z = np.uint64(int(digest[:16], 16)) + GOLDEN * np.arange(1, count + 1, dtype=np.uint64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
    return torch.from_numpy((z >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def drop_random(delta, density, seed, operand, name):
    return delta * (uniform(seed, operand, name, delta.numel()) < density).view_as(delta)


def rescaled(delta, masked):
    """The sum of magnitudes as it was before entries were dropped."""
    before, after = delta.abs().sum(), masked.abs().sum()
    return masked if before < 1e-7 or after < 1e-7 else masked * (before / after)


def combine(deltas, weights, elect, normalise, scale=1.0):
    deltas = torch.stack(deltas)
    weights = torch.tensor(weights, dtype=torch.float32).view(-1, *[1] * (deltas.dim() - 1))
    weighted = deltas * weights
    if elect:
        mask = weighted.sign() == (weighted.sum(0) >= 0).float() * 2 - 1
        mixed, divisor = (weighted * mask).sum(0), (weights * mask).sum(0)
        divisor[divisor == 0] = 1
    else:
        mixed, divisor = weighted.sum(0), weights.sum(0)
        divisor[divisor.abs() < 1e-8] = 1
    return scale * (mixed / divisor if normalise else mixed)


def slerp(t, a, b):
    a64, b64 = a.double(), b.double()
    cosine = float((a64 * b64).sum() / (a64.norm() * b64.norm()))
    if abs(cosine) > 0.9995:
        return ((1 - t) * a64 + t * b64).float()
    angle = np.arccos(cosine)
    return ((np.sin((1 - t) * angle) * a64 + np.sin(t * angle) * b64) / np.sin(angle)).float()


def differences(ours, expected):
    """max |a - b| over max |b|, for each tensor."""
    assert set(ours) == set(expected)
    return {name: float((ours[name] - expected[name]).abs().max() / expected[name].abs().max()) for name in ours}
