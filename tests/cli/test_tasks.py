# SPDX-License-Identifier: Apache-2.0
"""Benchmarks as a user calls them, on the shipped model and questions made of its own text."""

import json
import re

import pytest
from own_task import QUESTIONS, TASK, asked
from program import BOOKS, CALIBRATION, ROOT, VALID, run, run_json


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


def test_several_benchmarks_have_a_mean(questions, tmp_path):
    other = tmp_path / "other_order.yaml"
    other.write_text(TASK.replace("name: sentence_order", "name: other_order"))
    tasks = f"{questions / 'sentence_order.yaml'},{other}"
    words = ["eval", BOOKS, "--tasks", tasks, "--data-dir", questions, "--dtype", "float32", "--limit", 8]
    *_, one, two, mean = run(*words).stdout.splitlines()
    assert one.split()[0] == "sentence_order" and two.split()[0] == "other_order" and mean.split()[0] == "mean"
    assert mean.split()[1] == one.split()[3] == two.split()[3]  # the same questions
    assert "mean" not in run("eval", BOOKS, *asked(questions, "--limit", 8)).stdout


def test_a_mean_is_over_the_benchmarks_that_have_the_figure(questions, tmp_path):
    other = tmp_path / "other_order.yaml"
    other.write_text(TASK.replace("name: sentence_order", "name: other_order").replace("[acc, acc_norm]", "[acc]"))
    tasks = f"{questions / 'sentence_order.yaml'},{other}"
    words = ["eval", BOOKS, "--tasks", tasks, "--data-dir", questions, "--dtype", "float32", "--limit", 8]
    one, two, mean = (re.split(r"\s{2,}", line.strip()) for line in run(*words).stdout.splitlines()[-3:])
    assert one[0] == "sentence_order" and two[0] == "other_order" and two[-1] == "-" and mean[0] == "mean"
    (gate,) = run_json(*words, "--gate", "acc_norm>=0")["gates"]
    assert mean[-1].split()[0] == one[-1].split()[0] == f"{gate['value'] * 100:.2f}"


def test_finished_sets_are_not_asked_again(questions, tmp_path):
    arguments = ["eval", BOOKS, *asked(questions, "--out", tmp_path / "results")]
    first = run(*arguments)
    again = run(*arguments)
    assert "answers are in" in again.stderr and again.stdout == first.stdout
    shorter = run(*arguments, "--limit", 5)  # other questions: another key
    assert "answers are in" not in shorter.stderr and shorter.returncode == 0


def test_another_models_answers_are_not_overwritten(questions, other_model, tmp_path):
    arguments = ["eval", BOOKS, *asked(questions, "--out", tmp_path / "results")]
    text = ["--perplexity", VALID, "--window", 128, "--max-windows", 2]
    assert run(*arguments, *text).returncode == 0
    kept = [tmp_path / "results/answers/lm-eval/sentence_order.jsonl", *(tmp_path / "results/perplexity").glob("*.json")]
    before = [path.read_bytes() for path in kept]
    for more in ([], text):
        refused = run(*arguments, *more, "--plan", other_model)
        assert refused.returncode == 1 and refused.stdout == "" and refused.stderr.count("\n") == 1
        assert "another model" in refused.stderr and "--overwrite" in refused.stderr and "--out" in refused.stderr
    assert len(kept) == 2 and [path.read_bytes() for path in kept] == before
    assert run(*arguments, *text, "--plan", other_model, "--overwrite").returncode == 0
    assert all(path.read_bytes() != old for path, old in zip(kept, before))


def test_damaged_results_say_what_to_do(questions, tmp_path):
    arguments = ["eval", BOOKS, *asked(questions, "--out", tmp_path / "results", "--perplexity", VALID, "--window", 128, "--max-windows", 2)]
    whole = run(*arguments)
    for path in (tmp_path / "results/answers/lm-eval/sentence_order.jsonl", *(tmp_path / "results/perplexity").glob("*.json")):
        path.write_text(path.read_text()[:-40])
        failed = run(*arguments)
        assert failed.returncode == 1 and path.name in failed.stderr and "delete this file" in failed.stderr
        assert run(*arguments, "--overwrite").stdout == whole.stdout


def test_finished_perplexities_are_not_measured_again(tmp_path):
    arguments = ["eval", BOOKS, "--perplexity", VALID, "--window", 128, "--max-windows", 4, "--out", tmp_path / "results"]
    first, again = run(*arguments), run(*arguments)
    assert "is in" in again.stderr and again.stdout == first.stdout
    for other in (["--bos", "off"], ["--stride", 64], ["--source", BOOKS]):
        fresh = run(*arguments, *other)
        assert fresh.returncode == 0 and "is in" not in fresh.stderr


