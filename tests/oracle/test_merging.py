# SPDX-License-Identifier: Apache-2.0
"""`streamline merge` against the formulas in PyTorch, from the command line and from files of mergekit's; and that
transformers loads what it writes."""

import json

import pytest
import torch
import transformers
from merging import (combine, differences, drop_random, layer_of, make_models, rescaled, slerp, tensors, trim_largest)
from results import streamline

ROUNDING = 2e-6  # of a tensor's largest entry: float32, sums in another order
SEED = 7


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return make_models(tmp_path_factory.mktemp("models"), 3)


def merge(out, *arguments):
    streamline("merge", *arguments, "--out", out, "--seed", SEED)
    return tensors(out)


def expect(ours, models, merged):
    """merged(name, base, tuned): the tensor that is expected."""
    base, *tuned = [tensors(path) for path in models]
    found = differences(ours, {name: merged(name, base[name], [model[name] for model in tuned]) for name in base})
    assert max(found.values()) < ROUNDING, max(found, key=found.get)


def deltas(base, tuned):
    return [model - base for model in tuned]


def test_sum_and_mean(models, tmp_path):
    ours = merge(tmp_path / "sum", *models[1:], "--base", models[0], "--rule", "task-arithmetic", "--weights", "0.5,1,-0.25",
                 "--scale", "0.8")
    expect(ours, models, lambda name, base, tuned: base + combine(deltas(base, tuned), [0.5, 1, -0.25], False, False, 0.8))
    ours = merge(tmp_path / "mean", *models[1:], "--base", models[0], "--rule", "mean", "--weights", "2,1,1")
    expect(ours, models, lambda name, base, tuned: base + combine(deltas(base, tuned), [2, 1, 1], False, True))


def test_ties_trims_over_the_model_or_over_each_tensor(models, tmp_path):
    base, *tuned = [tensors(path) for path in models]
    names = sorted(base)
    thresholds = []
    for model in tuned:
        magnitudes = torch.cat([(model[name] - base[name]).abs().flatten() for name in names]).sort(descending=True).values
        thresholds.append(magnitudes[int(0.3 * len(magnitudes)) - 1])

    def over_the_model(name, base, tuned):
        kept = [delta * (delta.abs() >= threshold) for delta, threshold in zip(deltas(base, tuned), thresholds)]
        return base + combine(kept, [1, 1, 1], True, True)

    ties = [*models[1:], "--base", models[0], "--rule", "ties", "--density", "0.3"]
    expect(merge(tmp_path / "model", *ties), models, over_the_model)
    expect(merge(tmp_path / "tensor", *ties, "--threshold", "tensor"), models, lambda name, base, tuned: base + combine(
        [trim_largest(delta, 0.3) for delta in deltas(base, tuned)], [1, 1, 1], True, True))


@pytest.mark.parametrize("rule,elect", [("dare", False), ("dare-ties", True)])
def test_dare_drops_and_rescales(models, tmp_path, rule, elect):
    ours = merge(tmp_path / "out", *models[1:], "--base", models[0], "--rule", rule, "--density", "0.4")
    expect(ours, models, lambda name, base, tuned: base + combine(
        [drop_random(delta, 0.4, SEED, i, name) / 0.4 for i, delta in enumerate(deltas(base, tuned))], [1, 1, 1], elect, False))


def test_linear_and_slerp(models, tmp_path):
    ours = merge(tmp_path / "linear", *models[1:3], "--rule", "linear", "--weights", "1,3")
    expect(ours, models[:3], lambda name, base, tuned: (tuned[0] + 3 * tuned[1]) / 4)
    ours = merge(tmp_path / "slerp", *models[1:3], "--rule", "slerp", "--t", "0.3")
    expect(ours, models[:3], lambda name, base, tuned: slerp(0.3, *tuned))


def test_depth_scales_the_merged_vector_with_alpha_found_from_norms(models, tmp_path):
    base, *tuned = [tensors(path) for path in models]
    merged = {name: combine([model[name] - base[name] for model in tuned], [1, 1, 1], True, True) for name in base}
    summed = sum(float(sum(model[name] - base[name] for model in tuned).abs().sum()) for name in base)
    alpha = summed / sum(float(value.abs().sum()) for value in merged.values()) / 3

    def factor(name):
        layer = layer_of(name)
        return alpha if layer is None else alpha + 0.6 * layer / 3

    ours = merge(tmp_path / "out", *models[1:], "--base", models[0], "--rule", "ties", "--density", "1", "--lines-alpha",
                 "auto", "--lines-beta", "0.6")
    expect(ours, models, lambda name, base, tuned: base + factor(name) * merged[name])


# ---- files of mergekit's

