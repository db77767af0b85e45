# SPDX-License-Identifier: Apache-2.0
"""Runs as files: --config, and the recipe that every output carries."""

import json
import os
import subprocess

import pytest

PROGRAM = os.environ["STREAMLINE_PROGRAM"]
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
RECIPE = """
model: models/books-5m
data: models/text/calibration.jsonl
cut: 3
protect: [0, 11]
replace: "swiglu-residual"
tokens: 3000
seq-len: 128
samples: 2
validation: 2
eval-windows: 2
threads: 1
no-speed: true
accept-worse: false
"""


def prune(*words):
    return subprocess.run([PROGRAM, "prune", *map(str, words)], cwd=ROOT, capture_output=True, text=True)


def test_a_recipe_stands_where_the_command_line_is_silent(tmp_path):
    (tmp_path / "run.yaml").write_text(RECIPE)
    done = prune("--config", tmp_path / "run.yaml", "--plan-only", "--cut=2")
    assert done.returncode == 0, done.stderr
    parameters = json.loads(done.stdout)["method"]["parameters"]
    assert parameters["cut"] == 2 and parameters["protect"] == [0, 11]


@pytest.mark.parametrize("words,expected", [
    (["--method", "shortgpt", "--layers", 2], {"layers": 2, "cut": None}),
    (["--budget=params=0.95x"], {"cut": 1}),
    (["--sparsity", "0.2"], {"sparsity": 0.2, "cut": None}),
])
def test_a_size_on_the_command_line_takes_the_place_of_the_recipes(tmp_path, words, expected):
    (tmp_path / "run.yaml").write_text(RECIPE.replace('replace: "swiglu-residual"', "replace: none").replace("tokens: 3000\n", ""))
    done = prune("--config", tmp_path / "run.yaml", "--plan-only", *words)
    assert done.returncode == 0, done.stderr
    parameters = json.loads(done.stdout)["method"]["parameters"]
    assert {name: parameters.get(name) for name in expected} == expected


def test_two_sizes_in_one_place_are_still_one_too_many(tmp_path):
    (tmp_path / "run.yaml").write_text(RECIPE + "sparsity: 0.2\n")
    assert "2 are given" in prune("--config", tmp_path / "run.yaml", "--plan-only").stderr
    assert prune("--config", tmp_path / "run.yaml", "--plan-only", "--cut", 2, "--sparsity", "0.2").returncode == 2


def test_the_recipe_in_an_output_repeats_it_to_the_same_bytes(tmp_path):
    (tmp_path / "run.yaml").write_text(RECIPE)
    first, second = tmp_path / "first", tmp_path / "second"
    done = prune("--config", tmp_path / "run.yaml", "--out", first, "--seed", "7")
    assert done.returncode == 0, done.stderr
    recipe = first / "streamline/recipe.yaml"
    done = prune("--config", recipe, "--out", second)
    assert done.returncode == 0, done.stderr
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    assert recipe.read_text() in (first / "README.md").read_text()
    assert json.loads((first / "report.json").read_text())["recipe"] == recipe.read_text()


@pytest.mark.parametrize("command,words", [
    ("heal", ["models/books-5m", "--data", "models/text/calibration.jsonl", "--tokens", 1000, "--seq-len", 64, "--validation", 1,
              "--batch", 4, "--rank", 2]),
    ("sparsify", ["models/books-5m", "--method", "magnitude", "--ratio", 0.3]),
    ("merge", ["models/books-5m", "models/books-5m", "--base", "models/books-5m", "--weights", "2,1"]),
])
def test_other_outputs_have_their_recipe_too(tmp_path, command, words):
    first, second = tmp_path / "first", tmp_path / "second"
    done = subprocess.run([PROGRAM, command, *map(str, words), "--threads", "1", "--out", first], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    done = subprocess.run([PROGRAM, command, "--config", first / "streamline/recipe.yaml", "--out", second], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()
    assert (first / "streamline/recipe.yaml").read_text().startswith(f"command: {command}\n")


@pytest.mark.parametrize("text,code,message", [
    ("cut: [1, 2", 1, "line "),
    ("- cut", 1, "a recipe is a mapping"),
    ("cut: {a: 1}", 1, "'cut' is neither a value nor a list"),
    ("cut:", 1, "'cut' has no value"),
    ("--cut: 3", 1, "is no option's name without its dashes"),
    ("command: sparsify\ncut: 3", 2, "run.yaml:1: is a recipe of `streamline sparsify`; this is `streamline prune`"),
    ("cut: 3\ncommand: [prune]", 1, "run.yaml:2: 'command' is the name of one command"),
    ("cut: many\nmodel: m\ndata: d", 2, "run.yaml:1: --cut takes an integer; got 'many'"),
    ("model: m\ndata: d\nspeed: 3", 2, "run.yaml:3: there is no option '--speed'"),
    ("model: m\ndata: d\n# drawn\ntokenz: 5\ntokens: 9", 2, "run.yaml:4: there is no option '--tokenz'; the nearest is '--tokens'"),
])
def test_broken_recipes_are_one_line(tmp_path, text, code, message):
    (tmp_path / "run.yaml").write_text(text)
    done = prune("--config", tmp_path / "run.yaml")
    assert done.returncode == code, done.stderr
    assert len(done.stderr.splitlines()) == 1 and message in done.stderr, done.stderr


def test_what_the_command_line_got_wrong_is_not_laid_to_the_file(tmp_path):
    (tmp_path / "run.yaml").write_text(RECIPE)
    done = prune("--config", tmp_path / "run.yaml", "--cut", "many")
    assert done.returncode == 2 and done.stderr.startswith("streamline: --cut takes"), done.stderr


@pytest.mark.parametrize("command", ["prune", "heal", "eval", "compare", "chip cache", "chip train", "chip select", "chip eval",
                                     "chip export", "chip run"])
def test_help_tells_of_recipes(command):
    assert "--config" in subprocess.run([PROGRAM, *command.split(), "--help"], capture_output=True, text=True).stdout


def test_the_file_must_be_there_and_only_once(tmp_path):
    assert "missing" in prune("--config").stderr
    done = prune("--config", tmp_path / "none.yaml")
    assert done.returncode == 1 and "none.yaml" in done.stderr
    assert "given twice" in prune("--config", "a", "--config=b").stderr
