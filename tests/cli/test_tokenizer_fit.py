# SPDX-License-Identifier: Apache-2.0
"""A tokenizer that is not the model's is noticed wherever both are opened."""

import pytest
from program import BOOKS, CALIBRATION, VALID, copy_of_books, replace, run, run_json, safetensors_bytes, weights

TOKENS = 4096  # of the shipped model
COMMANDS = {
    "eval": ["--perplexity", VALID, "--window", 32, "--max-windows", 1],
    "generate": ["--prompt", "It was", "--max-tokens", 1],
    "score": ["--data", CALIBRATION, "--samples", 1, "--seq-len", 32],
    "prune": ["--data", CALIBRATION, "--samples", 1, "--seq-len", 32, "--cut", 2, "--plan-only"],
}


def with_rows(folder, rows):
    """The shipped model with so many rows in its embedding and its head, and the tokenizer that it has."""
    copy_of_books(folder, {"vocab_size": rows})
    header, data = weights()
    changed, content = {}, b""
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        part, shape = data[first:last], list(entry["shape"])
        if shape[0] == TOKENS:
            row = len(part) // TOKENS
            part, shape[0] = (part + bytes(row * max(rows - TOKENS, 0)))[: row * rows], rows
        changed[name] = entry | {"shape": shape, "data_offsets": [len(content), len(content) + len(part)]}
        content += part
    replace(folder / "model.safetensors", safetensors_bytes(changed, content))
    return folder


@pytest.mark.parametrize("command", COMMANDS)
def test_a_tokenizer_of_more_tokens_than_rows_is_refused(command, tmp_path):
    done = run(command, with_rows(tmp_path / "m", 3000), *COMMANDS[command], "--quiet")
    assert done.returncode == 1, done.stderr
    assert "its tokenizer has 4096 tokens, more than the embedding's 3000 rows" in done.stderr and len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", COMMANDS)
def test_a_tokenizer_of_far_fewer_tokens_than_rows_is_warned_of_once(command, tmp_path):
    done = run(command, with_rows(tmp_path / "m", 9000), *COMMANDS[command])
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("its tokenizer has 4096 tokens, the embedding 9000 rows: is it another model's?") == 1
    assert "tokenizer" not in run(command, with_rows(tmp_path / "padded", 5000), *COMMANDS[command]).stderr


def test_inspect_tells_of_both(tmp_path):
    small, large = with_rows(tmp_path / "small", 3000), with_rows(tmp_path / "large", 9000)
    assert "more than the embedding's 3000 rows" in run("inspect", small, "--check").stderr
    done = run("inspect", large, "--check")
    assert done.returncode == 0 and "is it another model's?" in done.stderr and "the tokenizer has 4096 tokens" in done.stdout
    assert run_json("inspect", BOOKS, "--check")["tokenizer_tokens"] == TOKENS and run("inspect", BOOKS, "--check").stderr == ""
    bare = copy_of_books(tmp_path / "bare", without=["tokenizer.model"])
    assert run_json("inspect", bare, "--check")["tokenizer_tokens"] is None
