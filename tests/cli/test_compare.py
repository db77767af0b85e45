# SPDX-License-Identifier: Apache-2.0
"""Comparisons of several models as a user calls them."""

import csv
import json

import pytest
from own_task import QUESTIONS, asked
from program import BOOKS, CALIBRATION, VALID, run, run_json


def test_compare_sweeps_methods_and_sizes_without_writing_models(questions, tmp_path):
    found = run_json("compare", BOOKS, "--methods", "llm-streamline", "--layers", "2,6", "--data", CALIBRATION, "--seq-len", 128,
                     "--samples", 4, "--perplexity", VALID, "--window", 128, "--max-windows", 4, *asked(questions),
                     "--prompt", "The old, old", "--prompt-tokens", 4, "--no-speed", "--html", tmp_path / "page.html",
                     "--csv", tmp_path / "table.csv", "--markdown", tmp_path / "table.md")
    models = found["models"]
    assert [model["layers"] for model in models] == [12, 10, 6]
    assert models[0]["perplexity"]["value"] < models[1]["perplexity"]["value"] < models[2]["perplexity"]["value"]
    assert 0 < models[1]["perplexity"]["divergence"]["kl"]["value"] < models[2]["perplexity"]["divergence"]["kl"]["value"]
    assert models[2]["pareto"] == {"parameters": True}  # the smallest; no speed was measured
    assert models[1]["against_source"]["average"]["questions"] == QUESTIONS
    assert all(model["samples"][0]["prompt"] == "The old, old" for model in models)
    page = (tmp_path / "page.html").read_text()
    assert page.rstrip().endswith("</html>") and "llm-streamline -6 layers" in page
    rows = list(csv.DictReader((tmp_path / "table.csv").open(newline="")))
    assert [float(row["perplexity.value"]) for row in rows] == [model["perplexity"]["value"] for model in models]
    assert (tmp_path / "table.md").read_text().count("\n| ") == 4
    assert [row["cut"] for row in rows] == ["", models[1]["cut"], models[2]["cut"]] and models[1]["cut"].startswith("dropped layer")
    assert models[1]["cut"].split(" (of")[0] in page and "48 questions" in page


def test_compare_looks_through_plans(other_model):
    found = run_json("compare", BOOKS, "--plan", other_model, "--perplexity", VALID, "--window", 128,
                     "--max-windows", 2, "--no-speed")
    assert [model["name"] for model in found["models"]] == ["books-5m", "three.json"]
    assert found["models"][1]["layers"] == 9


@pytest.mark.parametrize("folder", ["cut", "cut/streamline"])
def test_a_plan_that_is_called_plan_goes_by_its_folder(other_model, tmp_path, folder):
    (tmp_path / folder).mkdir(parents=True)
    plan = tmp_path / folder / "plan.json"
    plan.write_bytes(other_model.read_bytes())
    found = run_json("compare", BOOKS, "--plan", plan, "--perplexity", VALID, "--window", 64, "--max-windows", 2, "--no-speed")
    assert [model["name"] for model in found["models"]] == ["books-5m", "cut"]


def test_compare_tells_every_text_and_who_is_within_the_error_of_whom(other_model):
    words = ["compare", BOOKS, BOOKS, "--plan", other_model, "--perplexity", VALID, "--perplexity", CALIBRATION, "--window", 128,
             "--max-windows", 8, "--no-speed"]
    table = run(*words).stdout
    assert "perplexity (valid.txt)" in table and f"perplexity ({CALIBRATION.name})" in table and "dropped layers" in table
    assert "Of those with *, within the error of each other:\n  books-5m and books-5m (2)\n" in table
    assert "Pareto, by perplexity" in table and "Perplexity on valid.txt: 1016 tokens scored in windows of 128, stride 128, " in table
    assert "± one standard error" in table and "memory" not in table
    models = run_json(*words)["models"]
    assert [model["alike"] for model in models] == [["books-5m (2)"], ["books-5m"], []]


