# SPDX-License-Identifier: Apache-2.0
"""`streamline spectra` and `streamline sparsify` as a user calls them, on the shipped model."""

import json
import os
import signal
import subprocess
import time

import pytest
from program import BOOKS, CALIBRATION, VALID, check_page, run, run_json, safetensors_bytes, weights

TEXT = ["--data", CALIBRATION, "--seq-len", 64, "--samples", 32]


def zeros(folder):
    """{tensor: (zeros, elements)} of bfloat16 tensors."""
    header, data = weights(folder / "model.safetensors")
    found = {}
    for name, entry in header.items():
        if name != "__metadata__":
            values = memoryview(data[slice(*entry["data_offsets"])]).cast("H")
            found[name] = (sum(value & 0x7FFF == 0 for value in values), len(values))
    return found


def is_pruned(name):
    return ".layers." in name and name.endswith("proj.weight")


def test_every_row_loses_its_share_and_nothing_else_changes(tmp_path):
    found = run_json("sparsify", BOOKS, *TEXT, "--ratio", 0.5, "--eval", VALID, "--eval-windows", 4, "--out", tmp_path / "out")
    assert found["sparsity"]["share"] == pytest.approx(0.5, abs=0.01)
    assert found["models"][1]["perplexity"]["value"] > found["models"][0]["perplexity"]["value"]
    figures = [f"{model['perplexity']['value']:.2f} ± " for model in found["models"]]
    check_page(tmp_path / "out/report.html", *figures, "Zeros by layer", f"{100 * found['layers'][11]['zeros']:.2f} %", "Matrix by matrix")
    before, after = weights(), weights(tmp_path / "out/model.safetensors")
    for name, entry in before[0].items():
        if name == "__metadata__":
            continue
        same = before[1][slice(*entry["data_offsets"])] == after[1][slice(*after[0][name]["data_offsets"])]
        assert same != is_pruned(name), name
    for name, (gone, count) in zeros(tmp_path / "out").items():
        if is_pruned(name):
            assert gone == pytest.approx(count / 2, rel=0.01), name
    measured = run_json("eval", tmp_path / "out", "--perplexity", VALID, "--max-windows", 4, "--window", 64)
    assert json.dumps(measured).count("nan") == 0


def test_a_pattern_holds_in_every_group(tmp_path):
    run_json("sparsify", BOOKS, *TEXT, "--method", "sparsegpt", "--pattern", "2:4", "--out", tmp_path / "out")
    header, data = weights(tmp_path / "out/model.safetensors")
    for name, entry in header.items():
        if name != "__metadata__" and is_pruned(name):
            values = memoryview(data[slice(*entry["data_offsets"])]).cast("H")
            for first in range(0, len(values), 4):
                assert sum(value & 0x7FFF != 0 for value in values[first : first + 4]) <= 2, name


def test_magnitude_needs_no_text_and_alpha_spreads_it(tmp_path):
    file, page = tmp_path / "spectra.json", tmp_path / "spectra.html"
    record = run_json("spectra", BOOKS, "--ratio", 0.4, "--spread", 0.2, "--out", file, "--html", page)
    ratios = [layer["ratio"] for layer in record["layers"]]
    assert len(ratios) == 12 and max(ratios) > min(ratios)
    assert sum(ratios) / 12 == pytest.approx(0.4, abs=1e-9)  # layers of one size
    assert len(record["matrices"]) == 84 and all(matrix["alpha"] > 1 for matrix in record["matrices"])
    assert "data-chart=\"spectra\"" in page.read_text()
    made = [run_json("sparsify", BOOKS, "--method", "magnitude", "--ratio", 0.4, "--spread", 0.2, "--allocation", by, "--out",
                     tmp_path / name) for by, name in [("alpha", "one"), (file, "two")]]
    assert made[0]["layers"] == made[1]["layers"]
    assert made[0]["warnings"] == made[1]["warnings"] and "layer 0 alone decides the shares" in made[0]["warnings"][0]
    assert "layer 0 alone" in (tmp_path / "one/report.html").read_text()
    for layer, ratio in zip(made[0]["layers"], ratios):
        assert layer["zeros"] == pytest.approx(ratio, abs=2e-3)
    assert (tmp_path / "one/model.safetensors").read_bytes() == (tmp_path / "two/model.safetensors").read_bytes()


def test_an_interrupted_run_goes_on_to_the_same_bytes(tmp_path):
    words = ["sparsify", BOOKS, *TEXT, "--method", "sparsegpt", "--ratio", 0.5]
    assert run(*words, "--out", tmp_path / "whole").returncode == 0
    state = tmp_path / "state"
    command = [os.environ["STREAMLINE_PROGRAM"], *map(str, words), "--out", str(tmp_path / "out"), "--state", str(state), "--threads", "1"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list(state.glob("layer-*.safetensors"))) < 3:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert run(*words, "--out", tmp_path / "out", "--state", state, "--overwrite").returncode == 0
    assert (tmp_path / "out/model.safetensors").read_bytes() == (tmp_path / "whole/model.safetensors").read_bytes()
    assert not state.exists()