def from_file(tmp_path, text, name="merge.yml"):
    (tmp_path / name).write_text(text)
    return merge(tmp_path / "out", "--mergekit", tmp_path / name)


def test_a_file_with_gradients_and_filters(models, tmp_path):
    ours = from_file(tmp_path, f"""
models:
  - model: {models[0]}
  - model: {models[1]}
    parameters:
      weight: [0.2, 1.0]
      density: 0.5
  - model: {models[2]}
    parameters:
      weight:
        - filter: mlp
          value: [0.9, 0.1, 0.5]
        - value: 0.4
      density: [0.25, 0.75]
merge_method: ties
base_model: {models[0]}
parameters:
  normalize: false
  lambda: 0.9
  int8_mask: true
dtype: float32
""")

    def gradient(values, t):
        scaled = t * (len(values) - 1)
        low = int(scaled)
        high = min(len(values) - 1, low + 1)
        return (1 - (scaled - low)) * values[low] + (scaled - low) * values[high]

    def merged(name, base, tuned):
        layer = layer_of(name)
        t = 0 if layer is None else layer / 3
        weights = [gradient([0.2, 1.0], t), gradient([0.9, 0.1, 0.5], t) if "mlp" in name else 0.4]
        densities = [0.5, gradient([0.25, 0.75], t)]
        kept = [trim_largest(delta, density) for delta, density in zip(deltas(base, tuned), densities)]
        return base + combine(kept, weights, True, False, 0.9)

    expect(ours, models[:3], merged)


@pytest.mark.parametrize("method,elect", [("dare_linear", False), ("dare_ties", True)])
def test_dare_of_a_file_keeps_the_sum_of_magnitudes(models, tmp_path, method, elect):
    ours = from_file(tmp_path, json.dumps({
        "merge_method": method, "base_model": str(models[0]),
        "models": [{"model": str(path), "parameters": {"weight": 0.5, "density": 0.6}} for path in models[1:]]}))

    def merged(name, base, tuned):
        kept = [rescaled(delta, drop_random(delta, 0.6, SEED, i, name)) for i, delta in enumerate(deltas(base, tuned))]
        return base + combine(kept, [0.5] * 3, elect, False)

    expect(ours, models, merged)


def test_slices_of_two_models_with_slerp(models, tmp_path):
    ours = from_file(tmp_path, f"""
slices:
  - sources:
      - model: {models[1]}
        layer_range: [0, 4]
      - model: {models[2]}
        layer_range: [0, 4]
merge_method: slerp
base_model: {models[2]}
parameters:
  t:
    - filter: self_attn
      value: [0, 0.5, 0.3, 1]
    - value: 0.25
dtype: float32
""")

    def merged(name, base, tuned):
        t = [0, 0.5, 0.3, 1][layer_of(name)] if "self_attn" in name else 0.25
        return slerp(t, tuned[1], tuned[0])

    expect(ours, models[:3], merged)


def test_layers_passed_through_make_a_deeper_model(models, tmp_path):
    ours = from_file(tmp_path, f"""
slices:
  - sources:
      - model: {models[1]}
        layer_range: [0, 3]
  - sources:
      - model: {models[2]}
        layer_range: [1, 4]
        parameters:
          scale:
            - filter: o_proj
              value: 0.0
            - value: 1.0
merge_method: passthrough
dtype: bfloat16
""")
    first, second = tensors(models[1]), tensors(models[2])
    for name, value in ours.items():
        layer = layer_of(name)
        if layer is None:
            source = first[name] if "embed" in name else second[name]
        else:
            which, number = (first, layer) if layer < 3 else (second, layer - 2)
            source = which[name.replace(f"layers.{layer}.", f"layers.{number}.")]
            if layer >= 3 and "o_proj" in name:
                source = 0 * source
        assert torch.equal(value, source.bfloat16().float()), name
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert loaded.config.num_hidden_layers == 6 and loaded.dtype == torch.bfloat16


def test_transformers_loads_a_merge_of_tied_models_in_bfloat16(tmp_path):
    models = make_models(tmp_path, 2, torch.bfloat16, tied=True, seed=3)
    ours = merge(tmp_path / "out", *models[1:], "--base", models[0])
    expected = {name: ((a + b) / 2).bfloat16().float() for (name, a), b in zip(sorted(tensors(models[1]).items()), [
        value for _, value in sorted(tensors(models[2]).items())])}
    # Halves between two numbers of bfloat16 may fall to either once base + mean of the differences rounded in float32.
    for name, value in ours.items():
        assert ((value - expected[name]).abs() <= value.abs() * 2**-7).all(), name
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.equal(loaded.lm_head.weight, loaded.model.embed_tokens.weight)