def test_of_few_windows_no_verdict_is_given(other_model):
    words = ["compare", BOOKS, BOOKS, "--plan", other_model, "--perplexity", VALID, "--window", 64, "--max-windows", 7, "--no-speed"]
    table = run(*words).stdout
    assert "7 windows of text are too few to tell whether perplexities differ by more than chance" in table
    assert "within the error" not in table and all(model["alike"] == [] for model in run_json(*words)["models"])


def test_one_window_tells_no_error_and_no_noise():
    words = ["compare", BOOKS, BOOKS, "--methods", "alpha", "--layers", 2, "--data", CALIBRATION, "--seq-len", 64, "--samples", 2,
             "--perplexity", VALID, "--window", 128, "--max-windows", 1, "--no-speed"]
    table = run(*words).stdout
    assert "~" not in table and "within the error" not in table
    models = run_json(*words)["models"]
    assert all(model["perplexity"]["standard_error"] is None and model["alike"] == [] for model in models)
    assert models[2]["perplexity"]["divergence"]["log_perplexity_ratio"]["standard_error"] is None


def test_sizes_are_those_of_the_form_that_would_be_written(tmp_path):
    words = ["compare", BOOKS, "--methods", "attention-drop", "--data", CALIBRATION, "--seq-len", 64, "--samples", 2,
             "--perplexity", VALID, "--window", 64, "--max-windows", 2, "--no-speed", "--out", tmp_path / "kept"]
    source, ordinary = run_json(*words, "--layers", 2)["models"]
    bare = run_json(*words, "--layers", 2, "--format", "per-layer")["models"][1]
    assert bare["parameters"] < ordinary["parameters"] == source["parameters"]
    assert bare["perplexity"] == ordinary["perplexity"]
    refused = run(*words, "--budget", "params=0.97x")
    assert refused.returncode != 0 and "written as zeros" in refused.stderr
    assert run_json(*words, "--budget", "params=0.97x", "--format", "per-layer")["models"][1]["parameters"] <= 0.97 * source["parameters"]
    unknown = run(*words, "--layers", 2, "--format", "x")
    assert unknown.returncode == 2 and "per-layer" in unknown.stderr


def test_names_say_what_went():
    found = run_json("compare", BOOKS, "--methods", "mlp-drop,attention-drop,joint-drop,shortgpt", "--layers", 2, "--data", CALIBRATION,
                     "--seq-len", 64, "--samples", 2, "--perplexity", VALID, "--window", 64, "--max-windows", 2, "--no-speed")
    names = {model["method"]: model["name"] for model in found["models"][1:]}
    assert names["mlp-drop"] == "mlp-drop -2 MLPs" and names["attention-drop"] == "attention-drop -2 attentions"
    assert names["shortgpt"] == "shortgpt -2 layers" and names["joint-drop"].startswith("joint-drop -4 ")


def test_compare_goes_on_where_it_was(questions, other_model, tmp_path):
    words = ["compare", BOOKS, "--plan", other_model, "--perplexity", VALID, "--window", 128, "--max-windows", 2, "--no-speed",
             *asked(questions, "--limit", 8), "--out", tmp_path / "results"]
    figures = [{key: model[key] for key in ("perplexity", "tasks", "figures")} for model in run_json(*words)["models"]]
    again = run(*words, "--json")
    assert again.stderr.count("the perplexity on") == 2 and again.stderr.count("answers are in") == 2
    assert [{key: model[key] for key in figures[0]} for model in json.loads(again.stdout)["models"]] == figures
    # The source is read again for a model that is new.
    for path in (tmp_path / "results/three.json/perplexity").glob("*"):
        path.unlink()
    fresh = run(*words, "--json")
    assert fresh.stderr.count("the perplexity on") == 1
    assert [{key: model[key] for key in figures[0]} for model in json.loads(fresh.stdout)["models"]] == figures


@pytest.mark.parametrize("option", ["--html", "--csv", "--markdown"])
def test_compare_overwrites_nothing_unasked(option, tmp_path):
    path = tmp_path / "mine"
    path.write_text("mine")
    words = ["compare", BOOKS, BOOKS, "--perplexity", VALID, "--window", 64, "--max-windows", 2, "--no-speed", option, path]
    refused = run(*words)
    assert refused.returncode == 1 and "already exists" in refused.stderr and "--overwrite" in refused.stderr
    assert path.read_text() == "mine"
    assert run(*words, "--overwrite").returncode == 0 and "books-5m" in path.read_text()