def test_the_state_of_an_older_version_is_told_as_one(tmp_path):
    layer = tmp_path / "state/layer-0.safetensors"
    layer.parent.mkdir()
    metadata = {"run": json.dumps({"model": "0" * 64, "criterion": "magnitude"}), "progress": "{}"}
    layer.write_bytes(safetensors_bytes({"__metadata__": metadata, "q": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}, b"0"))
    before = layer.read_bytes()
    refused = run("sparsify", BOOKS, "--method", "magnitude", "--state", layer.parent, "--out", tmp_path / "out", "--quiet")
    assert refused.returncode == 1 and refused.stderr.count("\n") == 1
    assert "layer-0.safetensors: was saved by other work than this, or by another version of this program" in refused.stderr
    assert layer.read_bytes() == before and not (tmp_path / "out").exists()


def test_the_matrices_meanwhile_lie_in_nobodys_folder(tmp_path):
    (tmp_path / "out.matrices").mkdir()
    (tmp_path / "out.matrices/mine").write_text("important")
    run_json("sparsify", BOOKS, "--method", "magnitude", "--ratio", 0.5, "--out", f"{tmp_path}/out/")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "out.matrices"]
    assert (tmp_path / "out/model.safetensors").exists()
    assert [path.name for path in (tmp_path / "out.matrices").iterdir()] == ["mine"]


def test_only_what_the_run_saved_goes_from_its_state(tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    (state / "notes.txt").write_text("mine")
    (state / ".layer-3.safetensors.part-1").write_text("of a run that was killed")
    done = run("sparsify", BOOKS, "--method", "magnitude", "--state", state, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in state.iterdir()] == ["notes.txt"]


def test_spectra_say_what_cannot_be():
    for words, message in [(["--ratio", 1], "a ratio of 1"), (["--ratio", 0.8, "--cap", 0.7], "(--cap)"),
                           (["--ratio", 0.9, "--spread", 0.9], "of the weights of layer")]:
        result = run("spectra", BOOKS, *words, "--quiet")
        assert (result.returncode, result.stdout) == (2, "") and message in result.stderr, result.stderr
    assert "--clip" in result.stderr


@pytest.mark.parametrize(("words", "status", "message"), [
    (["--method", "sparsegpt"], 2, "give it text like your model's use with --data"),
    (["--method", "magnitude", "--ratio", 0.5, "--pattern", "2:4"], 2, "give one of the two"),
    (["--method", "magnitude", "--pattern", "4:2"], 2, "of every M weights N stay"),
    (["--method", "magnitude", "--pattern", "2:5"], 1, "no whole groups of 5"),
    (["--method", "magnitude", "--spread", 0.2], 2, "goes with --allocation alpha"),
    (["--method", "magnitude", "--allocation", "alpha", "--ratio", 0.9, "--spread", 0.9], 2, "the largest spread here is"),
    (["--method", "magnitude", "--allocation", VALID], 1, "valid.txt"),
    (["--method", "sparsegpt", "--data", CALIBRATION, "--samples", 1, "--seq-len", 64], 2, "it takes at least"),
    (["--method", "sparsegpt", *TEXT, "--memory", "130MB"], 1, "or --method wanda, which has no Gram matrices"),
    (["--method", "random"], 2, "magnitude"),
    (["--method", "magnitude", "--ratio", 1], 2, "a ratio of 1"),
    (["--method", "magnitude", "--data", "nonexist", "--shuffle"], 2, "--data goes with --method wanda or sparsegpt"),
    (["--method", "magnitude", "--seq-len", 64], 2, "--seq-len goes with a text"),
    (["--method", "magnitude", "--eval-windows", 3], 2, "--eval-windows goes with --eval"),
])
def test_what_cannot_be_is_one_line_and_writes_nothing(tmp_path, words, status, message):
    result = run("sparsify", BOOKS, *words, "--out", tmp_path / "out", "--quiet")
    assert (result.returncode, result.stdout) == (status, "")
    assert message in result.stderr and result.stderr.count("\n") <= 1 + result.stderr.count("warning")
    assert list(tmp_path.iterdir()) == []


def test_windows_may_be_longer_than_the_positions(tmp_path):
    """As --allow-long says; the model has 256."""
    found = run_json("sparsify", BOOKS, "--method", "magnitude", "--ratio", 0.5, "--eval", VALID, "--eval-windows", 1, "--seq-len", 300,
                     "--allow-long", "--out", tmp_path / "out")
    assert found["evaluation"]["window"] == 300
