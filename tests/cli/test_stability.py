# SPDX-License-Identifier: Apache-2.0
"""`streamline stability` on results made by hand, in each of the three formats."""

import json
import math

import pytest
from program import run, run_json

# Check 14 of the method's specification: mean NLLs of two choices a question, the first of which is right. Questions 0
# and 2 stay on their side. By hand: 0.443409; the released script prints the first two weights, 0.377541.
A = [[1, 3], [2, 2], [1, 2], [4, 1]]
B = [[1, 3], [2, 1], [0.5, 2], [1, 4]]
GOLDS = [0, 0, 0, 0]
RIGHT, PUBLISHED = 0.443409, 0.377541
TOKENS = 8


def answers(folder, name, scores, golds=GOLDS, style="opencompass", group=None, ids=None):
    """Our own file of answers. Scores are mean NLLs over TOKENS tokens; under lm-eval, sums."""
    factor = TOKENS if style == "opencompass" else 1
    path = folder / "answers" / style / f"{name}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    header = {"format": "streamline-answers", "version": 1, "name": name, "group": group or name, "style": style,
              "rule": "choices", "metrics": ["acc"], "labels": ["A", "B"], "shots": 0, "items_in_data": len(scores),
              "source": "made by hand", "digest": "", "items": len(scores), "key": {}}
    lines = [header]
    for i, (row, gold) in enumerate(zip(scores, golds)):
        lines.append({"id": ids[i] if ids else str(i), "gold": gold, "log_likelihoods": [-factor * x for x in row],
                      "tokens": [TOKENS] * len(row), "characters": [], "greedy": []})
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def predictions(folder, name, scores, golds=GOLDS, tokens=None):
    """OpenCompass's file of predictions."""
    folder.mkdir(parents=True, exist_ok=True)
    items = {}
    for i, (row, gold) in enumerate(zip(scores, golds)):
        item = {"in-context examples": "", "origin_prompt": "q"}
        for label, score in zip("AB", row):
            item[f"label: {label}"] = {"testing input": "text", "prompt": "text", "PPL": score}
            if tokens:
                item[f"label: {label}"]["BPB"] = score * tokens / len("text")
        items[str(i)] = item | {"prediction": "AB"[row.index(min(row))], "gold": "AB"[gold]}
    (folder / f"{name}.json").write_text(json.dumps(items, indent=4))
    return folder


