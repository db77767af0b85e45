# SPDX-License-Identifier: Apache-2.0
"""inspect --estimate: what a run would take, as JSON and as a table; and that inspect alone loads no libtorch."""
import os
import subprocess

import pytest
from program import BOOKS, CALIBRATION, run, run_json

LENGTHS = ["--seq-len", 64, "--threads", 1]


def estimate(*arguments, samples=4):
    return run_json("inspect", BOOKS, "--estimate", *arguments, *LENGTHS, "--samples", samples)["estimate"]


@pytest.mark.parametrize("command,stages", [
    (["score"], ["start", "read text", "score"]),
    (["heal", "--tokens", 2000], ["start", "read text", "heal", "write and verify"]),
    (["prune", "--tokens", 2000, "--cut", 4, "--no-speed"],
     ["start", "read text", "score", "measure source", "measure cut", "heal", "measure healed", "write and verify"]),
])
def test_every_stage_has_its_seconds_and_memory(command, stages):
    told = estimate(*command)
    assert [stage["name"] for stage in told["stages"]] == stages
    assert all(stage["seconds"] >= 0 and stage["memory"] > 0 for stage in told["stages"])
    assert told["seconds"] == pytest.approx(sum(stage["seconds"] for stage in told["stages"]))
    assert told["memory"] == max(stage["memory"] for stage in told["stages"])
    assert told["mapped"] > 10e6 and told["measured"]["threads"] == 1


def test_more_text_takes_longer_and_more_layers_leave_less():
    assert estimate("score", samples=400)["seconds"] > estimate("score")["seconds"]
    few, many = (estimate("prune", "--replace", "none", "--no-speed", "--cut", cut)["disk"] for cut in (2, 6))
    assert many < few


def test_the_disk_is_what_a_run_writes(tmp_path):
    told = estimate("prune", "--cut", 4, "--replace", "layer", "--tokens", 1000, "--no-speed")["disk"]
    done = run("prune", BOOKS, "--data", CALIBRATION, "--cut", 4, "--replace", "layer", "--tokens", 1000, "--no-speed", "--seq-len", 64,
               "--samples", 4, "--eval-windows", 2, "--accept-worse", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    written = sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file())
    assert told == pytest.approx(written, rel=0.2)


def test_as_text_and_with_the_text_that_will_be_read():
    done = run("inspect", BOOKS, "--estimate", "score", "--data", CALIBRATION, *LENGTHS)
    assert "A run of score on this machine" in done.stdout and "family" in done.stdout


def test_what_a_run_is_told_means_nothing_without_an_estimate():
    done = run("inspect", BOOKS, "--tokens", 5)
    assert done.returncode == 2
    assert done.stderr == "streamline: --tokens goes with --estimate\n"


def test_what_cannot_run_has_no_estimate():
    done = run("inspect", BOOKS, "--estimate", "score", "--memory", "1MB", *LENGTHS)
    assert done.returncode == 1 and "need at least" in done.stderr


def test_inspect_alone_loads_no_libtorch():
    libraries = subprocess.run(["ldd", os.environ["STREAMLINE_PROGRAM"]], capture_output=True, text=True, check=True).stdout
    assert "libtorch" not in libraries
    assert run("inspect", BOOKS, "--json").returncode == 0
