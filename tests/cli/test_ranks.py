# SPDX-License-Identifier: Apache-2.0
"""Several processes that share a command's work, as torchrun starts them: the figures of one process, one output, and
one line when one of them dies."""

import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest
from program import BOOKS, CALIBRATION, VALID, run, run_json

PROGRAM = os.environ["STREAMLINE_PROGRAM"]
TEXT = ["--data", CALIBRATION, "--seq-len", 128, "--samples", 40]


def torchrun(*arguments):
    command = [sys.executable, "-m", "torch.distributed.run", "--no-python", "--nproc-per-node", 2, PROGRAM, *arguments, "--threads", 1]
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)


def shared_json(*arguments):
    result = torchrun(*arguments, "--json", "--quiet")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)  # of one rank: two results are no JSON


def own_lines(text):
    return [line for line in text.splitlines() if line.startswith("streamline: ")]


def assert_same(a, b, tolerance, where="", without=()):
    assert type(a) is type(b), where
    if isinstance(a, dict):
        keys = a.keys() - set(without)
        assert keys == b.keys() - set(without), where
        for key in keys:
            assert_same(a[key], b[key], tolerance, f"{where}/{key}", without)
    elif isinstance(a, list):
        assert len(a) == len(b), where
        for i, (one, other) in enumerate(zip(a, b)):
            assert_same(one, other, tolerance, f"{where}/{i}", without)
    elif isinstance(a, float):
        assert a == pytest.approx(b, rel=tolerance, abs=1e-300), where
    else:
        assert a == b, where


def test_scores_are_those_of_one_process(tmp_path):
    out = tmp_path / "scores.json"
    shared = shared_json("score", BOOKS, *TEXT, "--out", out)
    assert_same(run_json("score", BOOKS, *TEXT), shared, 1e-12, without=["run", "seconds", "peak_memory"])
    assert json.loads(out.read_text())["cosine"] == shared["cosine"]


def test_evaluations_are_those_of_one_process(tmp_path, questions):
    words = ["eval", BOOKS, "--perplexity", VALID, "--window", 128, "--max-windows", 40, "--tasks",
             questions / "sentence_order.yaml", "--data-dir", questions, "--limit", 20]
    shared = shared_json(*words, "--out", tmp_path / "shared")
    alone = run_json(*words, "--out", tmp_path / "alone")
    assert_same(alone, shared, 0, without=["run", "seconds", "peak_memory"])
    written = sorted(path.relative_to(tmp_path / "alone") for path in (tmp_path / "alone").rglob("*.json*"))
    assert len(written) >= 2
    for path in (tmp_path / "alone").rglob("*"):
        name = path.relative_to(tmp_path / "alone")
        assert "results_" in path.name or "samples_" in path.name or (tmp_path / "shared" / name).exists(), name
    again = shared_json(*words, "--out", tmp_path / "shared")  # all is there already
    assert again["perplexity"] == shared["perplexity"]


def test_a_pruned_and_healed_model_is_that_of_one_process(tmp_path):
    words = ["prune", BOOKS, "--data", CALIBRATION, "--seq-len", 64, "--samples", 40, "--cut", 3, "--replace", "layer",
             "--tokens", 6000, "--batch-tokens", 512, "--validation", 4, "--eval-windows", 6, "--no-speed", "--dtype", "float32"]
    alone = run_json(*words, "--out", tmp_path / "alone")
    shared = shared_json(*words, "--out", tmp_path / "shared")
    assert shared["choice"] == alone["choice"]
    for one, other in zip(alone["models"], shared["models"], strict=True):
        assert other["perplexity"]["value"] == pytest.approx(one["perplexity"]["value"], rel=1e-4)
    assert (shared["run"]["ranks"], "ranks" in alone["run"]) == (2, False)
    assert shared["healing"][0]["stages"][-1]["best"] == pytest.approx(alone["healing"][0]["stages"][-1]["best"], rel=1e-4)
    result = run("eval", tmp_path / "shared", "--perplexity", VALID, "--window", 64, "--max-windows", 2)
    assert result.returncode == 0, result.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("alone", "shared")] == []


