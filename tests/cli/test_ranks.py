# SPDX-License-Identifier: Apache-2.0
"""Several processes that share a command's work: the figures of one process, one output, and one line when one of them
dies. torchrun starts some of them; where it adds nothing they are started by hand, which takes less time."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys

import pytest
from program import BOOKS, CALIBRATION, VALID, run, run_json

PROGRAM = os.environ["STREAMLINE_PROGRAM"]
TEXT = ["--data", CALIBRATION, "--seq-len", 128, "--samples", 40]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--no-python", "--nproc-per-node", "2"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_ranks(*words):
    """Both processes, as srun or mpirun would start them."""
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()),
              "STREAMLINE_RANK_TIMEOUT": "120"}
    command = [PROGRAM, *map(str, words)]
    return [
        subprocess.Popen(command, env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]


def shared_json(*words):
    first, second = start_ranks(*words, "--json", "--quiet", "--threads", 1)
    output, errors = first.communicate(timeout=300)
    assert second.communicate(timeout=60) == ("", "")
    assert (first.returncode, second.returncode) == (0, 0), errors
    return json.loads(output)


def own_lines(text):
    return [line for line in text.splitlines() if line.startswith("streamline: ")]


def assert_same(a, b, tolerance, without, where=""):
    assert type(a) is type(b), where
    if isinstance(a, dict):
        keys = a.keys() - set(without)
        assert keys == b.keys() - set(without), where
        for key in keys:
            assert_same(a[key], b[key], tolerance, without, f"{where}/{key}")
    elif isinstance(a, list):
        assert len(a) == len(b), where
        for i, (one, other) in enumerate(zip(a, b)):
            assert_same(one, other, tolerance, without, f"{where}/{i}")
    elif isinstance(a, float):
        assert a == pytest.approx(b, rel=tolerance, abs=1e-300), where
    else:
        assert a == b, where


OF_THE_RUN = ["run", "seconds", "peak_memory"]


def test_scores_under_torchrun_are_those_of_one_process(tmp_path):
    out = tmp_path / "scores.json"
    command = [*TORCHRUN, PROGRAM, "score", BOOKS, *TEXT, "--out", out, "--threads", 1, "--json", "--quiet"]
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    shared = json.loads(result.stdout)  # of one rank: two results are no JSON
    assert_same(run_json("score", BOOKS, *TEXT), shared, 1e-12, OF_THE_RUN)
    assert json.loads(out.read_text())["cosine"] == shared["cosine"]


def test_evaluations_are_those_of_one_process(tmp_path, questions):
    words = ["eval", BOOKS, "--perplexity", VALID, "--window", 128, "--max-windows", 40, "--tasks",
             questions / "sentence_order.yaml", "--data-dir", questions, "--limit", 20]
    alone, shared = run_json(*words), shared_json(*words, "--out", tmp_path / "shared")
    assert_same(alone, shared, 0, OF_THE_RUN)
    assert list((tmp_path / "shared").rglob("*.json"))
    again = shared_json(*words, "--out", tmp_path / "shared")  # all is there already
    assert_same(alone, again, 0, OF_THE_RUN)


def test_a_pruned_and_healed_model_is_that_of_one_process(tmp_path):
    words = ["prune", BOOKS, "--data", CALIBRATION, "--seq-len", 64, "--samples", 40, "--cut", 3, "--replace", "layer",
             "--tokens", 6000, "--batch-tokens", 512, "--validation", 4, "--eval-windows", 6, "--no-speed", "--dtype", "float32"]
    alone, shared = run_json(*words, "--out", tmp_path / "alone"), shared_json(*words, "--out", tmp_path / "shared")
    assert_same(alone["choice"], shared["choice"], 1e-12, [])
    for one, other in zip(alone["models"], shared["models"], strict=True):
        assert other["perplexity"]["value"] == pytest.approx(one["perplexity"]["value"], rel=1e-4)
    assert (shared["run"]["ranks"], "ranks" in alone["run"]) == (2, False)
    assert shared["healing"][0]["stages"][-1]["best_error"] == pytest.approx(alone["healing"][0]["stages"][-1]["best_error"], rel=1e-4)
    result = run("eval", tmp_path / "shared", "--perplexity", VALID, "--window", 64, "--max-windows", 2)
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "shared"]


@pytest.mark.parametrize("method, size", [
    ("flap", ["--ratio", 0.3]), ("taylor", ["--ratio", 0.5]), ("mini-llm", ["--ratio", 0.5, "--probes", 5]),
    ("laco", ["--layers", 3]), ("shapley", ["--layers", 2, "--evaluations", 39])])
def test_plans_are_those_of_one_process(method, size):
    words = ["prune", BOOKS, *TEXT, "--method", method, *size, "--plan-only", "--dtype", "float32"]
    assert_same(run_json(*words)["plan"], shared_json(*words)["plan"], 1e-9, [])


def test_a_narrowed_model_is_that_of_one_process(tmp_path):
    words = ["prune", BOOKS, *TEXT, "--method", "wanda-sp", "--ratio", 0.5, "--eval", VALID, "--eval-windows", 2, "--no-speed",
             "--dtype", "float32"]
    alone, shared = run_json(*words, "--out", tmp_path / "alone"), shared_json(*words, "--out", tmp_path / "shared")
    assert_same(alone["choice"], shared["choice"], 1e-12, [])
    assert_same(alone["models"], shared["models"], 1e-12, [])
    assert run_json("inspect", tmp_path / "shared")["parameters"] == shared["models"][1]["parameters"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "shared"]


def test_a_search_goes_on_with_another_number_of_ranks(tmp_path):
    def words(layers, *state):
        return ["prune", BOOKS, *TEXT, "--method", "iterative", "--layers", layers, "--plan-only", "--dtype", "float32", *state]

    state = ["--state", tmp_path / "state"]
    shared_json(*words(1, *state))
    run_json(*words(2, *state))
    rounds = json.loads((tmp_path / "state/search.json").read_text())["state"]["rounds"]
    assert len(rounds) == 2
    assert shared_json(*words(3, *state))["plan"]["segments"] == run_json(*words(3))["plan"]["segments"]
    assert json.loads((tmp_path / "state/search.json").read_text())["state"]["rounds"][:2] == rounds
    jobs = start_ranks(*words(2, *state), "--seed", 1)
    outputs = [job.communicate(timeout=60) for job in jobs]
    (line,) = own_lines(outputs[0][1])
    assert "is the state of another search" in line and own_lines(outputs[1][1]) == []
    assert all(job.returncode != 0 for job in jobs)


def test_adapters_are_those_of_one_process(tmp_path):
    words = ["heal", BOOKS, "--data", CALIBRATION, "--seq-len", 64, "--tokens", 700, "--batch", 2, "--validation", 2, "--rank", 4,
             "--eval", VALID, "--eval-windows", 2, "--dtype", "float32"]
    alone, shared = run_json(*words, "--out", tmp_path / "alone"), shared_json(*words, "--out", tmp_path / "shared")
    for one, other in zip(alone["models"], shared["models"], strict=True):
        assert other["perplexity"]["value"] == pytest.approx(one["perplexity"]["value"], rel=1e-4)
    assert shared["models"][1]["perplexity"]["value"] != shared["models"][0]["perplexity"]["value"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone", "shared"]


@pytest.mark.parametrize("words, why", [
    (["inspect", BOOKS], "'inspect' is the work of one process"),
    (["prune", BOOKS, *TEXT, "--ratio", 0.3, "--method", "wanda-sp", "--refit", "bias", "--dry-run"],
     "--refit is the work of one process"),
    (["score", BOOKS, "--data", "no/such/file"], "no/such/file"),
])
def test_what_cannot_be_is_said_once(words, why):
    jobs = start_ranks(*words)
    outputs = [job.communicate(timeout=60) for job in jobs]
    assert all(job.returncode != 0 for job in jobs)
    (line,) = own_lines(outputs[0][1])
    assert why in line
    assert outputs == [("", line + "\n"), ("", "")]


ENDLESS = ["prune", BOOKS, "--data", CALIBRATION, "--cut", 4, "--seq-len", 64, "--tokens", 100_000, "--epochs", 1000,
           "--eval-windows", 4, "--no-speed", "--threads", 1]


def gone(rank):
    return (f"streamline: rank {rank} ended before the work was done (killed, or out of memory); nothing was written, start all "
            "ranks again")


def until_training(job):
    lines = []
    for line in job.stderr:
        lines.append(line)
        if line.startswith("cut: perplexity"):  # healing is next, and would take an hour
            return lines
    raise AssertionError("".join(lines))


@pytest.mark.parametrize("dying", [0, 1])
def test_a_rank_that_is_killed_ends_the_other_with_one_line(dying, tmp_path):
    jobs = start_ranks(*ENDLESS, "--out", tmp_path / "out")
    until_training(jobs[0])
    jobs[dying].kill()
    errors = jobs[1 - dying].communicate(timeout=60)[1]
    assert jobs[1 - dying].returncode == 1
    assert own_lines(errors) == [gone(dying)]
    jobs[dying].communicate()
    assert not list(tmp_path.iterdir())


def rank_of(process):
    environment = pathlib.Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    return next(int(word[5:]) for word in environment if word.startswith(b"RANK="))


def test_torchrun_ends_when_a_rank_is_killed(tmp_path):
    command = [str(word) for word in [*TORCHRUN, PROGRAM, *ENDLESS, "--out", tmp_path / "out"]]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as job:
        until_training(job)
        children = pathlib.Path(f"/proc/{job.pid}/task/{job.pid}/children").read_text().split()
        ranks = {rank_of(process): int(process) for process in children}
        assert sorted(ranks) == [0, 1]
        os.kill(ranks[1], signal.SIGKILL)
        errors = job.stderr.read()
        status = job.wait(timeout=60)
    assert status != 0
    assert own_lines(errors) == [gone(1)]
    assert not list(tmp_path.iterdir())


def test_a_broken_environment_is_named():
    result = subprocess.run([PROGRAM, "list"], env=os.environ | {"WORLD_SIZE": "2", "RANK": "5"}, capture_output=True, text=True, timeout=60)
    assert result.returncode == 2
    assert "RANK='5'" in result.stderr and len(result.stderr.splitlines()) == 1