def test_a_set_of_a_task_may_be_asked_alone(questions, tmp_path):
    lines = [json.loads(line) for line in (questions / "sentence_order.jsonl").read_text().splitlines()]
    for number, line in enumerate(lines):
        line["subject"] = ["art", "law", "zoo"][number % 3]
    (tmp_path / "order.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "order.yaml").write_text(TASK.replace("sentence_order", "order") + "split: subject\n")
    arguments = ["eval", BOOKS, "--task-dir", tmp_path, "--data-dir", tmp_path, "--dtype", "float32", "--out", tmp_path / "r", "--tasks"]
    table = run(*arguments, "order_law").stdout
    assert "order_law" in table and "sets" not in table and "16" in table
    two = run_json(*arguments, "order_law, order_zoo")
    assert list(two["tasks"]) == ["order_law", "order_zoo"] and two["groups"]["order"]["sets"] == 2
    everything = run(*arguments, "order")
    assert "order (3 sets)" in everything.stdout and everything.stderr.count("answers are in") == 2
    unknown = run(*arguments, "order_sea")
    assert unknown.returncode == 2 and "no set 'order_sea' (order_art, order_law, order_zoo)" in unknown.stderr
    gate = run(*arguments, "order_law", "--gate", "order_law.acc>=0.01")
    assert gate.returncode == 0 and "passed" in gate.stdout
    alone = run_json("stability", tmp_path / "r", tmp_path / "r", "--tasks", "order_law")
    assert [row["name"] for row in alone["benchmarks"]] == ["order_law"]


def test_how_many_questions_were_cut_is_said_again_for_kept_answers(questions, tmp_path):
    arguments = ["eval", BOOKS, *asked(questions, "--max-length", 60, "--out", tmp_path / "results")]
    first, again = run(*arguments), run(*arguments)
    [share] = re.findall(r"sentence_order: (\d+) of 48 questions \((\d+\.\d) %\)", first.stderr)
    assert 0 < int(share[0]) < 48 and share[1] == f"{int(share[0]) / 48:.1%}"[:-1]
    assert "answers are in" in again.stderr and f"{share[0]} of 48 questions" in again.stderr


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
    for gate, words in (("speed>=1", "no figure 'speed' of the model"), ("kl<=1.05x", "no figure 'kl' of the source"),
                        ("same_first_choice>=90", "not per cent; for 40 % write 0.4"), ("perplexity", "write NAME<=NUMBER"),
                        ("same_first_choice>=90%", "shares: 0.4, not 40 %")):
        refused = run(*arguments, "--gate", gate, "--out", tmp_path / "results")
        assert refused.returncode == 2 and words in refused.stderr and refused.stderr.count("\n") == 1
    assert not (tmp_path / "results").exists()  # nothing was measured
    alone = run("eval", BOOKS, "--perplexity", VALID, "--window", 128, "--max-windows", 4, "--gate", "perplexity<=1x")
    assert alone.returncode == 2 and "--source" in alone.stderr


def test_divergence_from_itself_is_none_and_several_texts_are_several_results():
    found = run_json("eval", BOOKS, "--perplexity", VALID, "--perplexity", CALIBRATION, "--window", 128, "--max-windows", 3, "--source", BOOKS,
                     "--dtype", "float32")
    assert len(found["perplexities"]) == 2 and found["perplexities"][0] == found["perplexity"]
    divergence = found["perplexity"]["divergence"]
    assert divergence["kl"]["value"] == 0 and divergence["same_first_choice"]["value"] == 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["eval", BOOKS], "nothing to measure"),
        (["eval", BOOKS, "--tasks", "piqa"], "--data-dir"),
        (["eval", BOOKS, "--tasks", "no_such_task", "--data-dir", ROOT], "no task 'no_such_task'"),
        (["eval", BOOKS, "--tasks", "piqa", "--data-dir", ROOT / "docs"], "piqa_val.jsonl"),
        (["eval", BOOKS, "--tasks", "piqa", "--data-dir", ROOT, "--limit", 0], "--limit takes an integer, 1 or more; got '0'"),
        (["eval", BOOKS, "--tasks", "no_such_a , no_such_b", "--data-dir", ROOT], "no task 'no_such_a' ("),
        (["eval", BOOKS, "--tasks", "piqa, ,copa", "--data-dir", ROOT], "--tasks takes names with commas between them; one is empty"),
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


def test_examples_in_one_form_come_from_the_training_file(tmp_path):
    def rows(count):
        return "".join(json.dumps({"id": f"q{i}", "context": f"To open door {i},", "choices": ["pull", "push it"], "label": i % 2}) + "\n"
                       for i in range(count))

    (tmp_path / "piqa_val.jsonl").write_text(rows(3))
    arguments = ["eval", BOOKS, "--tasks", "piqa", "--data-dir", tmp_path, "--num-fewshot", 2]
    missing = run(*arguments)
    assert missing.returncode == 1 and "piqa_train.jsonl: no such file" in missing.stderr
    (tmp_path / "piqa_train.jsonl").write_text(rows(9))
    assert run_json(*arguments)["tasks"]["piqa"]["shots"] == 2


def test_layers_are_chosen_by_what_accuracy_they_are_worth(questions):
    words = ["prune", BOOKS, "--data", CALIBRATION, "--seq-len", 128, "--samples", 2, "--method", "shapley", "--game",
             "accuracy", "--layers", 2, "--plan-only"]
    found = run_json(*words, *asked(questions, "--limit", 8))["plan"]["scores"]["estimates"]
    assert found["items"] == 1 and found["evaluations"] == 13 and len(found["units"]) == 12
    assert sum(unit["value"] for unit in found["units"]) == pytest.approx(found["none"] - found["whole"], abs=1e-9)
    assert found["whole"] <= found["none"] <= 1
    assert "--data-dir" in run(*words, "--tasks", questions / "sentence_order.yaml").stderr
    assert "needs --tasks" in run(*words).stderr
