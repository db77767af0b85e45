# SPDX-License-Identifier: Apache-2.0
"""`streamline heal` as a user calls it."""

import json

import pytest
from program import BOOKS, CALIBRATION, VALID, check_log_ratio, check_page, copy_of_books, run, run_json

SMALL = ["--seq-len", "64", "--validation", "2", "--batch", "4", "--rank", "4"]


def heal(*arguments, model=BOOKS, data=CALIBRATION):
    return run("heal", model, *SMALL, "--data", data, "--tokens", "4000", *arguments)


def test_a_cut_model_is_healed_and_written(tmp_path):
    cut = run("prune", BOOKS, "--data", CALIBRATION, "--method", "angular", "--layers", "4", "--samples", "4", "--seq-len",
              "64", "--eval-windows", "2", "--no-speed", "--out", tmp_path / "cut")
    assert cut.returncode == 0, cut.stderr
    record = run_json("heal", tmp_path / "cut", *SMALL, "--data", CALIBRATION, "--tokens", "20000", "--learning-rate", "3e-3", "--eval", VALID,
                      "--eval-windows", "8", "--out", tmp_path / "healed")
    before, after = (model["perplexity"]["value"] for model in record["models"])
    assert after < 0.97 * before
    assert [model["name"] for model in record["models"]] == ["before", "healed"]
    check_log_ratio(*record["models"])
    card = (tmp_path / "healed/README.md").read_text()
    assert f": {before:.2f} ± " in card and f" before, {after:.2f} ± " in card
    measured = run_json("eval", tmp_path / "healed", "--perplexity", VALID, "--window", "64", "--max-windows", "8")
    assert measured["perplexity"]["value"] == pytest.approx(after, rel=1e-3)
    assert record["adapters"]["parameters"] == 8 * 3 * 4 * (192 + 512)
    assert json.loads((tmp_path / "healed/report.json").read_text())["models"] == record["models"]
    check_page(tmp_path / "healed/report.html", "Trained adapters (lora) of rank 4", f"{before:.2f} ± ", f"{after:.2f} ± ", "before the training")
    config = json.loads((tmp_path / "healed/config.json").read_text())
    assert config["num_hidden_layers"] == 8
    assert (tmp_path / "healed/streamline/adapters/adapter_model.safetensors").exists()


def test_same_seed_same_bytes_and_another_base_other_adapters(tmp_path):
    for name, options in {"one": [], "two": [], "nf4": ["--base", "nf4"]}.items():
        done = heal("--adapters", tmp_path / name, "--learning-rate", "3e-3", *options)
        assert done.returncode == 0, done.stderr
        check_page(tmp_path / name / "report.html", "Trained adapters (lora) of rank 4")
        assert "tokens/s" not in done.stdout and "perplexity" not in done.stdout, "nothing of the two was measured"
    one, two, nf4 = ((tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("one", "two", "nf4"))
    assert one == two != nf4


@pytest.mark.parametrize("options,status,message", [
    ([], 2, "--out for the healed model, --adapters for PEFT files"),
    (["--out", "x", "--matrices", "norm"], 2, "'norm' is no matrix that takes an adapter"),
    (["--out", "x", "--dropout", "1"], 2, "a dropout of 1 is outside [0, 1)"),
    (["--out", "x", "--base", "int3"], 2, "--base"),
])
def test_what_makes_no_sense_is_refused_in_one_line(tmp_path, options, status, message):
    options = [tmp_path / "x" if option == "x" else option for option in options]
    done = heal(*options)
    assert done.returncode == status
    assert message in done.stderr and len(done.stderr.strip().splitlines()) <= 2
    assert not (tmp_path / "x").exists()


def test_a_gguf_file_is_not_healed_in_appearance_only(tmp_path):
    assert run("export", BOOKS, "--gguf", tmp_path / "books.gguf").returncode == 0
    done = heal("--out", tmp_path / "healed.gguf", model=tmp_path / "books.gguf")
    assert done.returncode == 1 and "cannot be merged into a GGUF file" in done.stderr, done.stderr
    assert list(tmp_path.iterdir()) == [tmp_path / "books.gguf"]


def test_only_the_saved_state_goes_from_its_directory(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / "state/notes.txt").write_text("mine")
    done = heal("--adapters", tmp_path / "out", "--state", tmp_path / "state")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["notes.txt"]


def test_text_that_is_not_there_is_named(tmp_path):
    done = heal("--out", tmp_path / "out", data="nowhere.txt")
    assert done.returncode == 1 and "nowhere.txt" in done.stderr
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/keep").write_text("mine")
    done = heal("--out", tmp_path / "out")
    assert done.returncode == 1 and "already exists" in done.stderr
    assert (tmp_path / "out/keep").read_text() == "mine"


def test_the_target_may_not_lie_in_the_source(tmp_path):
    model = copy_of_books(tmp_path / "model")
    done = heal("--out", model / "healed", model=model)
    assert done.returncode == 2 and "inside" in done.stderr