def test_score_overwrites_nothing_unasked(tmp_path):
    path = tmp_path / "scores.json"
    words = ["score", BOOKS, "--data", CALIBRATION, "--seq-len", 64, "--samples", 2, "--out", path]
    assert run(*words).returncode == 0
    refused = run(*words)
    assert refused.returncode == 1 and "already exists" in refused.stderr
    assert run(*words, "--overwrite").returncode == 0


def test_compare_warns_on_the_page_of_questions_that_were_cut(questions, tmp_path):
    found = run_json("compare", BOOKS, BOOKS, *asked(questions, "--limit", 4, "--max-length", 40), "--no-speed", "--html", tmp_path / "page.html")
    [warning] = found["models"][1]["warnings"]
    assert warning.startswith("sentence_order: 4 of 4 questions (100.0 %) are longer than 40 tokens")
    assert f"<b><code>books-5m</code>, <code>books-5m (2)</code>:</b> {warning}" in (tmp_path / "page.html").read_text()


def test_compare_tells_how_far_the_text_moves_a_cut(tmp_path):
    words = ["compare", BOOKS, "--methods", "shortgpt,deepest", "--layers", 3, "--calibration", f"{CALIBRATION},{VALID}",
             "--seeds", 2, "--seq-len", 32, "--samples", 2, "--perplexity", VALID, "--window", 64, "--max-windows", 2,
             "--no-speed", "--html", tmp_path / "page.html", "--markdown", tmp_path / "table.md"]
    found = run_json(*words)
    shortgpt, deepest = found["calibration"]
    assert [(run["text"], run["seed"]) for run in shortgpt["runs"]] == [(path.name, seed) for path in (CALIBRATION, VALID)
                                                                       for seed in (0, 1)]
    assert deepest["distinct"] == 1 and deepest["overlap"] == 1  # it looks at no text
    assert shortgpt["distinct"] == len({run["cut"] for run in shortgpt["runs"]}) and 0 <= shortgpt["overlap"] <= 1
    # Equal cuts are measured once, and each run names its model.
    cuts = {model["name"]: model["cut"] for model in found["models"][1:]}
    assert len(cuts) == shortgpt["distinct"] + 1
    for entry in found["calibration"]:
        assert all(cuts[run["model"]] == run["cut"] for run in entry["runs"])
    assert "What the choice of text moves" in (tmp_path / "page.html").read_text()
    assert "| deepest | 3 | 4 | 1 | 100 |" in (tmp_path / "table.md").read_text()
    # Each draw is that of `prune --shuffle` with its seed.
    model = next(model for model in found["models"] if model["name"] == f"shortgpt -3 layers, {CALIBRATION.name} 0")
    digests = [run_json("prune", BOOKS, "--method", "shortgpt", "--layers", 3, "--data", CALIBRATION, "--seq-len", 32, "--samples", 2,
                        "--shuffle", "--seed", seed, "--replace", "none", "--plan-only")["plan"]["method"]["calibration_digest"]
               for seed in (0, 1)]
    assert model["plan"]["method"]["calibration_digest"] == digests[0] != digests[1]
    both = run("compare", BOOKS, "--methods", "shortgpt", "--layers", 3, "--calibration", VALID, "--data", VALID,
               "--perplexity", VALID)
    assert both.returncode == 2 and "one of the two" in both.stderr


def test_compare_heals_every_cut_alike():
    found = run_json("compare", BOOKS, "--methods", "shortgpt,joint-drop", "--layers", 3, "--data", CALIBRATION, "--seq-len", 64,
                     "--samples", 4, "--perplexity", VALID, "--window", 64, "--max-windows", 8, "--no-speed",
                     "--heal-tokens", 16384)
    models = {(model["method"], "healed" in model): model for model in found["models"][1:]}
    for method in ("shortgpt", "joint-drop"):
        cut, healed = models[method, False], models[method, True]
        assert healed["name"] == cut["name"] + ", healed"
        assert healed["parameters"] == cut["parameters"] and healed["plan"] == cut["plan"]
        assert healed["perplexity"]["value"] < cut["perplexity"]["value"]
        assert healed["healed"]["best_step"] > 0 and healed["healed"]["best_error"] < healed["healed"]["nothing_error"]
    read = [[models[method, True]["healed"][key] for key in ("tokens", "source")] for method in ("shortgpt", "joint-drop")]
    assert read[0] == read[1]


