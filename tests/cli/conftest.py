# SPDX-License-Identifier: Apache-2.0
"""What several files of tests make once each."""

import json
import random
import re

import pytest
from own_task import QUESTIONS, TASK
from program import BOOKS, CALIBRATION, VALID, run


@pytest.fixture(scope="module")
def questions(tmp_path_factory):
    """A folder with a task of a user's own and its data: the model has read such books, so it must win."""
    folder = tmp_path_factory.mktemp("tasks")
    words = re.sub(r"\s+", " ", VALID.read_text(encoding="utf-8")).split(" ")
    draw = random.Random(1)
    lines = []
    for number in range(QUESTIONS):
        start = draw.randrange(len(words) - 40)
        passage, end = words[start : start + 24], words[start + 24 : start + 34]
        label = draw.randrange(2)
        choices = [" ".join(end), " ".join(reversed(end))]
        lines.append(
            {"id": f"q{number}", "context": " ".join(passage), "choices": choices if label == 0 else choices[::-1], "label": label}
        )
    (folder / "sentence_order.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (folder / "sentence_order.yaml").write_text(TASK, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def other_model(tmp_path_factory):
    """A plan that makes the shipped model another one."""
    plan = run("prune", BOOKS, "--data", CALIBRATION, "--cut", 3, "--replace", "none", "--plan-only", "--seq-len", 128, "--samples", 4)
    path = tmp_path_factory.mktemp("plan") / "three.json"
    path.write_text(plan.stdout)
    return path
