# SPDX-License-Identifier: Apache-2.0
"""`streamline plan merge`: plans of one model become one, with their trained weights."""

import json

import pytest
from program import BOOKS, CALIBRATION, VALID, run, run_json


def plan_file(path, layers, actions):
    """A plan of single layers, {layer: action}, written by hand."""
    segments = [{"first": i, "last": i, "action": actions.get(i, "keep")} for i in range(layers)]
    path.write_text(json.dumps({"format": "streamline-plan", "version": 1, "base": {"layers": layers},
                                "method": {"name": "manual"}, "segments": segments}))
    return path


def test_the_merged_plan_cuts_what_either_cuts(tmp_path):
    a = plan_file(tmp_path / "a.json", 12, {3: "drop-attention", 8: "drop"})
    b = plan_file(tmp_path / "b.json", 12, {3: "drop-mlp", 5: "drop-mlp"})
    found = run_json("plan", "merge", a, b, "--out", tmp_path / "c.json")
    assert found["summary"] == "dropped layers 3, 8; dropped the MLP of layer 5 (of 12)"
    assert json.loads((tmp_path / "c.json").read_text()) == found["plan"]
    measured = run_json("eval", BOOKS, "--plan", tmp_path / "c.json", "--perplexity", VALID, "--window", 64, "--max-windows", 1)
    assert measured["perplexity"]["value"] > 1


def test_trained_weights_are_carried_along(tmp_path):
    trained = ["prune", BOOKS, "--data", CALIBRATION, "--seq-len", 64, "--samples", 4, "--cut", 2, "--replace", "swiglu-residual",
               "--tokens", 4096, "--eval", VALID, "--eval-windows", 1, "--no-speed", "--accept-worse", "--protect", "0-4,8-11"]
    run_json(*trained, "--out", tmp_path / "a")
    b = plan_file(tmp_path / "b.json", 12, {1: "drop", 9: "drop-attention"})
    run_json("plan", "merge", b, tmp_path / "a", "--out", tmp_path / "c.json")
    for name, plan in (("one", tmp_path / "a"), ("all", tmp_path / "c.json")):
        done = run("apply", BOOKS, "--plan", plan, "--out", tmp_path / name)
        assert done.returncode == 0, done.stderr
        assert "untrained" not in done.stderr
    cut = run_json("inspect", tmp_path / "all")
    assert cut["layers"] == run_json("inspect", tmp_path / "one")["layers"] - 1
    # The same weights under another number: the plans' segments are not the same ones.
    assert (tmp_path / "c.safetensors").exists()
    again = run("plan", "merge", b, tmp_path / "a", "--out", tmp_path / "c.json")
    assert again.returncode == 1 and "already exists" in again.stderr


@pytest.mark.parametrize("words,status,message", [
    (["merge", "a.json", "replaced.json"], 1, "replaces layers 3..4 by 'layer', and a.json cuts layer 3"),
    (["merge", "a.json"], 2, "two plans or more"),
    (["split", "a.json", "a.json"], 2, "there is merge"),
    (["merge", "a.json", "other.json"], 1, "a plan for 13 layers"),
    (["merge", "a.json", "broken.json"], 1, "broken.json"),
    (["merge", "a.json", "missing.json"], 1, "missing.json"),
])
def test_what_cannot_be_merged_is_one_line_and_writes_nothing(tmp_path, words, status, message):
    plan_file(tmp_path / "a.json", 12, {3: "drop"})
    plan_file(tmp_path / "other.json", 13, {3: "drop"})
    (tmp_path / "broken.json").write_text('{"format": "streamline-plan"')
    replaced = {"format": "streamline-plan", "version": 1, "base": {"layers": 12}, "method": {"name": "manual"},
                "segments": [{"first": 0, "last": 2, "action": "keep"},
                             {"first": 3, "last": 4, "action": "replace", "replacement": "layer"},
                             {"first": 5, "last": 11, "action": "keep"}]}
    (tmp_path / "replaced.json").write_text(json.dumps(replaced))
    result = run("plan", *words, "--out", "out.json", cwd=tmp_path)
    assert result.returncode == status
    assert message in result.stderr and result.stderr.count("\n") == 1
    assert not (tmp_path / "out.json").exists()


def test_a_plan_may_count_in_one_phase(tmp_path):
    cut = plan_file(tmp_path / "cut.json", 12, {5: "drop", 6: "drop", 8: "drop-mlp"})
    words = ["generate", BOOKS, "--prompt", "It was a dark night and", "--max-tokens", 12, "--temperature", 0]
    texts = [run_json(*words)["tokens"]]
    texts += [run_json(*words, "--plan", cut, "--cut-in", phase)["tokens"] for phase in ("everywhere", "decode", "prefill")]
    assert texts[2][0] == texts[0][0]  # the first token is what all layers say of the prompt
    assert texts[3][0] == texts[1][0]  # and what is left of them
    assert all(len(tokens) == 12 for tokens in texts)
    for phase in ("decode", "prefill"):
        speed = run_json("bench", BOOKS, "--plan", cut, "--cut-in", phase, "--prompt-tokens", 32, "--decode-tokens", 4,
                         "--repetitions", 1)
        assert speed["decode_tokens_per_second"] > 0
    refused = run(*words, "--cut-in", "decode")
    assert refused.returncode == 2 and "--plan" in refused.stderr
