# SPDX-License-Identifier: Apache-2.0
"""Where no text is named: the books that come with the program choose and measure, and nothing is trained on them."""

import json
import os
import pathlib
import shutil

import pytest
from program import BOOKS, CALIBRATION, VALID, run, run_json

QUICK = ["--seq-len", 64, "--samples", 2]
CHOOSES, MEASURES = "no --data: choosing by the shipped books", "measuring on the first 64 windows"


def test_compare_says_which_method_to_take_without_a_text(tmp_path):
    words = ["compare", BOOKS, "--methods", "shortgpt,deepest", "--layers", "1,2", *QUICK, "--window", 64, "--no-speed", "--threads", 1]
    done = run(*words, "--json", "--html", tmp_path / "page.html")
    assert done.returncode == 0 and CHOOSES in done.stderr and MEASURES in done.stderr, done.stderr
    found = json.loads(done.stdout)
    assert found["looked_at"]["source"] == "shipped/calibration.jsonl" and found["looked_at"]["sequences"] == 2
    assert "shipped/calibration.jsonl" in (tmp_path / "page.html").read_text()
    for model in found["models"]:
        assert model["perplexity"]["text"]["source"] == "shipped/valid.txt" and model["perplexity"]["windows"] == 64
    assert found["looked_at"]["documents"] == 13  # drawn from all books
    given = run_json(*words, "--data", CALIBRATION, "--perplexity", VALID, "--max-windows", 64)
    assert given["looked_at"]["digest"] != found["looked_at"]["digest"]
    for one, other in zip(given["models"], found["models"], strict=True):
        same = one.get("cut") == other.get("cut")
        assert same == (one["perplexity"]["window_nll"] == other["perplexity"]["window_nll"])
    assert given["models"][0]["perplexity"]["window_nll"] == found["models"][0]["perplexity"]["window_nll"]


def test_compare_takes_the_shipped_books_for_what_is_not_named(tmp_path):
    words = ["compare", BOOKS, "--methods", "deepest", "--layers", 1, *QUICK, "--window", 64, "--no-speed", "--threads", 1]
    done = run(*words, "--data", VALID, "--max-windows", 3, "--json")
    assert done.returncode == 0 and CHOOSES not in done.stderr and "the first 3 windows" in done.stderr, done.stderr
    assert json.loads(done.stdout)["models"][0]["perplexity"]["windows"] == 3
    done = run(*words, "--perplexity", VALID, "--max-windows", 1)
    assert done.returncode == 0 and CHOOSES in done.stderr and "measuring on the first" not in done.stderr, done.stderr


def test_compare_heals_on_a_text_that_was_named():
    words = ["compare", BOOKS, "--methods", "deepest", "--layers", 1, "--seq-len", 32, "--samples", 2, "--window", 32, "--max-windows", 1,
             "--no-speed", "--threads", 1, "--heal-tokens", 64]
    refused = run(*words)
    assert refused.returncode == 2 and "--heal-data, or --data" in refused.stderr
    found = run_json(*words, "--heal-data", VALID)
    assert found["looked_at"]["source"] == "shipped/calibration.jsonl"
    assert found["models"][2]["healed"]["source"].startswith(str(VALID))


def test_score_looks_at_the_shipped_books_and_quiet_keeps_silent():
    done = run("score", BOOKS, *QUICK, "--json", "--text-field", "body")  # which is of a text that is given
    assert done.returncode == 0 and CHOOSES in done.stderr, done.stderr
    found, given = json.loads(done.stdout), run_json("score", BOOKS, *QUICK, "--data", CALIBRATION, "--shuffle")
    assert found["calibration"] == given["calibration"] | {"source": "shipped/calibration.jsonl"}
    assert found["cosine"] == given["cosine"]
    assert run("score", BOOKS, *QUICK, "--quiet").stderr == ""


def test_prune_without_a_text_repeats_from_its_recipe(tmp_path):
    words = ["prune", BOOKS, "--cut", 2, "--replace", "none", *QUICK, "--validation", 2, "--eval-windows", 2, "--no-speed"]
    done = run(*words, "--out", tmp_path / "first")
    assert done.returncode == 0 and CHOOSES in done.stderr, done.stderr
    report = json.loads((tmp_path / "first/report.json").read_text())
    assert report["calibration"]["source"] == "shipped/calibration.jsonl"
    assert report["evaluation"]["source"] == "shipped/calibration.jsonl (held-out part)"
    for name in ("report.json", "report.html", "README.md", "streamline/recipe.yaml"):
        assert "models/text" not in (tmp_path / "first" / name).read_text()
    again = run("prune", "--config", tmp_path / "first/streamline/recipe.yaml", "--out", tmp_path / "second")
    assert again.returncode == 0 and CHOOSES in again.stderr, again.stderr
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("first", "second")]
    assert weights[0] == weights[1]


