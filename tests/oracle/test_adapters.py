# SPDX-License-Identifier: Apache-2.0
"""Adapters that `streamline heal` trained: `peft` loads them onto the model in transformers, where they compute what the
merged checkpoint does."""

import json
import os
import pathlib
import shutil
import string

import pytest
import tokenizers
import torch
import transformers
from results import our_logits, streamline

peft = pytest.importorskip("peft")
ROOT = pathlib.Path(__file__).parents[2]
SHARED = pathlib.Path(os.environ.get("STREAMLINE_SHARED", ROOT.parent / "shared"))
BOOKS = ROOT / "models" / "books-5m"
# Of the largest logit: adapters are float32, the matrices that they are merged into are rounded to their stored type.
TOLERANCE = {"float32": 1e-4, "float16": 2e-3, "bfloat16": 2e-2}


def check(model_folder, tmp_path, *options):
    streamline("heal", model_folder, "--data", ROOT / "models/text/calibration.jsonl", "--out", tmp_path / "merged",
               "--adapters", tmp_path / "adapters", "--tokens", "4000", "--seq-len", "64", "--validation", "2", "--batch", "4",
               "--rank", "4", "--learning-rate", "3e-3", "--dtype", "float32", *options)
    base = transformers.AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    ids = torch.randint(3, base.config.vocab_size, (2, 30), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = base(ids).logits
        adapted = peft.PeftModel.from_pretrained(base, tmp_path / "adapters").eval()
        with_adapters = adapted(ids).logits
    merged = our_logits(tmp_path / "merged", ids, tmp_path)
    scale = with_adapters.abs().max()
    tolerance = TOLERANCE[json.loads((model_folder / "config.json").read_text()).get("torch_dtype", "float32")]
    assert (with_adapters - before).abs().max() > 2 * tolerance * scale, "the adapters learned nothing"
    assert (merged - with_adapters).abs().max() < tolerance * scale


@pytest.mark.parametrize("matrices", ["mlp", "all"])
def test_adapters_load_in_peft(tmp_path, matrices):
    check(BOOKS, tmp_path, "--matrices", matrices)
    config = json.loads((tmp_path / "adapters/adapter_config.json").read_text())
    assert config["r"] == config["lora_alpha"] == 4
    assert set(config["target_modules"]) >= {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}


def test_adapters_of_a_float32_model_are_merged_exactly(tmp_path):
    model = transformers.AutoModelForCausalLM.from_pretrained(BOOKS, dtype=torch.float32)
    model.save_pretrained(tmp_path / "float32")
    shutil.copy(BOOKS / "tokenizer.model", tmp_path / "float32")
    check(tmp_path / "float32", tmp_path)


def with_tokenizer(source, folder):
    """The reference checkpoint with one token a letter."""
    shutil.copytree(source, folder)
    letters = {letter: 3 + i for i, letter in enumerate(string.ascii_lowercase + " .,\n")}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocab={"<unk>": 0} | letters, merges=[], unk_token="<unk>"))
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.mark.parametrize("family", ["gpt2", "gpt2_bare", "opt", "phi3", "gpt_neox", "mixtral"])
def test_adapters_have_the_names_of_each_family(tmp_path, family):
    source = SHARED / "golden" / family
    if not source.is_dir():
        pytest.skip(f"reference data not present: {source}")
    matrices = "attention" if family == "mixtral" else "all"  # experts take none
    check(with_tokenizer(source, tmp_path / "model"), tmp_path, "--matrices", matrices)
