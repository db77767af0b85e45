# SPDX-License-Identifier: Apache-2.0
"""Choosing what to cut, as a user asks for it: every registered method through `prune` and `compare`."""

import json

import pytest
from program import BOOKS, CALIBRATION, NARROWING, VALID, run, run_json, size_of_cut

METHODS = [method["name"] for method in json.loads(run("list", "--json").stdout)["methods"]]
TEXT = ["--data", CALIBRATION, "--seq-len", 128, "--samples", 4]


def plan(method, *options):
    return run_json("prune", BOOKS, *TEXT, "--method", method, "--plan-only", *options)["plan"]


def error(method, *options):
    result = run("prune", BOOKS, *TEXT, "--method", method, "--plan-only", *options)
    assert result.returncode == 2
    return result.stderr


@pytest.mark.parametrize("method", METHODS)
def test_the_same_seed_chooses_the_same(method):
    options = [*size_of_cut(method), "--replace", "none", *(["--generations", 4] if method == "evolve" else [])]
    assert plan(method, *options) == plan(method, *options)


def test_what_is_true_or_false_may_stand_alone():
    def kept(*words):
        return plan("angular", *words, "--cut", 2)["method"]["parameters"]["keep-last"]

    assert (kept(), kept("--keep-last"), kept("--keep-last", "false")) == (False, True, False)
    assert "takes true or false; got 'maybe'" in error("angular", "--keep-last", "maybe", "--cut", 2)


@pytest.mark.parametrize("method", METHODS)
def test_unknown_parameters_list_what_exists(method):
    wrong = ["--threshold", "0.5"] if method != "laco" else ["--windows", 2]
    message = error(method, *size_of_cut(method), *wrong)
    assert wrong[0].strip("-") in message and ("ratio" if method in NARROWING else "layers") in message


def test_unknown_methods_list_what_exists():
    message = error("shortpgt", "--layers", 2)
    assert all(method in message for method in METHODS)


@pytest.mark.parametrize("size", [["--sparsity", "0.25"], ["--layers", "3"]])
def test_what_a_size_came_to_is_said(size):
    done = run("prune", BOOKS, *TEXT, "--replace", "none", "--plan-only", *size)
    (line,) = (line for line in done.stderr.splitlines() if line.startswith(" ".join(size)))
    share = 100 * json.loads(done.stdout)["scores"]["sparsity"]
    assert line == f"{' '.join(size)} saves {share:.1f} % of the parameters"


def test_compare_tries_them_all():
    found = run_json("compare", BOOKS, "--methods", "all", "--layers", 2, *TEXT, "--perplexity", VALID, "--window", 128,
                     "--max-windows", 2, "--no-speed")
    assert [model["method"] for model in found["models"][1:]] == [method for method in METHODS if method not in NARROWING]
    [left_out] = [warning for warning in found["warnings"] if warning.startswith("left out")]
    assert "take no whole layers" in left_out and all(method in left_out for method in NARROWING)


def test_what_a_method_found_for_one_size_serves_the_next():
    found = run_json("compare", BOOKS, "--methods", "blockpruner,beam", "--layers", "2,1", *TEXT, "--perplexity", VALID, "--window", 128,
                     "--max-windows", 2, "--no-speed", "--threads", 1)
    plans = {(model["method"], model["size"]): model["plan"] for model in found["models"][1:]}
    for method in ("blockpruner", "beam"):
        two, one = plans[method, "2"], plans[method, "1"]
        assert one["scores"]["evaluations"] == two["scores"]["evaluations"]  # nothing was read for it
        for layers, chosen in ((2, two), (1, one)):
            assert chosen["segments"] == plan(method, "--layers", layers, "--replace", "none")["segments"]


def test_compare_scores_for_a_method_that_follows_one_without_scores():
    found = run_json("compare", BOOKS, "--methods", "deepest,shortgpt", "--layers", 2, *TEXT, "--perplexity", VALID,
                     "--window", 128, "--max-windows", 2, "--no-speed")
    assert len(found["models"]) == 3


def test_merged_layers_are_repeated_from_their_plan(tmp_path):
    words = ["prune", BOOKS, *TEXT, "--eval", VALID, "--eval-windows", 2, "--no-speed", "--dtype", "float32", "--method",
             "laco", "--merge", "mean", "--layers", 3, "--out", tmp_path / "out"]
    report = run_json(*words)
    assert report["choice"]["summary"].startswith("replaced layers")
    assert report["choice"]["net_layers"] == 3
    repeated = run("apply", BOOKS, "--plan", tmp_path / "out/streamline/plan.json", "--out", tmp_path / "again")
    assert repeated.returncode == 0, repeated.stderr
    assert (tmp_path / "again/model.safetensors").read_bytes() == (tmp_path / "out/model.safetensors").read_bytes()
    cut = next(row for row in report["models"] if row["name"] == "cut")
    measured = run_json("eval", tmp_path / "out", "--perplexity", VALID, "--window", 128, "--max-windows", 2, "--dtype",
                        "float32")["perplexity"]["value"]
    assert measured == pytest.approx(cut["perplexity"]["value"], rel=1e-4)


