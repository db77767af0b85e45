# SPDX-License-Identifier: Apache-2.0
"""The Python module, installed: what it returns, what it raises, and that it can be interrupted."""
import json
import os
import pathlib
import signal
import threading
import time

import numpy
import pytest

streamline = pytest.importorskip("streamline", reason="not installed: pip install .")  # the build folder, in ctest

ROOT = pathlib.Path(__file__).parents[2]
BOOKS, VALID = ROOT / "models" / "books-5m", ROOT / "models" / "text" / "valid.txt"
CALIBRATION = ROOT / "models" / "text" / "calibration.jsonl"
QUICK = {"seq_len": 64, "samples": 8, "quiet": True, "threads": 1}


def test_scores_are_arrays():
    cosine = streamline.score(BOOKS, CALIBRATION, **QUICK)["cosine"]
    assert cosine.shape == (13, 13) and cosine.dtype == numpy.float64
    numpy.testing.assert_allclose(numpy.diag(cosine), 1, atol=1e-6)


def test_a_plan_is_a_dictionary_that_is_measured_and_applied(tmp_path):
    plan = streamline.plan(BOOKS, CALIBRATION, cut=3, **QUICK)
    assert [segment["action"] for segment in plan["segments"]] == ["keep", "drop", "keep"]
    measured = [streamline.evaluate(model, VALID, plan=chosen, window=64, max_windows=8, dtype="float32", quiet=True)
                for model, chosen in ((BOOKS, plan), (tmp_path / "out", None))
                if chosen or streamline.apply(BOOKS, plan, tmp_path / "out", quiet=True)]
    assert measured[0]["perplexity"]["value"] == pytest.approx(measured[1]["perplexity"]["value"], rel=1e-5)
    assert json.loads((tmp_path / "out" / "config.json").read_text())["num_hidden_layers"] == 9


def test_prune_without_an_output_writes_nothing(tmp_path):
    report = streamline.prune(BOOKS, CALIBRATION, cut=3, replace="none", no_speed=True, eval_windows=4, **QUICK)
    assert [model["layers"] for model in report["models"]] == [12, 9]
    assert not list(tmp_path.iterdir())


def test_errors_are_the_lines_of_the_program(tmp_path):
    with pytest.raises(streamline.Error, match="absent"):
        streamline.inspect(tmp_path / "absent")
    with pytest.raises(ValueError, match="--fast"):
        streamline.inspect(BOOKS, fast=True)
    with pytest.raises(streamline.UsageError, match="sparsity"):
        streamline.plan(BOOKS, CALIBRATION, sparsity=2, **QUICK)


def test_other_threads_run_meanwhile_and_ctrl_c_works():
    ticks = []

    def tick():
        for _ in range(20):
            ticks.append(time.monotonic())
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=tick)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        for _ in range(1000):
            streamline.score(BOOKS, CALIBRATION, seq_len=255, samples=400, quiet=True)
    thread.join()
    assert len(ticks) == 20