def test_adapters_are_those_of_one_process(tmp_path):
    words = ["heal", BOOKS, "--data", CALIBRATION, "--seq-len", 64, "--tokens", 2000, "--batch", 5, "--validation", 3, "--rank", 4,
             "--eval", VALID, "--eval-windows", 4, "--dtype", "float32"]
    alone = run_json(*words, "--out", tmp_path / "alone")
    shared = shared_json(*words, "--out", tmp_path / "shared")
    for one, other in zip(alone["models"], shared["models"], strict=True):
        assert other["perplexity"]["value"] == pytest.approx(one["perplexity"]["value"], rel=1e-4)
    assert shared["models"][1]["perplexity"]["value"] != shared["models"][0]["perplexity"]["value"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "shared"]


@pytest.mark.parametrize("words, why", [
    (["inspect", BOOKS], "'inspect' is the work of one process"),
    (["prune", BOOKS, *TEXT, "--cut", 2, "--method", "blockpruner", "--plan-only"], "--method blockpruner is the work of one process"),
    (["score", BOOKS, "--data", "no/such/file"], "no/such/file"),
])
def test_what_cannot_be_is_said_once(words, why):
    command = [sys.executable, "-m", "torch.distributed.run", "--no-python", "--nproc-per-node", "2", PROGRAM, *map(str, words)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode != 0
    (line,) = own_lines(result.stderr)
    assert why in line
    assert result.stdout == ""


def children_of(process):
    return [int(pid) for pid in pathlib.Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def rank_of(process):
    environment = pathlib.Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    return next(int(word[5:]) for word in environment if word.startswith(b"RANK="))


@pytest.mark.parametrize("dying", [0, 1])
def test_a_rank_that_is_killed_ends_all_with_one_line(dying, tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--no-python", "--nproc-per-node", 2, PROGRAM, "prune", BOOKS,
               "--data", CALIBRATION, "--out", tmp_path / "out", "--cut", 4, "--seq-len", 64, "--tokens", 100_000, "--epochs", 1000,
               "--eval-windows", 4, "--no-speed", "--threads", 1]
    with subprocess.Popen([str(word) for word in command], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as job:
        lines = []
        for line in job.stderr:
            lines.append(line)
            if line.startswith("cut: perplexity"):  # healing is next, and would take an hour
                ranks = {rank_of(process): process for process in children_of(job.pid)}
                assert sorted(ranks) == [0, 1]
                os.kill(ranks[dying], signal.SIGKILL)
        status = job.wait(timeout=120)
    assert status != 0
    assert own_lines("".join(lines)) == [
        f"streamline: rank {dying} ended before the work was done (killed, or out of memory); nothing was written, start all ranks again"
    ]
    assert not list(tmp_path.iterdir())
    for process in ranks.values():
        assert not pathlib.Path(f"/proc/{process}").exists()


def environment(rank, port):
    return os.environ | {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_WORLD_SIZE": "2", "LOCAL_RANK": str(rank),
                         "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "STREAMLINE_RANK_TIMEOUT": "60"}


def test_other_launchers_need_no_store(tmp_path):
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [PROGRAM, "score", str(BOOKS), *map(str, TEXT), "--threads", "1", "--json", "--quiet"]
    jobs = [subprocess.Popen(command, env=environment(rank, port), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for rank in (1, 0)]
    outputs = [job.communicate(timeout=120) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], outputs
    assert outputs[0] == ("", "")
    assert json.loads(outputs[1][0])["tokens"] == 40 * 128


def test_a_broken_environment_is_named():
    result = subprocess.run([PROGRAM, "list"], env=os.environ | {"WORLD_SIZE": "2", "RANK": "5"}, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert "RANK='5'" in result.stderr and len(result.stderr.splitlines()) == 1
