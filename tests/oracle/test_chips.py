# SPDX-License-Identifier: Apache-2.0
"""A classifier that `streamline chip export` wrote, in transformers; ridge chips against the formula in PyTorch."""

import json
import pathlib

import pytest
import safetensors
import torch
import transformers
from results import streamline

BOOKS = pathlib.Path(__file__).parents[2] / "models" / "books-5m"
TEXTS = ["It was a dark night.", "The ship sailed at dawn, and nobody saw her again.", "No!", "He said that he would come."] * 12


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chips")
    rows = [{"text": f"{text} {i}", "label": ["calm", "loud", "sad", "calm"][i % 4]} for i, text in enumerate(TEXTS)]
    (folder / "toy.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    streamline("chip", "cache", BOOKS, "--data", folder / "toy.jsonl", "--feature-dtype", "float32", "--dtype", "float32", "--out",
               folder / "toy.features")
    streamline("chip", "train", folder / "toy.features", "--kind", "linear", "--method", "ridge", "--penalty", 5, "--feature-norm", "rms",
               "--no-bias", "--validation", 0.2, "--out", folder / "toy.chips")
    streamline("chip", "export", BOOKS, "--chips", folder / "toy.chips", "--rule", "fixed", "--layer", 6, "--out", folder / "out")
    return folder


def ours(exported, texts, tmp_path):
    """Probabilities that `chip run` prints, [texts, classes]."""
    import os
    import subprocess

    result = subprocess.run([os.environ["STREAMLINE_PROGRAM"], "chip", "run", exported / "out", "--json", "--dtype", "float32", "--threads", "1"],
                            input="\n".join(texts) + "\n", capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return torch.tensor([list(line[0]["probabilities"].values()) for line in json.loads(result.stdout)["lines"]])


def test_transformers_gives_our_probabilities(exported, tmp_path):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(exported / "out", dtype=torch.float32)
    assert type(model).__name__ == "LlamaForSequenceClassification" and model.config.num_hidden_layers == 7
    assert model.config.id2label == {0: "calm", 1: "loud", 2: "sad"}
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported / "out")
    tokenizer.pad_token_id = model.config.pad_token_id
    batch = tokenizer(TEXTS[:4], return_tensors="pt", padding=True, padding_side="right")
    with torch.no_grad():
        together = model(**batch).logits.softmax(-1)
        alone = torch.cat([model(**tokenizer([text], return_tensors="pt")).logits.softmax(-1) for text in TEXTS[:4]])
    found = ours(exported, TEXTS[:4], tmp_path)
    assert torch.allclose(together, alone, atol=1e-4)  # H6: padding changes nothing
    assert (found - together).abs().max() < 1e-4
    assert found.std(0).max() > 1e-3


def test_the_state_is_the_last_tokens(exported):
    """Features against the hidden states that transformers has."""
    model = transformers.AutoModelForCausalLM.from_pretrained(BOOKS, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(BOOKS)
    with safetensors.safe_open(exported / "toy.features", "pt") as file:
        features = file.get_tensor("features")
        description = json.loads(file.metadata()["streamline.features"])
    assert list(features.shape) == [12, len(TEXTS), 192] and description["classes"] == ["calm", "loud", "sad"]
    for i in (0, 5, 47):
        ids = tokenizer(f"{TEXTS[i]} {i}", return_tensors="pt").input_ids
        with torch.no_grad():
            states = model.model(ids, output_hidden_states=True).hidden_states
        # transformers gives its last state behind the final norm.
        for layer in (0, 5, 10):
            assert torch.allclose(features[layer, i], states[layer + 1][0, -1], rtol=1e-3, atol=1e-3)
