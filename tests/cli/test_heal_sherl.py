# SPDX-License-Identifier: Apache-2.0
"""`streamline heal --with sherl` as a user calls it."""

import json
import shutil

import pytest
from program import BOOKS, CALIBRATION, VALID, check_page, run, run_json

SHORT = ["--seq-len", "64", "--validation", "2", "--batch", "4", "--with", "sherl", "--late", "2", "--features", "4"]


@pytest.fixture(scope="module")
def healed(tmp_path_factory):
    """The shipped model without layers 7 to 9, healed; the record."""
    folder = tmp_path_factory.mktemp("sherl")
    cut = run("prune", BOOKS, "--data", CALIBRATION, "--cut", "3", "--start", "7", "--replace", "none", "--samples", "4", "--seq-len", "64",
              "--eval-windows", "2", "--no-speed", "--out", folder / "cut")
    assert cut.returncode == 0, cut.stderr
    record = run_json("heal", folder / "cut", *SHORT, "--data", CALIBRATION, "--tokens", "20000", "--learning-rate", "3e-3", "--eval", VALID,
                      "--eval-windows", "8", "--out", folder / "healed")
    return folder, record


def test_it_heals_and_the_program_computes_with_what_it_wrote(healed):
    folder, record = healed
    before, after = (model["perplexity"]["value"] for model in record["models"])
    assert after < 0.98 * before  # 20,000 tokens make some 70 steps
    check_page(folder / "healed/report.html", "Trained an adapter (SHERL)", f"{before:.2f} ± ", f"{after:.2f} ± ")
    assert record["sherl"]["at"] == 7 and record["sherl"]["features"] == [0, 2, 5, 7]
    measured = run_json("eval", folder / "healed", "--perplexity", VALID, "--window", "64", "--max-windows", "8")
    assert measured["perplexity"]["value"] == pytest.approx(after, rel=1e-3)
    # The weights themselves are those of the cut model: without the side file it is that model again.
    shutil.copytree(folder / "healed", folder / "bare")
    (folder / "bare/streamline/sherl.safetensors").unlink()
    bare = run_json("eval", folder / "bare", "--perplexity", VALID, "--window", "64", "--max-windows", "8")
    assert bare["perplexity"]["value"] == pytest.approx(before, rel=1e-3)


def test_it_aims_at_what_the_cut_layers_would_have_written(healed, tmp_path):
    folder, _ = healed
    words = ["--seq-len", "64", "--validation", "2", "--batch", "4", "--with", "sherl", "--features", "4", "--target", "hidden",
             "--data", CALIBRATION, "--tokens", "20000", "--learning-rate", "3e-3", "--eval", VALID, "--eval-windows", "8"]
    record = run_json("heal", folder / "cut", *words, "--original", BOOKS, "--out", tmp_path / "healed")
    # Where the layers went, and so how many are behind them, the cut model's plan says.
    assert record["sherl"]["at"] == 7 and record["sherl"]["original"] == {"first": 7, "count": 3}
    assert record["healing"][0]["loss"] == "state"
    stage = record["healing"][0]["stages"][0]
    assert stage["best_error"] < 0.97 * stage["nothing_error"]
    before, after = (model["perplexity"]["value"] for model in record["models"])
    assert after < before
    measured = run_json("eval", tmp_path / "healed", "--perplexity", VALID, "--window", "64", "--max-windows", "8")
    assert measured["perplexity"]["value"] == pytest.approx(after, rel=1e-3)
    elsewhere = run("heal", folder / "cut", *words, "--original", BOOKS, "--late", "3", "--out", tmp_path / "x")
    assert elsewhere.returncode == 1 and "no layers are missing in front of layer" in elsewhere.stderr
    other = run("heal", folder / "cut", *words, "--original", folder / "cut", "--out", tmp_path / "x")
    assert other.returncode == 1 and "is not the model that" in other.stderr
    whole = run("heal", BOOKS, *words, "--original", BOOKS, "--out", tmp_path / "x")
    assert whole.returncode == 2 and "give --late" in whole.stderr


def test_text_is_written_with_it(healed):
    folder, _ = healed
    words = ["--prompt", "It was a dark night", "--max-tokens", 12, "--temperature", 0]
    texts = [run_json("generate", folder / name, *words)["tokens"] for name in ("cut", "healed")]
    assert texts[0] != texts[1]


def test_same_seed_same_bytes(healed, tmp_path):
    folder, _ = healed
    for name in ("one", "two"):
        done = run("heal", folder / "cut", *SHORT, "--data", CALIBRATION, "--tokens", "2000", "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
    one, two = ((tmp_path / name / "streamline/sherl.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


@pytest.mark.parametrize("options,status,message", [
    (["--late", "12"], 2, "--late 12"),
    (["--features", "30"], 2, "--features 30"),
    (["--rank", "4"], 2, "--rank goes with --with lora"),
    (["--adapters", "x"], 2, "--adapters goes with --with lora"),
    (["--target", "hidden"], 2, "--original"),
    (["--original", "y"], 2, "--original goes with --target hidden"),
    (["--eval-windows", "4"], 2, "--eval-windows goes with --eval"),
    (["--save-every", "4"], 2, "--save-every goes with --state"),
    (["--samples", "4"], 2, "--samples"),
])
def test_what_makes_no_sense_is_refused_in_one_line(tmp_path, options, status, message):
    words = list(SHORT)
    if options[0] in words:
        del words[words.index(options[0]) : words.index(options[0]) + 2]
    done = run("heal", BOOKS, *words, "--data", CALIBRATION, "--tokens", "2000", "--out", tmp_path / "x",
               *[tmp_path / "y" if option == "x" else option for option in options])
    assert done.returncode == status and message in done.stderr, done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2 and not (tmp_path / "x").exists()


def test_a_healed_model_is_not_cut_or_healed_again(healed, tmp_path):
    folder, _ = healed
    cut = run("prune", folder / "healed", "--data", CALIBRATION, "--cut", "2", "--replace", "none", "--samples", "2", "--seq-len", "64", "--no-speed",
              "--out", tmp_path / "x")
    assert cut.returncode == 1 and "SHERL" in cut.stderr and "perplexity" not in cut.stderr
    zeros = run("sparsify", folder / "healed", "--method", "magnitude", "--out", tmp_path / "x")
    assert zeros.returncode == 1 and "was learnt for the weights as they are" in zeros.stderr
    again = run("heal", folder / "healed", "--data", CALIBRATION, "--tokens", "2000", "--seq-len", "64", "--out", tmp_path / "x")
    assert again.returncode == 1 and "healed with SHERL already" in again.stderr
    assert not (tmp_path / "x").exists()


def test_a_side_file_of_another_model_is_told(healed, tmp_path):
    folder, _ = healed
    shutil.copytree(BOOKS, tmp_path / "books")
    (tmp_path / "books/streamline").mkdir(exist_ok=True)
    shutil.copy(folder / "healed/streamline/sherl.safetensors", tmp_path / "books/streamline/sherl.safetensors")
    done = run("eval", tmp_path / "books", "--perplexity", VALID, "--window", "64", "--max-windows", "2")
    assert done.returncode == 1 and "belongs to other weights" in done.stderr
    assert json.loads((folder / "healed/report.json").read_text())["sherl"]["parameters"] > 0
