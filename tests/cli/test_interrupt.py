# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C in the middle of the work: its own exit status, one line, and nothing left on the disk but a state that was asked for."""
import os
import signal
import subprocess
import time

import pytest
from program import BOOKS, CALIBRATION, VALID


def test_states_that_were_spilled_are_gone_after_an_interrupt(tmp_path):
    command = [os.environ["STREAMLINE_PROGRAM"], "score", BOOKS, "--data", CALIBRATION, "--seq-len", 255, "--samples", 100,
               "--memory", "150MB", "--threads", 1, "--verbose"]
    with subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
                          env=os.environ | {"TMPDIR": str(tmp_path)}) as job:
        lines = []
        for line in job.stderr:
            lines.append(line)
            if "in a temporary file" in line:
                job.send_signal(signal.SIGINT)
        status = job.wait(timeout=120)
    assert status == 130
    assert any("in a temporary file" in line for line in lines)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sign,kept", [(signal.SIGINT, False), (signal.SIGTERM, True)])
def test_an_interrupted_prune_leaves_nothing_but_its_state(sign, kept, tmp_path):
    state = tmp_path / "state"
    command = [os.environ["STREAMLINE_PROGRAM"], "prune", BOOKS, "--data", CALIBRATION, "--out", tmp_path / "out", "--cut", 4,
               "--seq-len", 64, "--tokens", 100_000, "--epochs", 1000, "--eval-windows", 4, "--no-speed", "--threads", 1,
               *(["--state", state, "--save-every", 0] if kept else [])]
    with subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as job:
        lines = []
        for line in job.stderr:
            lines.append(line)
            if line.startswith("cut: perplexity"):  # healing is next, and would take an hour
                end = time.monotonic() + 60
                while kept and not list(state.glob("*.safetensors")) and time.monotonic() < end:
                    time.sleep(0.05)
                job.send_signal(sign)
        status = job.wait(timeout=120)
    assert status == 130
    goes_on = f"; goes on from {state} when it is repeated" if kept else ""
    assert lines[-1] == f"streamline: interrupted; nothing is left half written{goes_on}\n"
    assert list(tmp_path.iterdir()) == ([state] if kept else [])


@pytest.mark.parametrize("words", [["eval", BOOKS], ["compare", BOOKS, BOOKS, "--no-speed"]])
def test_an_interrupted_measurement_says_that_it_goes_on(words, tmp_path):
    short, results = tmp_path / "short.txt", tmp_path / "results"
    short.write_text(VALID.read_text()[:4000])
    command = [os.environ["STREAMLINE_PROGRAM"], *words, "--perplexity", f"{short},{VALID}", "--window", 64, "--threads", 1, "--out", results]
    with subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as job:
        end = time.monotonic() + 60
        while not list(results.rglob("short*.json")) and time.monotonic() < end:
            time.sleep(0.02)
        job.send_signal(signal.SIGINT)
        lines = job.stderr.readlines()
        status = job.wait(timeout=120)
    assert status == 130
    assert lines[-1] == f"streamline: interrupted; nothing is left half written; goes on from {results} when it is repeated\n"