def test_halves_are_named_in_the_report(tmp_path):
    run_json("prune", BOOKS, *TEXT, "--eval", VALID, "--eval-windows", 1, "--no-speed", "--method", "attention-drop",
             "--layers", 2, "--out", tmp_path / "out")
    page = (tmp_path / "out/report.html").read_text()
    assert "Dropped the attention of layer" in page
    assert 'class="cell half upper"' in page and "without attention: " in page and 'class="cell gone' not in page


def test_what_each_part_is_worth_is_in_report_and_plan(tmp_path):
    report = run_json("prune", BOOKS, *TEXT, "--eval", VALID, "--eval-windows", 1, "--no-speed", "--method",
                      "leave-one-out", "--units", "both", "--halves", 3, "--out", tmp_path / "out")
    units = report["choice"]["estimates"]["units"]
    assert len(units) == 24 and units[0]["unit"] == "A0" and units[23]["unit"] == "M11"
    assert "What each part is worth" in (tmp_path / "out/report.html").read_text()
    kept = json.loads((tmp_path / "out/streamline/plan.json").read_text())
    assert kept["scores"]["estimates"]["units"] == units


def test_shapley_values_add_up_within_their_budget():
    found = plan("shapley", "--layers", 2, "--evaluations", 30)["scores"]["estimates"]
    assert found["runs"] == 2 and found["evaluations"] == 26
    assert sum(unit["value"] for unit in found["units"]) == pytest.approx(found["none"] - found["whole"], abs=1e-9)
    assert "one permutation takes 13" in error("shapley", "--layers", 2, "--evaluations", 12)


def test_a_search_goes_on_where_it_was(tmp_path):
    def beam(layers, *state):
        return plan("beam", "--layers", layers, "--width", 2, *state)

    state = ["--state", tmp_path / "state"]
    beam(2, *state)
    assert beam(3, *state) == beam(3)
    assert (tmp_path / "state/search.json").exists()
    def refused(method, *more):
        return run("prune", BOOKS, *TEXT, "--method", method, "--plan-only", "--layers", 2, *more, *state).stderr

    assert "is the state of another search (what differs: parameters.width)" in refused("beam", "--width", 3)
    assert "is the state of another search (what differs: seed)" in refused("beam", "--width", 2, "--seed", 1)
    assert "is the state of another search (what differs: method)" in refused("iterative")
    saved = json.loads((tmp_path / "state/search.json").read_text())
    older = saved | {"key": {name: part for name, part in saved["key"].items() if name != "form"}}
    (tmp_path / "state/search.json").write_text(json.dumps(older))
    assert "by another version of this program" in refused("beam", "--width", 2)
    (tmp_path / "state/search.json").write_text(json.dumps(saved))
    run_json("prune", BOOKS, *TEXT, "--method", "beam", "--layers", 2, "--width", 2, "--eval", VALID, "--eval-windows", 1,
             "--no-speed", "--out", tmp_path / "out", *state)
    assert not (tmp_path / "state").exists()


def test_a_budget_is_met_by_the_smallest_cut(tmp_path):
    found = run_json("prune", BOOKS, *TEXT, "--method", "shortgpt", "--replace", "none", "--plan-only", "--budget",
                     "params=0.8x,kv-cache=0.9x")
    budgets = found["choice"]["budgets"]
    assert [budget["budget"] for budget in budgets] == ["params=0.8x", "kv-cache=0.9x"]
    assert all(budget["amount"] <= budget["limit"] for budget in budgets)
    cut = found["plan"]["method"]["parameters"]["cut"]
    fewer = plan("shortgpt", "--replace", "none", "--cut", cut - 1)
    (tmp_path / "fewer.json").write_text(json.dumps(fewer))
    assert 1 - fewer["scores"]["sparsity"] > 0.8
    # What is put back counts: a layer for one more that goes.
    with_layer = run_json("prune", BOOKS, *TEXT, "--replace", "layer", "--plan-only", "--budget", "params=0.8x")
    assert with_layer["plan"]["method"]["parameters"]["cut"] == cut + 1


def test_budgets_that_cannot_be_met_say_the_closest():
    assert "the closest is --halves 12" in error("mlp-drop", "--budget", "kv-cache=0.5x")
    assert "latency=" in error("shortgpt", "--budget", "speed=2x")
    assert "so does --cut" in error("shortgpt", "--budget", "params=0.5x", "--cut", 2)
    assert "--replace" in error("llm-streamline", "--budget", "params=0.5x", "--replace", "auto")


def test_layers_in_place_of_others_are_told_one_by_one():
    done = run("prune", BOOKS, *TEXT, "--cut", 4, "--replace", "layer:2", "--plan-only")
    assert done.returncode == 0 and done.stderr.count(" by one layer") == 2, done.stderr
