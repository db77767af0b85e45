# SPDX-License-Identifier: Apache-2.0
"""Benchmarks and comparisons as a user calls them, on the shipped model and questions made of its own text."""

import csv
import json
import random
import re

import pytest
from program import BOOKS, CALIBRATION, ROOT, VALID, run, run_json

QUESTIONS = 48
TASK = """
name: sentence_order
about: The true end of a passage, or the same words backwards.
items: 48
sources:
  - file: sentence_order.jsonl
lm-eval:
  context: "{{context}}"
  metrics: [acc, acc_norm]
opencompass:
  text: "{{context}} {{choice}}"
"""


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


def asked(questions, *arguments):
    return ["--tasks", questions / "sentence_order.yaml", "--data-dir", questions, "--dtype", "float32", *arguments]


def test_a_users_own_task_is_won_and_its_answers_are_kept(questions, tmp_path):
    found = run_json("eval", BOOKS, *asked(questions, "--out", tmp_path / "results"))
    task = found["tasks"]["sentence_order"]
    assert task["items"] == QUESTIONS and task["acc"]["value"] > 0.9
    lines = (tmp_path / "results/answers/lm-eval/sentence_order.jsonl").read_text().splitlines()
    assert len(lines) == 1 + QUESTIONS
    samples = list((tmp_path / "results/lm-eval").glob("*/samples_sentence_order_*.jsonl"))
    assert len(samples) == 1 and len(samples[0].read_text().splitlines()) == QUESTIONS
    results = json.loads(next((tmp_path / "results/lm-eval").glob("*/results_*.json")).read_text())
    assert results["results"]["sentence_order"]["acc,none"] == task["acc"]["value"]


def test_finished_sets_are_not_asked_again(questions, tmp_path):
    arguments = ["eval", BOOKS, *asked(questions, "--out", tmp_path / "results")]
    first = run(*arguments)
    again = run(*arguments)
    assert "answers are in" in again.stderr and again.stdout == first.stdout
    shorter = run(*arguments, "--limit", 5)  # other questions: another key
    assert "answers are in" not in shorter.stderr and shorter.returncode == 0


def test_questions_that_are_put_otherwise_are_asked_again(questions, tmp_path):
    (tmp_path / "sentence_order.yaml").write_text(TASK.replace('"{{context}}"', '"Text: {{context}}"'), encoding="utf-8")
    arguments = ["eval", BOOKS, "--data-dir", questions, "--dtype", "float32", "--out", tmp_path / "results", "--tasks"]
    first = run(*arguments, questions / "sentence_order.yaml")
    other = run(*arguments, tmp_path / "sentence_order.yaml")
    assert first.returncode == other.returncode == 0 and "answers are in" not in other.stderr


def test_opencompass_scores_whole_texts(questions, tmp_path):
    found = run_json("eval", BOOKS, *asked(questions, "--style", "opencompass", "--out", tmp_path / "results"))
    assert found["tasks"]["sentence_order"]["acc"]["value"] > 0.9
    [file] = (tmp_path / "results/opencompass/predictions").glob("*/*.json")
    predictions = json.loads(file.read_text())
    assert len(predictions) == QUESTIONS and {"prediction", "gold"} <= predictions["0"].keys()


def test_a_model_of_random_weights_guesses(questions, tmp_path):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(5)
    config = transformers.LlamaConfig(
        vocab_size=4096, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4
    )
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "random")
    for path in BOOKS.glob("tokenizer*"):
        (tmp_path / "random" / path.name).symlink_to(path)
    task = run_json("eval", tmp_path / "random", *asked(questions))["tasks"]["sentence_order"]
    assert abs(task["acc"]["value"] - 0.5) < 3.5 * (0.25 / QUESTIONS) ** 0.5


def test_stability_of_two_runs_on_the_same_questions(questions, tmp_path):
    run_json("prune", BOOKS, "--data", CALIBRATION, "--cut", 6, "--replace", "none", "--out", tmp_path / "cut", "--no-speed",
             "--seq-len", 128, "--samples", 4, "--eval-windows", 2)
    for name, model in (("whole", BOOKS), ("cut", tmp_path / "cut")):
        run_json("eval", model, *asked(questions, "--out", tmp_path / name))
    found = run_json("stability", tmp_path / "whole", tmp_path / "cut")
    assert 0 <= found["average"]["stability"] <= 1 and found["average"]["questions"] == QUESTIONS
    assert run_json("stability", tmp_path / "whole", tmp_path / "whole")["average"]["stability"] == pytest.approx(1)


