# SPDX-License-Identifier: Apache-2.0
"""What `streamline prune` writes with each registered method loads in transformers and computes the same there."""

import json
import os
import pathlib
import re
import subprocess

import pytest
from results import streamline
from test_checkpoints import check_logits

ROOT = pathlib.Path(__file__).parents[2]
BOOKS = ROOT / "models" / "books-5m"
TEXT = ROOT / "models" / "text"
NARROWING = {"magnitude-structured": [], "wanda-sp": [], "flap": [], "taylor": [], "random-structured": [],
             "mini-llm": ["--probes", 4], "policy-gradient": ["--steps", 2, "--batch", 2, "--length", 32]}
METHODS = [name.replace("_", "-") for name in
           re.findall(r"^METHOD\((\w+)\)", (ROOT / "src/streamline/prune/methods.def").read_text(), re.MULTILINE)]


def test_the_list_is_that_of_the_program():
    listed = subprocess.run([os.environ["STREAMLINE_PROGRAM"], "list", "--json"], capture_output=True, check=True).stdout
    assert [method["name"] for method in json.loads(listed)["methods"]] == METHODS


@pytest.mark.parametrize("method", METHODS)
def test_results_load_in_transformers(tmp_path, caplog, method):
    out = tmp_path / "out"
    size = ["--ratio", 0.5, *NARROWING[method]] if method in NARROWING else ["--layers", 2]
    streamline("prune", BOOKS, "--data", TEXT / "calibration.jsonl", "--eval", TEXT / "valid.txt", "--eval-windows", 1,
               "--seq-len", 64, "--samples", 4, "--no-speed", "--dtype", "float32", "--method", method, *size,
               "--replace", "none", "--out", out)
    report = json.loads((out / "report.json").read_text())
    assert report["choice"]["method"] == method
    source, cut = report["models"]
    model = check_logits(out, tmp_path, caplog)
    assert model.num_parameters() == cut["parameters"] <= source["parameters"]
    # A half that cannot be packed away is there and adds nothing.
    if any(segment["action"] == "drop" for segment in json.loads((out / "streamline/plan.json").read_text())["segments"]):
        assert model.num_parameters() < source["parameters"]
