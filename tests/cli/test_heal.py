# SPDX-License-Identifier: Apache-2.0
"""Healing as a user calls it: names, losses, candidates, the cache, and runs that are killed."""

import json
import os
import random
import resource
import subprocess
import time

import pytest

PROGRAM = os.environ["STREAMLINE_PROGRAM"]
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BASE = ["prune", "models/books-5m", "--data", "models/text/calibration.jsonl", "--cut", "4", "--seq-len", "128",
        "--samples", "4", "--validation", "2", "--eval-windows", "4", "--no-speed", "--threads", "1"]


def command(*args):
    return [PROGRAM, *BASE, *args, *([] if "--tokens" in args else ["--tokens", "8000"])]


def run(*args, check=True):
    done = subprocess.run(command(*args), cwd=ROOT, capture_output=True, text=True)
    if check:
        assert done.returncode == 0, done.stderr
    return done


def report(*args):
    return json.loads(run("--dry-run", "--json", *args).stdout)


@pytest.mark.parametrize("name,layers", [("linear", 8), ("scale", 8), ("layer:2", 10), ("swiglu", 9), ("ffn-residual", 9), ("mean", 9),
                                          ("low-rank", 9)])
def test_every_replacement_is_written_and_applied_again_byte_for_byte(tmp_path, name, layers):
    run("--replace", name, "--out", tmp_path / "out", "--accept-worse")
    again = subprocess.run([PROGRAM, "apply", "models/books-5m", "--plan", tmp_path / "out/streamline/plan.json",
                            "--out", tmp_path / "again"], cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    for file in ("model.safetensors", "config.json"):
        assert (tmp_path / "out" / file).read_bytes() == (tmp_path / "again" / file).read_bytes()
    assert json.loads((tmp_path / "out/config.json").read_text())["num_hidden_layers"] == layers


@pytest.mark.parametrize("loss", ["lm", "kl", "mse+lm", "mse+kl"])
def test_losses_are_stages_of_the_report(loss):
    window, = report("--replace", "swiglu-residual", "--loss", loss)["healing"]
    assert [stage["loss"] for stage in window["stages"]] == loss.split("+")
    for stage in window["stages"]:
        assert stage["best_error"] <= stage["initial_error"]


def test_auto_takes_the_candidate_with_the_smallest_perplexity():
    record = report("--replace", "auto", "--candidates", "none,linear,layer", "--candidate-tokens", "4000")
    results = record["candidates"]["results"]
    best = min(results, key=lambda result: result["perplexity"])
    assert record["candidates"]["chosen"] == best["name"]
    if best["name"] != "none":
        assert record["healing"][0]["replacement"] == best["name"]


def test_several_windows_are_healed_in_turn():
    record = report("--replace", "swiglu-residual", "--windows", "2")
    assert [window["count"] for window in record["healing"]] == [2, 2]
    assert [cut["start"] for cut in record["choice"]["cuts"]] == [window["first"] for window in record["healing"]]


def test_the_log_has_a_line_a_step_and_a_validation(tmp_path):
    record = report("--replace", "layer", "--log", tmp_path / "log.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    stage = record["healing"][0]["stages"][0]
    assert len([line for line in lines if "loss" in line]) == len(stage["steps"])
    assert len([line for line in lines if "validation_error" in line]) == len(stage["validations"])


def test_the_cache_changes_no_number_the_second_time(tmp_path):
    first = report("--replace", "layer", "--cache", tmp_path / "cache")
    second = report("--replace", "layer", "--cache", tmp_path / "cache", "--cache-limit", "1GB")
    assert first["healing"][0]["stages"] == second["healing"][0]["stages"]
    other = run("--replace", "layer", "--dry-run", "--cache", tmp_path / "cache", "--dtype", "float32", "--start", "2")
    assert other.returncode == 0


def test_a_full_disk_while_states_are_cached_is_one_line_and_the_next_run_goes_on(tmp_path):
    def at_most_a_megabyte():  # a shard of the training text has two
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))

    cached = ["--replace", "layer", "--tokens", "3000", "--cache", tmp_path / "cache"]
    full = subprocess.run(command("--dry-run", "--quiet", *cached), cwd=ROOT, capture_output=True, text=True,
                          preexec_fn=at_most_a_megabyte, restore_signals=False)
    assert full.returncode == 1 and full.stdout == ""
    assert full.stderr.startswith("streamline: ") and full.stderr.count("\n") == 1, full.stderr
    assert ".states: cannot write: File too large" in full.stderr
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    assert [name for name in kept if not name.endswith(".states")] == ["cache.json"] and len(kept) == 2  # of the validation text
    after = report(*cached)
    assert after["healing"][0]["stages"] == report(*cached[:-1], tmp_path / "another")["healing"][0]["stages"]
    now = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    assert len(now) == 3 and all(now[name] == time for name, time in kept.items() if name != "cache.json")


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path):
    arguments = ["--replace", "swiglu-residual", "--loss", "mse+kl", "--tokens", "12000", "--save-every", "0"]
    run(*arguments, "--out", tmp_path / "whole", "--state", tmp_path / "first")
    whole = (tmp_path / "whole/model.safetensors").read_bytes()
    draw = random.Random(1)
    out, state = tmp_path / "out", tmp_path / "state"
    killed = 0
    for _ in range(10):
        process = subprocess.Popen(command(*arguments, "--out", out, "--state", state), cwd=ROOT, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        while process.poll() is None and not list(state.glob("*.safetensors")):
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.6))
        if process.poll() is None:
            process.kill()
            killed += 1
        process.wait()
        assert killed == 0 or not out.exists() or (out / "model.safetensors").read_bytes() == whole
    assert killed >= 5
    if not out.exists():
        run(*arguments, "--out", out, "--state", state)
    assert (out / "model.safetensors").read_bytes() == whole
    assert not state.exists()