def test_gates_decide_the_exit_status(tmp_path):
    arguments = ["eval", BOOKS, "--perplexity", VALID, "--window", 128, "--max-windows", 4, "--source", BOOKS]
    passed = run(*arguments, "--gate", "perplexity<=1.05x", "--gate", "kl<=0.1")
    assert passed.returncode == 0 and passed.stdout.count("passed --gate") == 2
    failed = run(*arguments, "--gate", "perplexity<=1.05x", "--gate", "perplexity<10")
    assert failed.returncode == 3 and "FAILED --gate 'perplexity<10'" in failed.stdout
    unknown = run(*arguments, "--gate", "speed>=1")
    assert unknown.returncode == 2 and "no figure 'speed'" in unknown.stderr
    assert run(*arguments, "--gate", "perplexity").returncode == 2
    alone = run("eval", BOOKS, "--perplexity", VALID, "--window", 128, "--max-windows", 4, "--gate", "perplexity<=1x")
    assert alone.returncode == 2 and "--source" in alone.stderr


def test_divergence_from_itself_is_none_and_several_texts_are_several_results():
    found = run_json("eval", BOOKS, "--perplexity", VALID, "--perplexity", CALIBRATION, "--window", 128, "--max-windows", 3, "--source", BOOKS,
                     "--dtype", "float32")
    assert len(found["perplexities"]) == 2 and found["perplexities"][0] == found["perplexity"]
    divergence = found["perplexity"]["divergence"]
    assert divergence["kl"]["value"] == 0 and divergence["same_first_choice"]["value"] == 1


def test_compare_sweeps_methods_and_sizes_without_writing_models(questions, tmp_path):
    found = run_json("compare", BOOKS, "--methods", "llm-streamline", "--layers", "2,6", "--data", CALIBRATION, "--seq-len", 128,
                     "--samples", 4, "--perplexity", VALID, "--window", 128, "--max-windows", 4, *asked(questions),
                     "--prompt", "The old", "--prompt-tokens", 4, "--no-speed", "--html", tmp_path / "page.html",
                     "--csv", tmp_path / "table.csv", "--markdown", tmp_path / "table.md")
    models = found["models"]
    assert [model["layers"] for model in models] == [12, 10, 6]
    assert models[0]["perplexity"]["value"] < models[1]["perplexity"]["value"] < models[2]["perplexity"]["value"]
    assert 0 < models[1]["perplexity"]["divergence"]["kl"]["value"] < models[2]["perplexity"]["divergence"]["kl"]["value"]
    assert models[2]["pareto"] == {"parameters": True}  # the smallest; no speed was measured
    assert models[1]["against_source"]["average"]["questions"] == QUESTIONS
    assert all(model["samples"][0]["prompt"] == "The old" for model in models)
    page = (tmp_path / "page.html").read_text()
    assert page.rstrip().endswith("</html>") and "llm-streamline -6 layers" in page
    rows = list(csv.DictReader((tmp_path / "table.csv").open(newline="")))
    assert [float(row["perplexity.value"]) for row in rows] == [model["perplexity"]["value"] for model in models]
    assert (tmp_path / "table.md").read_text().count("\n| ") == 4


def test_compare_looks_through_plans(tmp_path):
    plan = run("prune", BOOKS, "--data", CALIBRATION, "--cut", 3, "--replace", "none", "--plan-only", "--seq-len", 128, "--samples", 4)
    (tmp_path / "three.json").write_text(plan.stdout)
    found = run_json("compare", BOOKS, "--plan", tmp_path / "three.json", "--perplexity", VALID, "--window", 128,
                     "--max-windows", 2, "--no-speed")
    assert [model["name"] for model in found["models"]] == ["books-5m", "three.json"]
    assert found["models"][1]["layers"] == 9


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["eval", BOOKS], "nothing to measure"),
        (["eval", BOOKS, "--tasks", "piqa"], "--data-dir"),
        (["eval", BOOKS, "--tasks", "no_such_task", "--data-dir", ROOT], "no task 'no_such_task'"),
        (["eval", BOOKS, "--tasks", "piqa", "--data-dir", ROOT / "docs"], "piqa_val.jsonl"),
        (["compare", BOOKS, "--perplexity", VALID], "one model alone"),
        (["compare", BOOKS, "--perplexity", VALID, "--methods", "all"], "--layers"),
        (["compare", BOOKS, "--perplexity", VALID, "--methods", "all", "--layers", "x", "--data", CALIBRATION], "--layers x"),
    ],
)
def test_what_cannot_be_measured_is_one_clear_line(arguments, message):
    result = run(*arguments)
    assert result.returncode in (1, 2) and message in result.stderr
    assert result.stderr.count("\n") == 1 and result.stdout == ""


def test_malformed_questions_are_reported_with_their_line(questions, tmp_path):
    lines = (questions / "sentence_order.jsonl").read_text().splitlines()
    lines[6] = '{"id": "broken", "context": "x"'
    (tmp_path / "sentence_order.jsonl").write_text("\n".join(lines) + "\n")
    result = run("eval", BOOKS, "--tasks", questions / "sentence_order.yaml", "--data-dir", tmp_path)
    assert result.returncode == 0 and "sentence_order.jsonl:7" in result.stderr