def samples(folder, task, scores, golds=GOLDS):
    """The harness's file of samples; scores are summed NLLs."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"samples_{task}_2026-01-01T00-00-00.000000.jsonl", "w") as out:
        for i, (row, gold) in enumerate(zip(scores, golds)):
            responses = [[str(float(-score)), "False"] for score in row]
            acc = float(row.index(min(row)) == gold)
            out.write(json.dumps({"doc_id": i, "doc": {}, "target": str(gold), "arguments": {},
                                  "resps": [[response] for response in responses], "filtered_resps": responses,
                                  "filter": "none", "metrics": ["acc"], "acc": acc}) + "\n")
    return folder


@pytest.mark.parametrize("make", [answers, predictions, samples])
def test_every_format_gives_the_value_computed_by_hand(tmp_path, make):
    a, b = make(tmp_path / "a", "piqa", A), make(tmp_path / "b", "piqa", B)
    found = run_json("stability", a, b, "--bootstrap", 200, "--seed", 3)
    row = found["benchmarks"][0]
    assert row["name"] == "piqa" and row["questions"] == 4
    assert row["stability"] == pytest.approx(RIGHT, abs=1e-6)
    assert found["average"]["stability"] == row["stability"]
    assert row["stability_interval"][0] <= row["stability"] <= row["stability_interval"][1]
    assert (row["both_right"], row["right_to_wrong"], row["wrong_to_right"], row["both_wrong"]) == (2, 1, 1, 0)
    assert row["agreement"] == 0.5 and row["accuracy_a"] == row["accuracy_b"] == 0.75
    assert row["relative_performance"] == 1 and row["mcnemar_p"] == 1
    assert "stability_as_published" not in row and "as_published" not in found
    assert found["run"]["seed"] == 3 and "stability" in found["run"]["command"]
    expected = {answers: "OpenCompass", predictions: "OpenCompass", samples: "NLL of the answer"}[make]
    assert expected in found["score"]


def test_files_are_taken_like_folders(tmp_path):
    a, b = samples(tmp_path / "a", "piqa", A), samples(tmp_path / "b", "piqa", B)
    files = [next(folder.glob("*.jsonl")) for folder in (a, b)]
    assert run_json("stability", *files)["average"]["stability"] == pytest.approx(RIGHT, abs=1e-6)


def test_the_published_arithmetic_is_shown_beside_and_named(tmp_path):
    a, b = answers(tmp_path / "a", "piqa", A), answers(tmp_path / "b", "piqa", B)
    found = run_json("stability", a, b, "--as-published")
    assert found["average"]["stability_as_published"] == pytest.approx(PUBLISHED, abs=1e-6)
    assert found["average"]["stability"] == pytest.approx(RIGHT, abs=1e-6)
    assert "script released with the paper" in found["as_published"]
    text = run("stability", a, b, "--as-published").stdout
    assert "37.75" in text and "44.34" in text and "script released with the paper" in text
    assert "published" not in run("stability", a, b).stdout


def test_subjects_are_averaged_before_benchmarks(tmp_path):
    for folder, piqa, subject in (("a", A, [[1, 2]]), ("b", B, [[2, 1]])):
        answers(tmp_path / folder, "piqa", piqa)
        answers(tmp_path / folder, "mmlu_x", subject, [0], group="mmlu")
        answers(tmp_path / folder, "mmlu_y", [[1, 2]] * 9, [0] * 9, group="mmlu")
    found = run_json("stability", tmp_path / "a", tmp_path / "b")
    rows = {row["name"]: row for row in found["benchmarks"]}
    assert rows["mmlu"]["stability"] == 0.5 and rows["mmlu"]["sets"] == 2 and rows["mmlu"]["questions"] == 10
    assert found["average"]["stability"] == pytest.approx((0.5 + RIGHT) / 2, abs=1e-6)
    # Accuracies 1 and 0.5 of mmlu, 0.75 and 0.75 of piqa.
    assert found["average"]["relative_performance"] == pytest.approx(1.25 / 1.75)
    only = run_json("stability", tmp_path / "a", tmp_path / "b", "--tasks", "mmlu")
    assert [row["name"] for row in only["benchmarks"]] == ["mmlu"] and len(only["sets"]) == 2
    table = run("stability", tmp_path / "a", tmp_path / "b").stdout
    assert all(word in table for word in ("mmlu", "piqa", "average", "75.00", "50.00"))


def test_the_score_is_chosen_and_named(tmp_path):
    a, b = (predictions(tmp_path / name, "piqa", scores, tokens=TOKENS) for name, scores in (("a", A), ("b", B)))
    means = [[x * TOKENS / (TOKENS - 1) for x in row] for row in A]
    for score, change, title in (("mean-nll", float, "mean NLL of the whole text"),
                                 ("perplexity", math.exp, "perplexity of the whole text")):
        spreads = [abs(change(row[0]) - change(row[1])) / 2 for row in means]
        weights = [math.exp(spread - max(spreads)) for spread in spreads]
        found = run_json("stability", a, b, "--score", score)
        assert found["average"]["stability"] == pytest.approx((weights[0] + weights[2]) / sum(weights), rel=1e-9)
        assert found["score"] == title
    failed = run("stability", a, b, "--score", "answer-nll")
    assert failed.returncode == 1 and "no answers of the style lm-eval" in failed.stderr
    bare = predictions(tmp_path / "bare", "piqa", A)
    failed = run("stability", bare, bare, "--score", "perplexity")
    assert failed.returncode == 1 and "number of tokens" in failed.stderr and "opencompass-nll" in failed.stderr


def test_the_style_follows_from_the_tasks_that_are_asked_for(tmp_path):
    for folder in ("a", "b"):
        answers(tmp_path / folder, "piqa", A)
        answers(tmp_path / folder, "copa", A, style="lm-eval")
    found = run_json("stability", tmp_path / "a", tmp_path / "b", "--tasks", "copa")
    assert [row["name"] for row in found["benchmarks"]] == ["copa"] and found["score"] == "mean NLL of the answer"
    assert [row["name"] for row in run_json("stability", tmp_path / "a", tmp_path / "b")["benchmarks"]] == ["piqa"]


def test_weights_that_rest_on_few_questions_are_told(tmp_path):
    a = answers(tmp_path / "a", "piqa", [[0, 60]] + [[1, 2]] * 9, [0] * 10, style="lm-eval")
    told = run("stability", a, a, "--score", "answer-nll")
    assert "about 1 of 10 questions" in told.stderr and "--score mean-nll" in told.stderr
    found = run_json("stability", a, a, "--score", "answer-nll")["benchmarks"][0]
    assert found["effective_questions"] == pytest.approx(1)
    even = answers(tmp_path / "even", "piqa", [[1, 2]] * 10, [0] * 10, style="lm-eval")
    assert "questions" not in run("stability", even, even).stderr


def test_the_interval_of_the_difference_says_what_p_says(tmp_path):
    a = answers(tmp_path / "a", "piqa", [[1, 2]] * 10, [0] * 10)
    for changed, certain in ((5, False), (6, True)):  # p = 0.0625, 0.03125
        b = answers(tmp_path / f"b{changed}", "piqa", [[2, 1]] * changed + [[1, 2]] * (10 - changed), [0] * 10)
        row = run_json("stability", a, b)["benchmarks"][0]
        assert (row["mcnemar_p"] < 0.05) == certain == (row["difference_interval"][1] < 0)


def test_a_model_is_stable_against_itself_whatever_the_seed(tmp_path):
    a = answers(tmp_path / "a", "piqa", A)
    row = run_json("stability", a, a, "--seed", 9)["average"]
    assert row["stability"] == 1 and row["stability_interval"] == pytest.approx([1, 1], abs=1e-12)


def test_the_order_of_questions_does_not_matter(tmp_path):
    a = answers(tmp_path / "a", "piqa", A)
    b = answers(tmp_path / "b", "piqa", B[::-1], ids=["3", "2", "1", "0"])
    assert run_json("stability", a, b)["average"]["stability"] == pytest.approx(RIGHT, abs=1e-6)


def test_other_questions_are_an_error_that_lists_the_difference(tmp_path):
    a = answers(tmp_path / "a", "piqa", A)

    def error(folder):
        failed = run("stability", a, folder)
        assert failed.returncode == 1 and failed.stdout == "" and failed.stderr.count("\n") == 1
        return failed.stderr

    assert "1 only in" in error(answers(tmp_path / "few", "piqa", B[:3])) and "(3)" in error(tmp_path / "few")
    message = error(answers(tmp_path / "ids", "piqa", B, ids=["0", "1", "x", "y"]))
    assert f"2 only in {a} (2, 3); 2 only in {tmp_path / 'ids'} (x, y)" in message
    assert "1 with another right answer (2)" in error(answers(tmp_path / "gold", "piqa", B, [0, 0, 1, 0]))
    assert "another number of choices (0)" in error(answers(tmp_path / "more", "piqa", [[1, 3, 5]] + B[1:]))
    assert "only in" in error(answers(tmp_path / "other", "copa", B))
    assert "cannot be compared" in error(answers(tmp_path / "style", "piqa", B, style="lm-eval"))


def test_bad_results_and_words_are_one_line(tmp_path):
    a = answers(tmp_path / "a", "piqa", A)
    (tmp_path / "empty").mkdir()
    for results, words in ((tmp_path / "empty", "no results there"), (tmp_path / "missing", "no such file or folder")):
        failed = run("stability", a, results)
        assert failed.returncode == 1 and words in failed.stderr
    path = a / "answers" / "opencompass" / "piqa.jsonl"
    path.write_text(path.read_text().replace('"gold": 0', '"gold": 7', 1))
    failed = run("stability", a, a)
    assert failed.returncode == 1 and "piqa.jsonl:2: 'gold' is 7" in failed.stderr
    assert run("stability", a).returncode == 2
    assert run("stability", a, a, "--score", "ppl").returncode == 2
    b = answers(tmp_path / "b", "piqa", B)
    failed = run("stability", b, b, "--tasks", "copa")
    assert failed.returncode == 2 and "copa" in failed.stderr