def test_fewer_sequences_a_step_heal_by_more_steps():
    words = ["compare", BOOKS, "--methods", "shortgpt", "--layers", 3, "--data", CALIBRATION, "--seq-len", 64, "--samples", 4,
             "--perplexity", VALID, "--window", 64, "--max-windows", 2, "--no-speed", "--heal-tokens", 4096]
    few, many = (run_json(*words, *batch)["models"][2]["healed"] for batch in ([], ["--heal-batch", 4]))
    assert [few["sequences_per_step"], many["sequences_per_step"]] == [16, 4] and few["tokens"] == many["tokens"] == 4096
    assert few["best_step"] <= 4 < many["best_step"] and many["best_error"] < few["best_error"]


def test_a_healing_that_learnt_nothing_is_told(tmp_path):
    """One step on a text of one word does not help with the end of it, which is a book."""
    (tmp_path / "text.txt").write_text("zq " * 3000 + VALID.read_text(encoding="utf-8")[-2600:], encoding="utf-8")
    words = ["compare", BOOKS, "--methods", "shortgpt", "--layers", 1, "--data", CALIBRATION, "--heal-data", tmp_path / "text.txt",
             "--seq-len", 32, "--samples", 2, "--perplexity", VALID, "--window", 32, "--max-windows", 1, "--no-speed",
             "--heal-tokens", 64, "--out", tmp_path / "kept"]
    for _ in range(2):  # the second time from what was kept
        _, cut, healed = run_json(*words)["models"]
        learnt = healed["healed"]["best_step"] > 0
        assert learnt == (healed["healed"]["best_error"] < healed["healed"]["nothing_error"])
        assert learnt or healed["perplexity"]["value"] == pytest.approx(cut["perplexity"]["value"], rel=1e-6)
        assert learnt != any("nothing was learnt" in warning for warning in healed.get("warnings", []))


def test_compare_measures_and_heals_equal_cuts_once_and_goes_on_from_its_choices(tmp_path):
    words = ["compare", BOOKS, "--methods", "shortgpt,iterative", "--layers", 1, "--data", CALIBRATION, "--seq-len", 128,
             "--samples", 4, "--perplexity", VALID, "--window", 128, "--max-windows", 2, "--no-speed", "--heal-tokens", 4096,
             "--out", tmp_path / "results", "--json"]
    first = run(*words)
    models = json.loads(first.stdout)["models"]
    source, shortgpt, shortgpt_healed, iterative, iterative_healed = models
    assert shortgpt["cut"] == iterative["cut"] and shortgpt["perplexity"] == iterative["perplexity"]
    assert shortgpt_healed["perplexity"] == iterative_healed["perplexity"] != shortgpt["perplexity"]
    assert first.stderr.count("healing shortgpt") == 1 and "healing iterative" not in first.stderr
    assert "iterative -1 layer, healed is the same as shortgpt -1 layer, healed" in first.stderr
    assert [model.get("same_as") for model in models] == [None, None, None, shortgpt["name"], shortgpt_healed["name"]]
    table = run(*words[:-1]).stdout
    assert "\nshortgpt, iterative · -1 layer, healed  " in table and "\niterative" not in table
    assert len(list((tmp_path / "results/choices").iterdir())) == 2
    again = run(*words)
    assert "healing" not in again.stderr and again.stderr.count("chose is in") == 2
    for before, after in zip(models, json.loads(again.stdout)["models"]):
        assert all(before.get(key) == after.get(key)
                   for key in ("name", "plan", "perplexity", "choosing_seconds", "parameters", "healed", "warnings"))
    # A choice that cannot be read is made again.
    for choice in (tmp_path / "results/choices").iterdir():
        choice.write_text("{")
    assert run(*words).stderr.count("is made again") == 2


