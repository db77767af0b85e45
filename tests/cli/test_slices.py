# SPDX-License-Identifier: Apache-2.0
"""Narrower layers from the command line: methods that take heads and channels, their plans, and what is written."""

import json

import pytest
from program import BOOKS, CALIBRATION, VALID, copy_of_books, run, run_json, weights

TEXT = ["--data", CALIBRATION, "--seq-len", 64, "--samples", 8]
SHORT = ["--eval", VALID, "--eval-windows", 1, "--no-speed"]


def plan_of(tmp_path, *arguments, name="plan.json"):
    result = run("prune", BOOKS, *TEXT, "--plan-only", "--quiet", *arguments)
    assert result.returncode == 0, result.stderr
    (tmp_path / name).write_text(result.stdout)
    return tmp_path / name


def test_uniform_widths_are_an_ordinary_model_that_gains_all(tmp_path):
    before = run_json("inspect", BOOKS)
    report = run_json("prune", BOOKS, *TEXT, *SHORT, "--method", "wanda-sp", "--ratio", 0.5, "--out", tmp_path / "out")
    after = run_json("inspect", tmp_path / "out")
    kv, width = before["layer"][0]["kv_heads"], before["layer"][0]["intermediate_size"]
    assert {layer["kv_heads"] for layer in after["layer"]} == {kv - int(0.5 * kv)}
    assert {layer["intermediate_size"] for layer in after["layer"]} == {width - int(0.5 * width)}
    assert after["layer"][0]["head_dim"] == before["layer"][0]["head_dim"]
    assert after["parameters"] == report["models"][1]["parameters"] < before["parameters"]
    assert report["output"]["ordinary"] and any("nothing is padded" in note for note in report["output"]["notes"])
    assert report["choice"]["summary"].startswith("sliced layers 0..11")
    assert report["choice"]["slices"][3] == {"layer": 3, "kv_heads": {"kept": kv - int(0.5 * kv), "of": kv},
                                             "channels": {"kept": width - int(0.5 * width), "of": width}}
    assert "padding" not in report["models"][1] and "Kept " in (tmp_path / "out" / "report.html").read_text()
    again = run_json("apply", BOOKS, "--plan", tmp_path / "out", "--out", tmp_path / "again")
    assert again["layers"] == 12
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (tmp_path / "out" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("method", ["magnitude-structured", "wanda-sp", "flap", "taylor", "random-structured", "mini-llm"])
def test_a_budget_of_parameters_is_met(method, tmp_path):
    words = ["--probes", 4] if method == "mini-llm" else []
    plan = json.loads(plan_of(tmp_path, "--method", method, "--budget", "params=0.8x", *words).read_text())
    assert 0.2 <= plan["scores"]["sparsity"]
    assert plan["version"] == 2 and plan["slices"]
    if method != "flap":
        assert plan["scores"]["sparsity"] < 0.23
        return
    # Layers of different widths are padded to the widest: what counts is what is written.
    written = run_json("apply", BOOKS, "--plan", tmp_path / "plan.json", "--out", tmp_path / "out", "--check", "files")
    before, after = (run_json("inspect", model)["parameters"] for model in (BOOKS, tmp_path / "out"))
    assert 0.7 * before < after <= 0.8 * before and any("padding" in note for note in written["notes"])


def test_policy_gradient_learns_and_goes_on(tmp_path):
    words = ["prune", BOOKS, *TEXT, *SHORT, "--method", "policy-gradient", "--ratio", 0.25, "--steps", 4, "--batch", 2,
             "--length", 32, "--check-every", 2, "--state", tmp_path / "state", "--dry-run"]
    report = run_json(*words)
    assert report["models"][1]["parameters"] < report["models"][0]["parameters"]


def test_plans_that_slice_are_measured_and_merged(tmp_path):
    width = plan_of(tmp_path, "--method", "wanda-sp", "--ratio", 0.2, name="width.json")
    depth = plan_of(tmp_path, "--method", "shortgpt", "--cut", 3, name="depth.json")
    merged = run_json("plan", "merge", width, depth, "--out", tmp_path / "both.json")
    assert "dropped layers" in merged["summary"] and "channels in" in merged["summary"]
    measured = run_json("eval", BOOKS, "--plan", tmp_path / "both.json", "--perplexity", VALID, "--window", 64, "--max-windows", 1)
    assert measured["perplexity"]["value"] > 1
    written = run_json("apply", BOOKS, "--plan", tmp_path / "both.json", "--out", tmp_path / "both")
    assert written["layers"] == 9
    narrow = run_json("inspect", tmp_path / "both")["layer"][0]
    assert narrow["intermediate_size"] < run_json("inspect", BOOKS)["layer"][0]["intermediate_size"]
    exported = run("export", tmp_path / "both", "--gguf", tmp_path / "both.gguf")
    assert exported.returncode == 0, exported.stderr
    assert run_json("inspect", tmp_path / "both.gguf")["layer"][0]["intermediate_size"] == narrow["intermediate_size"]


def test_padding_is_said(tmp_path):
    how = ["--method", "wanda-sp", "--ratio", 0.3, "--protect", "0,11"]
    source, cut = run_json("prune", BOOKS, *TEXT, *SHORT, *how, "--dry-run")["models"]
    assert 0 < cut["padding"] < cut["parameters"] and "padding" not in source
    plan = plan_of(tmp_path, *how)
    padded = run_json("apply", BOOKS, "--plan", plan, "--out", tmp_path / "padded")
    assert any("are written as padding" in note for note in padded["notes"])
    narrow = run_json("apply", BOOKS, "--plan", plan, "--out", tmp_path / "narrow", "--format", "per-layer")
    assert narrow["parameters"] == padded["parameters"] - cut["padding"] and any("all of it is gained" in note for note in narrow["notes"])


def test_refit_leaves_less_missing(tmp_path):
    report = run_json("prune", BOOKS, "--data", CALIBRATION, "--seq-len", 128, "--samples", 24, *SHORT, "--method", "wanda-sp",
                      "--ratio", 0.3, "--inside", "channels", "--refit", "least-squares", "--out", tmp_path / "out")
    assert len(report["refit"]) == 12
    assert sum(fit["missing_after"] for fit in report["refit"]) < 0.95 * sum(fit["missing_before"] for fit in report["refit"])
    assert [model["name"] for model in report["models"]] == ["source", "cut", "healed"]
    assert not (tmp_path / "out" / "streamline" / "plan.json").exists()


def test_a_refit_with_biases_leaves_less_missing_in_an_ordinary_model(tmp_path):
    report = run_json("prune", BOOKS, "--data", CALIBRATION, "--seq-len", 128, "--samples", 24, *SHORT, "--method", "flap",
                      "--ratio", 0.3, "--scope", "local", "--refit", "bias", "--out", tmp_path / "out")
    assert len(report["refit"]) == 12 and not any("ridge" in fit for fit in report["refit"])  # a third of two heads is none
    assert sum(fit["missing_after"] for fit in report["refit"]) < sum(fit["missing_before"] for fit in report["refit"])
    assert [model["name"] for model in report["models"]] == ["source", "cut", "healed"]
    assert report["models"][2]["parameters"] > report["models"][1]["parameters"] and report["output"]["ordinary"]
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["mlp_bias"] is True and config["attention_bias"] is False
    header, _ = weights(tmp_path / "out" / "model.safetensors")
    assert header["model.layers.3.mlp.gate_proj.bias"]["shape"] == [config["intermediate_size"]]
    assert "model.layers.3.self_attn.o_proj.bias" not in header
    exported = run("export", tmp_path / "out", "--gguf", tmp_path / "out.gguf")
    assert exported.returncode == 0, exported.stderr


@pytest.mark.parametrize(("method", "dropped"), [("mlp-drop", 3), ("shortgpt", 2)])
def test_the_mean_of_what_went_stands_for_it_in_an_ordinary_model(tmp_path, method, dropped):
    report = run_json("prune", BOOKS, *TEXT, *SHORT, "--method", method, "--layers", dropped, "--refit", "bias",
                      "--out", tmp_path / "out")
    matrix = "o" if method == "mlp-drop" else "down"
    assert report["refit"] and {update["matrix"] for update in report["refit"]} == {matrix}
    assert sum(update["missing_after"] for update in report["refit"]) < sum(update["missing_before"] for update in report["refit"])
    healed = report["models"][2]["perplexity"]["value"]
    assert healed < report["models"][1]["perplexity"]["value"]
    assert report["output"]["ordinary"] and json.loads((tmp_path / "out" / "config.json").read_text())[
        "attention_bias" if matrix == "o" else "mlp_bias"] is True
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| refit | bias |" in card and "apply SOURCE" not in card and "| parameters | 5.51M |" in card
    assert "What stays makes up for what went" in (tmp_path / "out" / "report.html").read_text()
    measured = run_json("eval", tmp_path / "out", "--perplexity", VALID, "--window", 64, "--max-windows", 1)
    assert measured["perplexity"]["value"] == pytest.approx(healed, rel=1e-3)


def test_a_refit_takes_the_place_of_a_method_s_own_replacement(tmp_path):
    report = run_json("prune", BOOKS, *TEXT, *SHORT, "--cut", 2, "--refit", "bias", "--dry-run")
    assert [update["matrix"] for update in report["refit"]] == ["down"] and "healing" not in report
    assert run("prune", BOOKS, *TEXT, *SHORT, "--method", "shortgpt", "--layers", 2, "--refit", "none", "--dry-run").returncode == 0


@pytest.mark.parametrize(("words", "message"), [
    (["--method", "shortgpt", "--layers", 2, "--refit", "least-squares"], "methods that take heads and channels, as wanda-sp"),
    (["--cut", 2, "--replace", "mean", "--refit", "bias"], "--replace and --refit both make up for what goes"),
    (["--method", "laco", "--layers", 2, "--refit", "bias"], "laco puts merged layers in the place of what goes"),
    (["--method", "shortgpt", "--layers", 2, "--refit", "bias", "--plan-only"], "a plan alone has no fitted weights"),
])
def test_a_refit_says_what_it_cannot_stand_for(tmp_path, words, message):
    result = run("prune", BOOKS, *TEXT, *words, "--out", tmp_path / "out")
    assert result.returncode == 2 and message in result.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("refit,told", [("none", True), ("bias", False)])
def test_flap_says_what_a_plan_leaves_out_of_it_unless_that_is_done(refit, told):
    report = run_json("prune", BOOKS, *TEXT, *SHORT, "--method", "flap", "--ratio", 0.3, "--scope", "local", "--refit", refit, "--dry-run")
    assert any("`prune --refit bias`" in warning for warning in report["warnings"]) == told


def test_a_family_without_biases_is_told_before_the_work(tmp_path):
    config = {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": None}
    result = run("prune", copy_of_books(tmp_path / "mistral", config), *TEXT, "--method", "flap", "--ratio", 0.3, "--refit", "bias",
                 "--out", tmp_path / "out")
    assert result.returncode == 1 and "has no key for a bias of the attention's last matrix" in result.stderr, result.stderr
    assert "scoring" not in result.stderr and not (tmp_path / "out").exists()


@pytest.mark.parametrize("words,status,message", [
    (["--ratio", 1.5], 2, "ratio"),
    ([], 2, "needs exactly one of --ratio"),
    (["--ratio", 0.001], 2, "takes no head and no channel"),
    (["--ratio", 0.2, "--replace", "layer"], 2, "nothing can be put in their place"),
    (["--ratio", 0.2, "--protect", 40], 2, "the model has layers 0..11"),
    (["--budget", "params=0.05x"], 2, "cannot meet it"),
    (["--ratio", 1], 2, "--ratio 1 takes everything"),
    (["--keep-channels", 600], 2, "--keep-channels 600: no layer has more than 512"),
    (["--ratio", 0.2, "--spread", 0.2], 2, "--spread goes with --scope alpha"),
    (["--ratio", 0.2, "--tokens", 100], 2, "--tokens goes with what --replace trains"),
    (["--cut", 3], 2, "--method wanda-sp has no --cut; it takes --ratio"),
])
def test_what_cannot_be_is_one_line(words, status, message):
    result = run("prune", BOOKS, *TEXT, "--plan-only", "--method", "wanda-sp", *words)
    assert result.returncode == status, result.stderr
    assert message in result.stderr


@pytest.mark.parametrize("type,words", [("f16", ["--ratio", 0.5]), ("q8_0", ["--ratio", 0.5, "--inside", "heads"]),
                                        ("q8_0", ["--keep-heads", 3])])
def test_a_gguf_file_is_narrowed_without_rounding(type, words, tmp_path):
    assert run("export", BOOKS, "--gguf", tmp_path / "books.gguf", "--type", type).returncode == 0
    run_json("prune", tmp_path / "books.gguf", *TEXT, *SHORT, "--method", "wanda-sp", *words, "--out", tmp_path / "narrow.gguf")
    before, after = (run_json("inspect", tmp_path / name)["layer"][0] for name in ("books.gguf", "narrow.gguf"))
    assert after["kv_heads"] == before["kv_heads"] // 2 and after["head_dim"] == before["head_dim"]
    assert after["intermediate_size"] == before["intermediate_size"] // (1 if type == "q8_0" else 2)
    window = ["--perplexity", VALID, "--window", 64, "--max-windows", 1]
    planned = run_json("eval", tmp_path / "books.gguf", "--plan", tmp_path / "narrow.plan.json", *window)
    written = run_json("eval", tmp_path / "narrow.gguf", *window)
    assert written["perplexity"]["value"] == pytest.approx(planned["perplexity"]["value"], rel=0.01)


def test_what_cannot_be_written_is_refused_before_the_work(tmp_path):
    assert run("export", BOOKS, "--gguf", tmp_path / "books.gguf", "--type", "q8_0").returncode == 0
    for model, words, status, message in [
            (tmp_path / "books.gguf", ["--method", "wanda-sp", "--ratio", 0.2], 1, "channels lie in blocks of 32 (Q8_0)"),
            (tmp_path / "books.gguf", ["--method", "wanda-sp", "--ratio", 0.5, "--inside", "heads", "--refit", "bias"], 1,
             "--refit changes matrices"),
            (tmp_path / "books.gguf", ["--method", "attention-drop", "--layers", 2], 1, "lose their attention alone"),
            (tmp_path / "books.gguf", ["--method", "leave-one-out", "--units", "mlp", "--halves", 2], 1, "lose their MLP alone"),
            (tmp_path / "books.gguf", ["--method", "blockpruner", "--kind", "mlp", "--halves", 2], 1, "lose their MLP alone"),
            (tmp_path / "books.gguf", ["--method", "blockpruner", "--halves", 1], 1, "has no partner"),
            (BOOKS, ["--cut", 3, "--refit", "least-squares"], 2, "--refit goes with methods that take heads and channels"),
            (BOOKS, ["--method", "policy-gradient", "--ratio", 0.3, "--over", "layers", "--refit", "least-squares"], 2,
             "--refit least-squares makes up for heads and channels that go")]:
        out = tmp_path / ("out" if model == BOOKS else "out.gguf")
        result = run("prune", model, *TEXT, *words, "--out", out)
        assert result.returncode == status and message in result.stderr, result.stderr
        assert "perplexity" not in result.stderr and not out.exists()