@pytest.mark.parametrize("arguments,code,message", [
    (["--replace", "mlp"], 2, "no replacement is called 'mlp'; there are none, layer, ffn"),
    (["--replace", "lyer"], 2, ", auto; the nearest is 'layer'"),
    (["--tokens", "999999999"], 1, "go over them several times with --epochs"),
    (["--replace", "layer:0"], 2, "after the colon stands how many in a row"),
    (["--replace", "auto", "--candidates", "none,best"], 2, "no replacement is called 'best'"),
    (["--loss", "mae"], 2, "no loss is called 'mae'; there are mse, normalised-mse, lm, kl, and"),
    (["--loss", "state"], 2, "--loss state: trains no replacement; it is what `streamline heal --with sherl"),
    (["--loss", "mse+state"], 2, "--loss state: trains no replacement"),
    (["--loss", "mse+kl", "--loss-split", "1.5"], 2, "must lie between 0 and 1"),
    (["--init", "warm"], 2, "'warm' is no start; expected one of zero, inherit, random, closed-form"),
    (["--replace", "ffn", "--init", "inherit"], 2, "'ffn' cannot start as 'inherit'"),
    (["--replace", "scale", "--loss", "kl"], 2, "'scale' has nothing to train"),
    (["--replace", "linear", "--start", "0"], 2, "changes the layer before the window"),
    (["--windows", "5"], 2, "5 windows of 4 layers"),
    (["--memory", "10KB"], 1, "need at least"),
])
def test_bad_requests_are_one_line(arguments, code, message):
    done = run("--dry-run", *arguments, check=False)
    assert done.returncode == code, done.stderr
    assert message in done.stderr.splitlines()[-1]


def test_a_state_is_refused_as_soon_as_it_is_known_to_be_of_another_run(tmp_path):
    words = ["--dry-run", "--replace", "layer", "--state", tmp_path / "state"]
    run(*words)
    kept = {path: path.read_bytes() for path in (tmp_path / "state").iterdir()}
    assert [path.suffix for path in kept] == [".safetensors"]
    for more, message in [(["--seed", "1"], "is the state of another run (what differs: seed)"),
                          (["--learning-rate", "1e-5"], "is the state of another run (what differs: learning rate)"),
                          (["--start", "1"], "is the state of another plan")]:
        other = run(*words, *more, check=False)
        assert other.returncode == 1 and message in other.stderr.splitlines()[-1], other.stderr
        assert "perplexity" not in other.stderr  # no model was measured
    healed = subprocess.run([PROGRAM, "heal", "models/books-5m", "--data", tmp_path / "none.txt", "--adapters", tmp_path / "lora",
                             "--state", tmp_path / "state"], cwd=ROOT, capture_output=True, text=True)
    assert healed.returncode == 1 and "was saved by other work" in healed.stderr and healed.stderr.count("\n") == 1
    assert {path: path.read_bytes() for path in (tmp_path / "state").iterdir()} == kept
    assert run(*words).returncode == 0


def test_the_cache_and_the_state_of_another_model_are_refused(tmp_path):
    run("--dry-run", "--replace", "layer", "--cache", tmp_path / "cache", "--state", tmp_path / "state")
    other = run("--dry-run", "--replace", "layer", "--tokens", "6000", "--state", tmp_path / "state", check=False)
    assert other.returncode == 1 and "is the state of another run (what differs: text" in other.stderr
    assert "perplexity" not in other.stderr
    index = json.loads((tmp_path / "cache/cache.json").read_text())
    index["model"] = "0" * 64
    (tmp_path / "cache/cache.json").write_text(json.dumps(index))
    other = run("--dry-run", "--replace", "layer", "--cache", tmp_path / "cache", check=False)
    assert other.returncode == 1 and "the hidden states of another model" in other.stderr