def test_a_choice_by_latency_is_made_again_on_another_machine(tmp_path):
    """Such as one of more threads. Whoever counts parameters chooses alike on all."""
    words = ["compare", BOOKS, "--methods", "deepest", "--budget", "latency=900", "--budget", "params=0.8x", "--data", CALIBRATION,
             "--seq-len", 64, "--samples", 2, "--perplexity", VALID, "--window", 64, "--max-windows", 1, "--no-speed",
             "--out", tmp_path / "results"]
    for threads, kept in ((1, 0), (1, 2), (2, 1)):
        result = run(*words, "--threads", threads)
        assert result.returncode == 0 and result.stderr.count("chose is in") == kept, result.stderr
    assert len(list((tmp_path / "results/choices").iterdir())) == 3


def test_an_equal_cut_has_the_warnings_of_its_own_method():
    found = run_json("compare", BOOKS, "--methods", "deepest,angular", "--layers", 10, "--data", CALIBRATION, "--seq-len", 128,
                     "--samples", 4, "--perplexity", VALID, "--window", 128, "--max-windows", 2, "--no-speed")
    _, deepest, angular = found["models"]
    assert deepest["cut"] == angular["cut"] and deepest["perplexity"] == angular["perplexity"]
    assert any("cut unseen" in sentence for sentence in deepest["warnings"])
    assert not any("cut unseen" in sentence for sentence in angular.get("warnings", []))


@pytest.mark.parametrize("given, message", [(["--heal-data", CALIBRATION], "give both"), (["--heal-batch", 16], "goes with --heal-tokens"),
                                            (["--heal-tokens", 4096], "heals the cuts of --methods")])
def test_compare_heals_nothing_in_silence(given, message):
    refused = run("compare", BOOKS, BOOKS, "--perplexity", VALID, *given)
    assert refused.returncode == 2 and message in refused.stderr


@pytest.mark.parametrize("form, told", [([], 1), (["--format", "decilm"], 0)])
def test_halves_that_are_written_as_zeros_are_told_of_once(form, told):
    found = run_json("compare", BOOKS, "--methods", "mlp-drop,attention-drop", "--layers", 2, "--data", CALIBRATION, "--seq-len", 32,
                     "--samples", 2, "--perplexity", VALID, "--window", 32, "--max-windows", 1, "--no-speed", *form)
    assert len([warning for warning in found.get("warnings", []) if "zeros that stand in their place" in warning]) == told
    assert (found["models"][1]["parameters"] < found["models"][0]["parameters"]) == (not told)


def test_compare_gives_every_method_one_budget():
    found = run_json("compare", BOOKS, "--methods", "shortgpt,joint-drop", "--budget", "params=0.8x", "--data", CALIBRATION,
                     "--seq-len", 64, "--samples", 4, "--perplexity", VALID, "--window", 64, "--max-windows", 1, "--no-speed")
    source, *cuts = found["models"]
    assert [model["name"] for model in cuts] == ["shortgpt params=0.8x", "joint-drop params=0.8x"]
    assert all(0.7 * source["parameters"] < model["parameters"] <= 0.8 * source["parameters"] for model in cuts)
    unmet = run("compare", BOOKS, "--methods", "mlp-drop", "--budget", "kv-cache=0.5x", "--data", CALIBRATION, "--seq-len", 64,
                "--samples", 4, "--perplexity", VALID)
    assert unmet.returncode == 2 and "the closest is" in unmet.stderr


def test_layers_and_budgets_each_take_the_methods_that_they_fit():
    words = ["compare", BOOKS, "--methods", "deepest,wanda-sp",
             "--layers", 2, "--data", CALIBRATION, "--seq-len", 64, "--samples", 2, "--perplexity", VALID, "--window", 64,
             "--max-windows", 1, "--no-speed"]
    found = run_json(*words, "--budget", "params=0.9x")
    assert [model["name"] for model in found["models"][1:]] == ["deepest -2 layers", "deepest params=0.9x", "wanda-sp params=0.9x"]
    assert any("wanda-sp" in warning and "no whole layers" in warning for warning in found["warnings"])
    alone = run(*words)
    assert alone.returncode == 2 and "give --budget" in alone.stderr
