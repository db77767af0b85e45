# SPDX-License-Identifier: Apache-2.0
"""--memory: what fits into it gives the same numbers, what cannot is refused with the least that would do."""
import json
import os
import re
import subprocess
import time

import pytest
from program import BOOKS, CALIBRATION, VALID, run, run_json

SCORE = ["score", BOOKS, "--data", CALIBRATION, "--seq-len", 255, "--samples", 8, "--dtype", "float32"]
EVALUATE = ["eval", BOOKS, "--perplexity", VALID, "--window", 255, "--max-windows", 8, "--dtype", "float32"]


def least(done):
    """Megabytes that a refusal asks for."""
    assert done.returncode == 1, done.stderr
    return int(re.search(r"at least (\d+) MB of memory", done.stderr.splitlines()[-1]).group(1))


def peak_of(*arguments):
    """Megabytes that a run held beside mapped files, at most."""
    command = [os.environ["STREAMLINE_PROGRAM"], *map(str, arguments), "--threads", "1", "--quiet"]
    peak = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as job:
        while job.poll() is None:
            with open(f"/proc/{job.pid}/status", encoding="ascii") as lines:
                found = [int(line.split()[1]) for line in lines if line.startswith("RssAnon:")]
            peak = max([peak, *found])
            time.sleep(0.002)
    assert job.returncode == 0
    return peak / 1000


@pytest.mark.parametrize("command", [SCORE, EVALUATE])
def test_the_least_that_a_refusal_names_is_enough(command):
    needed = least(run(*command, "--memory", "20MB"))
    assert least(run(*command, "--memory", f"{needed - 1}MB")) == needed
    assert peak_of(*command, "--memory", f"{needed}MB") <= needed


def test_little_memory_gives_the_same_numbers():
    plenty, little = run_json(*SCORE), run_json(*SCORE, "--memory", f"{least(run(*SCORE, '--memory', '1MB'))}MB")
    assert len(little["cosine"]) == len(plenty["cosine"]) == 13
    for found, expected in zip(little["cosine"], plenty["cosine"]):
        assert found == pytest.approx(expected, abs=1e-6)
    plenty, little = run_json(*EVALUATE), run_json(*EVALUATE, "--memory", f"{least(run(*EVALUATE, '--memory', '1MB'))}MB")
    assert little["perplexity"]["value"] == pytest.approx(plenty["perplexity"]["value"], rel=1e-6)


@pytest.mark.parametrize("search", [["blockpruner", "--halves", 1], ["iterative", "--layers", 3], ["beam", "--layers", 2, "--width", 2]])
def test_a_search_spills_what_its_candidates_share(search, tmp_path):
    """Into a file without a name, no larger than --cache-limit; beyond it, it is computed anew. The choice is the same."""
    command = ["prune", BOOKS, "--data", CALIBRATION, "--seq-len", 255, "--samples", 2, "--dtype", "float32", "--replace", "none",
               "--plan-only", "--method", *search]
    needed = least(run(*command, "--memory", "1MB"))

    def plan(*options):
        done = run(*command, "--verbose", *options, env=os.environ | {"TMPDIR": str(tmp_path)})
        assert done.returncode == 0, done.stderr
        assert not list(tmp_path.iterdir())
        found = json.loads(done.stdout)
        (count,) = {"halves_executed", "parts_executed"} & set(found["scores"])
        return found, found["scores"].pop(count), done.stderr.count("in a temporary file")

    spilled, executed, files = plan("--memory", f"{needed}MB")
    anew, more, fewer_files = plan("--memory", f"{needed}MB", "--cache-limit", "1B")
    assert fewer_files < files  # what is left is of the scores, which are a sweep
    assert more > executed
    assert anew == spilled
    plenty, _, _ = plan()
    assert plenty["segments"] == spilled["segments"]
    assert peak_of(*command, "--memory", f"{needed}MB") <= needed


def test_training_that_does_not_fit_is_refused(tmp_path):
    command = ["prune", BOOKS, "--data", CALIBRATION, "--dry-run", "--cut", 4, "--seq-len", 64, "--samples", 2, "--tokens", 2000,
               "--no-speed", "--eval-windows", 2, "--replace", "layer"]
    for_scores = least(run(*command, "--memory", "1MB"))
    done = run(*command, "--memory", f"{for_scores}MB")
    assert "healing needs at least" in done.stderr and least(done) > for_scores
    assert run("score", BOOKS, "--data", CALIBRATION, "--memory", "lots").returncode == 2


def test_threads_are_those_that_the_process_may_use():
    command = [os.environ["STREAMLINE_PROGRAM"], "prune", BOOKS, "--data", CALIBRATION, "--plan-only", "--cut", "2", "--samples", "2",
               "--seq-len", "16", "--replace", "none", "--json"]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=True,
                          preexec_fn=lambda: os.sched_setaffinity(0, [min(os.sched_getaffinity(0))]))
    assert json.loads(done.stdout)["run"]["threads"] == 1