def test_a_plan_is_chosen_without_a_text_whatever_would_be_put_back():
    done = run("prune", BOOKS, "--cut", 2, "--plan-only", *QUICK)
    assert done.returncode == 0 and CHOOSES in done.stderr, done.stderr
    assert json.loads(done.stdout)["method"]["parameters"]["cut"] == 2


@pytest.mark.parametrize("words,learns", [
    (["--cut", 2], "--replace layer"),
    (["--cut", 2, "--replace", "swiglu-residual"], "--replace swiglu-residual"),
    (["--cut", 2, "--replace", "auto", "--plan-only"], "--replace auto"),
    (["--method", "wanda-sp", "--ratio", 0.5, "--refit", "least-squares"], "--refit least-squares"),
])
def test_what_learns_from_a_text_wants_it_named(words, learns, tmp_path):
    done = run("prune", BOOKS, *words, *QUICK, "--out", tmp_path / "out")
    assert done.returncode == 2 and f"--data is required: {learns} learns from it" in done.stderr, done.stderr
    assert not (tmp_path / "out").exists()


def test_wanda_looks_at_the_shipped_books(tmp_path):
    done = run("sparsify", BOOKS, "--ratio", 0.3, *QUICK, "--out", tmp_path / "out", "--json")
    assert done.returncode == 0 and CHOOSES in done.stderr, done.stderr
    assert json.loads(done.stdout)["calibration"]["source"] == "shipped/calibration.jsonl"


def test_an_installed_program_finds_its_books_beside_itself_or_wants_a_text(tmp_path, monkeypatch):
    program = pathlib.Path(os.environ["STREAMLINE_PROGRAM"])
    (tmp_path / "bin").mkdir()
    for name in (program.name, "streamline-compute"):
        shutil.copy(program.with_name(name), tmp_path / "bin" / name)
    monkeypatch.setenv("STREAMLINE_PROGRAM", str(tmp_path / "bin" / program.name))
    sweep = ["compare", BOOKS, "--methods", "deepest", "--layers", 1]
    for words in (["score", BOOKS], ["prune", BOOKS, "--cut", 1, "--plan-only"], sweep):
        refused = run(*words, *QUICK)
        assert refused.returncode == 2 and "--data is required" in refused.stderr, refused.stderr
    refused = run(*sweep, *QUICK, "--data", CALIBRATION)
    assert refused.returncode == 2 and "give --perplexity FILE" in refused.stderr, refused.stderr
    (tmp_path / "share/streamline").mkdir(parents=True)
    (tmp_path / "share/streamline/text").symlink_to(CALIBRATION.parent)
    assert run_json("score", BOOKS, *QUICK)["calibration"]["source"] == "shipped/calibration.jsonl"


def test_texts_that_choose_stand_with_blanks_or_commas_between_them(tmp_path):
    words = ["--methods", "shortgpt", "--layers", 1, "--seeds", 2, "--seq-len", 32, "--samples", 2, "--perplexity", VALID, "--window", 64,
             "--max-windows", 1, "--no-speed", "--threads", 1]
    commas = run_json("compare", BOOKS, "--calibration", f"{CALIBRATION},{VALID}", *words)["calibration"]
    assert [(each["text"], each["seed"]) for each in commas[0]["runs"]] == [(path.name, seed) for path in (CALIBRATION, VALID)
                                                                          for seed in (0, 1)]
    assert run_json("compare", BOOKS, "--calibration", CALIBRATION, VALID, *words)["calibration"] == commas
    (tmp_path / "run.yaml").write_text(f"calibration: [{CALIBRATION}, {VALID}]\n")
    assert run_json("compare", BOOKS, *words, "--config", tmp_path / "run.yaml")["calibration"] == commas
    assert run_json("compare", "--config", tmp_path / "run.yaml", BOOKS, *words)["calibration"] == commas
    behind = run("compare", "--calibration", CALIBRATION, VALID, BOOKS, *words[2:])
    assert behind.returncode == 2 and "in front of the options" in behind.stderr
