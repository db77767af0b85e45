# SPDX-License-Identifier: Apache-2.0
"""What the JSON of a run says of its text and of what it was computed with: the same in every command."""
import pytest
from program import BOOKS, CALIBRATION, VALID, run_json

TEXT = ["--data", CALIBRATION, "--seq-len", 32]
SHAPE = {"sequences": 4, "seq_len": 32, "tokens": 128}  # BOS, in front of each, is no token of the text


def shape(record):
    return {key: record[key] for key in SHAPE}


def test_tokens_are_those_of_the_text(tmp_path):
    scored = run_json("score", BOOKS, *TEXT, "--samples", 4)
    assert shape(scored["calibration"]) == SHAPE and scored["tokens"] == 128
    pruned = run_json("prune", BOOKS, *TEXT, "--samples", 4, "--cut", 2, "--replace", "none", "--plan-only")
    assert shape(pruned["calibration"]) == SHAPE and pruned["scores"]["tokens"] == 128
    sparse = run_json("sparsify", BOOKS, *TEXT, "--samples", 4, "--out", tmp_path / "sparse")
    assert shape(sparse["calibration"]) == SHAPE
    healed = run_json("heal", BOOKS, *TEXT, "--tokens", 128, "--validation", 1, "--batch", 2, "--out", tmp_path / "healed")
    assert shape(healed["training"]) == SHAPE
    assert healed["healing"][0]["tokens"] == 128, "trained on, in one epoch"


def test_documents_have_no_one_length():
    found = run_json("score", BOOKS, "--data", CALIBRATION, "--samples", 4, "--documents", "--seq-len", 255)["calibration"]
    assert found["sequences"] == found["documents"] == 4
    assert ("seq_len" in found) == (found["tokens"] == 4 * 255)


def test_a_family_is_named_by_its_key():
    words = [*TEXT, "--samples", 2]
    assert run_json("score", BOOKS, *words)["model"]["family"] == "llama"
    assert run_json("prune", BOOKS, *words, "--cut", 2, "--replace", "none", "--plan-only")["source"]["family"] == "llama"


@pytest.mark.parametrize("words", [
    ["score", *TEXT, "--samples", 2],
    ["prune", *TEXT, "--samples", 2, "--cut", 2, "--replace", "none", "--plan-only"],
    ["eval", "--perplexity", VALID, "--window", 32, "--max-windows", 1],
    ["bench", "--prompt-tokens", 16, "--decode-tokens", 1, "--repetitions", 1],
    ["generate", "--prompt", "It was", "--max-tokens", 1],
    ["export", "--gguf", "OUT.gguf"],
    ["merge", "--base", BOOKS, "--sweep", "scale=0,1", "--target", VALID, "--window", 32, "--windows", 1],
], ids=lambda words: words[0])
def test_a_run_says_what_it_was_computed_with(words, tmp_path):
    command, *options = [tmp_path / word if word == "OUT.gguf" else word for word in words]
    found = run_json(command, BOOKS, *options, "--dtype", "float32", "--device", "cpu", "--seed", 3)["run"]
    assert {"command", "version", "date", "seed", "threads", "device", "dtype"} <= set(found)
    assert (found["seed"], found["threads"], found["device"], found["dtype"]) == (3, 1, "cpu", "float32")


def test_apply_says_what_it_was_computed_with(other_model, tmp_path):
    found = run_json("apply", BOOKS, "--plan", other_model, "--out", tmp_path / "out", "--dtype", "bfloat16")
    assert (found["run"]["threads"], found["run"]["dtype"]) == (1, "bfloat16")


def test_inspect_names_types_as_other_commands_do():
    assert set(run_json("inspect", BOOKS)["stored_types"]) == {"bfloat16"}
