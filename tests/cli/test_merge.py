# SPDX-License-Identifier: Apache-2.0
"""`streamline merge` as a user calls it: on the shipped model and what `heal` makes of it."""

import json
import shutil

import pytest
from program import BOOKS, CALIBRATION, VALID, copy_of_books, replace, run, run_json, safetensors_bytes, weights


@pytest.fixture(scope="module")
def adapters(tmp_path_factory):
    """Two adapters of the shipped model, and the first of them merged by `heal`."""
    folder = tmp_path_factory.mktemp("adapters")
    for name, seed in [("one", 1), ("two", 2)]:
        done = run("heal", BOOKS, "--data", CALIBRATION, "--tokens", 4000, "--seq-len", 64, "--validation", 2, "--batch", 4, "--rank", 4,
                   "--learning-rate", "3e-3", "--seed", seed, "--adapters", folder / name, "--out", folder / f"{name}-merged")
        assert done.returncode == 0, done.stderr
    return folder


def data_of(folder):
    header, data = weights(folder / "model.safetensors")
    return {name: data[slice(*entry["data_offsets"])] for name, entry in header.items() if name != "__metadata__"}


def test_both_ends_of_the_scale_are_exact(adapters, tmp_path):
    tuned = adapters / "one-merged"
    for alpha, beta, expected in [("0", "0", BOOKS), ("1", "0", tuned)]:
        out = tmp_path / alpha
        run_json("merge", tuned, "--base", BOOKS, "--lines-alpha", alpha, "--lines-beta", beta, "--out", out)
        assert data_of(out) == data_of(expected)
        assert (out / "tokenizer.model").read_bytes() == (BOOKS / "tokenizer.model").read_bytes()
    assert data_of(tuned) != data_of(BOOKS)


def test_an_adapter_is_the_model_that_it_makes(adapters, tmp_path):
    merged = run_json("merge", adapters / "one", "--base", BOOKS, "--out", tmp_path / "out")
    card = (tmp_path / "out/README.md").read_text()
    assert "| `one` | an adapter |" in card and "- \"one\"\n" in card
    assert merged["layers"] == 12 and merged["recipe"]["rule"] == "mean"
    # heal rounds W + B A in its own order of sums: nearly every number is the same.
    ours, theirs = data_of(tmp_path / "out"), data_of(adapters / "one-merged")
    assert ours.keys() == theirs.keys()
    for name in ours:
        pairs = zip(memoryview(ours[name]).cast("H"), memoryview(theirs[name]).cast("H"))
        assert sum(a != b for a, b in pairs) <= len(ours[name]) // 2000, name


def test_what_is_printed_says_what_is_done(adapters, tmp_path):
    command = ["merge", adapters / "one", adapters / "two", "--base", BOOKS, "--rule", "sum", "--lines-alpha", "auto",
               "--lines-beta", "0.4", "--dry-run"]
    shown = run_json(*command)
    assert shown["lines"]["alpha"] == pytest.approx(0.5, rel=1e-6)
    table = shown["task_vector"]
    assert [row["layer"] for row in table] == [*range(12), "outside"]
    assert [row["factor"] for row in table] == pytest.approx([0.5 + 0.4 * layer / 11 for layer in range(12)] + [0.5], rel=1e-6)
    assert table[-1]["norm"] == 0 and all(row["norm"] > 0 for row in table[:-1])
    text = run(*command)
    assert text.returncode == 0 and "alpha 0.5000, beta 0.4000" in text.stdout and "outside" in text.stdout
    assert not (tmp_path / "out").exists()


def test_the_card_and_the_configuration_say_what_was_merged(adapters, tmp_path):
    run_json("merge", adapters / "one-merged", adapters / "two-merged", "--base", BOOKS, "--rule", "ties", "--out", tmp_path / "out")
    config = json.loads((tmp_path / "out/config.json").read_text())
    provenance = config["streamline"]["provenance"]
    assert [entry["model"] for entry in provenance["models"]] == ["books-5m", "one-merged", "two-merged"]
    assert provenance["recipe"]["density"] == 0.2
    card = (tmp_path / "out/README.md").read_text()
    assert card.startswith("---\nbase_model:\n- \"books-5m\"\n") and "- merge\n" in card and "--rule ties" in card


def test_depth_may_count_as_before_the_base_was_pruned(tmp_path):
    plan = tmp_path / "plan.json"
    plan.write_text(json.dumps({"format": "streamline-plan", "version": 1, "base": {"layers": 12}, "method": {"name": "manual"}, "segments": [
        {"first": 0, "last": 2, "action": "keep"}, {"first": 3, "last": 7, "action": "drop"}, {"first": 8, "last": 11, "action": "keep"}]}))
    assert run("apply", BOOKS, "--plan", plan, "--out", tmp_path / "cut").returncode == 0
    lines = ["--lines-alpha", "0", "--lines-beta", "1", "--lines-index", "original", "--dry-run"]
    shown = run_json("merge", tmp_path / "cut", "--base", tmp_path / "cut", *lines)
    assert [row["factor"] * 11 for row in shown["task_vector"]][:-1] == pytest.approx([0, 1, 2, 8, 9, 10, 11])
    refused = run("merge", BOOKS, "--base", BOOKS, *lines)
    assert refused.returncode == 1 and "only a model that this program pruned" in refused.stderr


def other_shape(folder):
    copy_of_books(folder)
    header, data = weights()
    header["model.norm.weight"]["shape"] = [96, 2]
    replace(folder / "model.safetensors", safetensors_bytes(header, data))
    return folder


def yaml(path, text):
    path.write_text(text)
    return path


CASES = {
    "nothing to merge": (lambda t: ["--out", t / "out"], 2, "which models are merged?"),
    "nowhere to put it": (lambda t: [BOOKS, "--base", BOOKS], 2, "--out for the merged model, --sweep, or --dry-run"),
    "task vectors of no base": (lambda t: [BOOKS, "--rule", "ties", "--out", t / "out"], 2, "say with --base"),
    "an unknown rule": (lambda t: [BOOKS, "--rule", "best", "--out", t / "out"], 2, "--rule"),
    "weights that do not fit": (lambda t: [BOOKS, BOOKS, "--base", BOOKS, "--weights", "1,2,3", "--out", t / "out"], 2,
                                "--weights has 3 numbers for 2 models"),
    "a weight that is no number": (lambda t: [BOOKS, "--base", BOOKS, "--weights", "much", "--out", t / "out"], 2, "'much' is not a number"),
    "a density of a rule without": (lambda t: [BOOKS, "--base", BOOKS, "--density", "0.5", "--out", t / "out"], 2, "--density goes with --rule ties, dare or dare-ties"),
    "no beta of several": (lambda t: [BOOKS, BOOKS, "--base", BOOKS, "--lines-alpha", "0.5", "--out", t / "out"], 2, "--lines-beta"),
    "beta without alpha": (lambda t: [BOOKS, "--base", BOOKS, "--lines-beta", "0.5", "--out", t / "out"], 2, "--lines-beta goes with --lines-alpha"),
    "another count of depth without alpha": (lambda t: [BOOKS, "--base", BOOKS, "--lines-index", "original", "--out", t / "out"], 2,
                                             "--lines-index goes with --lines-alpha"),
    "an alpha that is no number": (lambda t: [BOOKS, "--base", BOOKS, "--lines-alpha", "half", "--out", t / "out"], 2, "'half' is not a number"),
    "no automatic alpha of nothing": (lambda t: [BOOKS, "--base", BOOKS, "--lines-alpha", "auto", "--out", t / "out"], 1, "is zero"),
    "depth without a base": (lambda t: [BOOKS, "--rule", "linear", "--lines-alpha", "0.5", "--out", t / "out"], 2, "needs a base model"),
    "a tensor of another shape": (lambda t: [other_shape(t / "m"), "--base", BOOKS, "--out", t / "out"], 1,
                                  "'model.norm.weight' is [96, 2]; 'model.norm.weight' of"),
    "any weights of no adapters": (lambda t: [BOOKS, "--base", BOOKS, "--any-weights", "--out", t / "out"], 2,
                                   "--any-weights goes with adapters"),
    "a result inside a model": (lambda t: [copy_of_books(t / "m"), "--base", BOOKS, "--out", t / "m" / "out"], 2, "lies inside the source"),
    "a GGUF file to be written": (lambda t: [BOOKS, "--base", BOOKS, "--out", t / "m.gguf"], 2, "the result is a directory"),
    "a file that is not there": (lambda t: ["--mergekit", t / "none.yml", "--out", t / "out"], 1, "none.yml"),
    "models beside a file": (lambda t: [BOOKS, "--mergekit", t / "none.yml", "--out", t / "out"], 2, "give none beside it"),
    "a method that is not there": (lambda t: ["--mergekit", yaml(t / "m.yml", f"merge_method: della\nmodels: [{{model: {BOOKS}}}]\n"), "--out", t / "out"], 1,
                                   "the merge_method 'della' is not one of task_arithmetic, ties"),
    "a key that is not known": (lambda t: ["--mergekit", yaml(t / "m.yml", f"merge_method: linear\nmodles: [{{model: {BOOKS}}}]\n"), "--out", t / "out"], 1,
                                "m.yml: the key 'modles' is not one"),
    "no weight in the file": (lambda t: ["--mergekit", yaml(t / "m.yml", f"merge_method: linear\nmodels: [{{model: {BOOKS}}}]\n"), "--out", t / "out"], 1,
                              "m.yml: no 'weight' is given for"),
    "layers that are not there": (lambda t: ["--mergekit", yaml(t / "m.yml", "merge_method: passthrough\nslices:\n- sources:\n"
                                                                            f"  - {{model: {BOOKS}, layer_range: [6, 13]}}\n"), "--out", t / "out"], 1,
                                  "has layers 0..11; the merge asks for 6..12"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_makes_no_sense_is_refused_in_one_line(tmp_path, case):
    arguments, status, message = CASES[case]
    done = run("merge", *arguments(tmp_path))
    assert done.returncode == status, done.stderr
    assert message in done.stderr and len(done.stderr.strip().splitlines()) <= 2, done.stderr
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/keep").write_text("mine")
    command = ["merge", BOOKS, "--base", BOOKS, "--out", tmp_path / "out"]
    done = run(*command)
    assert done.returncode == 1 and "already exists" in done.stderr
    assert (tmp_path / "out/keep").read_text() == "mine"
    refused = run(*command, "--overwrite")
    assert refused.returncode == 1 and "config.json and .safetensors" in refused.stderr
    assert (tmp_path / "out/keep").read_text() == "mine"
    shutil.rmtree(tmp_path / "out")
    assert run(*command).returncode == 0
    (tmp_path / "out/keep").write_text("mine")
    assert run(*command, "--overwrite").returncode == 0
    assert not (tmp_path / "out/keep").exists()
    shutil.rmtree(tmp_path / "out")


def test_an_adapter_for_another_base_is_refused(adapters, tmp_path):
    narrow = copy_of_books(tmp_path / "narrow")
    header, data = weights()
    config = json.loads((BOOKS / "config.json").read_text()) | {"num_hidden_layers": 11}
    shorter = {name: entry for name, entry in header.items() if ".layers.11." not in name}
    offset, chunks = 0, []
    for name, entry in shorter.items():
        if name == "__metadata__":
            continue
        first, last = entry["data_offsets"]
        chunks.append(data[first:last])
        entry["data_offsets"] = [offset, offset + last - first]
        offset += last - first
    replace(narrow / "config.json", json.dumps(config).encode())
    replace(narrow / "model.safetensors", safetensors_bytes(shorter, b"".join(chunks)))
    done = run("merge", adapters / "one", "--base", narrow, "--out", tmp_path / "out")
    assert done.returncode == 1 and "the model has 11 layers" in done.stderr
    alone = run("merge", adapters / "one", "--rule", "linear", "--out", tmp_path / "out")
    assert alone.returncode == 2 and "is an adapter; say with --base" in alone.stderr


def other_weights(folder):
    """The shipped model with one bit changed."""
    copy_of_books(folder)
    header, data = weights()
    changed = bytearray(data)
    changed[0] ^= 1
    replace(folder / "model.safetensors", safetensors_bytes(header, changed))
    return folder


def test_adapters_belong_to_weights_and_not_to_names(adapters, tmp_path):
    elsewhere, other = copy_of_books(tmp_path / "elsewhere"), other_weights(tmp_path / "other")
    done = run("merge", adapters / "one", "--base", elsewhere, "--out", tmp_path / "out")
    assert done.returncode == 0 and "trained on" not in done.stderr, done.stderr
    for words in ([adapters / "one", "--base", other], [f"{other}+{adapters / 'one'}", "--base", BOOKS]):
        refused = run("merge", *words, "--out", tmp_path / "refused")
        assert refused.returncode == 1 and len(refused.stderr.strip().splitlines()) <= 2, refused.stderr
        assert "these adapters were trained on other weights" in refused.stderr and "books-5m; digest " in refused.stderr
        assert "--any-weights" in refused.stderr and not (tmp_path / "refused").exists()
    taken = run("merge", adapters / "one", "--base", other, "--any-weights", "--out", tmp_path / "taken")
    assert taken.returncode == 0 and "trained on" not in taken.stderr, taken.stderr


def test_adapters_without_a_digest_are_taken_with_a_warning(adapters, tmp_path):
    """As the `peft` library writes them."""
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    header, data = weights(adapters / "one/adapter_model.safetensors")
    assert header.pop("__metadata__")["streamline.base_digest"]
    (foreign / "adapter_model.safetensors").write_bytes(safetensors_bytes(header, data))
    config = json.loads((adapters / "one/adapter_config.json").read_text())
    for said, warned in [("somebody/books-5m", False), ("somebody/tales-7b", True), (None, False)]:
        (foreign / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": said}))
        done = run("merge", foreign, "--base", BOOKS, "--dry-run")
        assert done.returncode == 0, done.stderr
        assert ("says that it was trained on somebody/tales-7b; it is taken for one of books-5m" in done.stderr) == warned
        assert ("trained on" in done.stderr) == warned


# ---- sweeps

def sweep(adapters, *arguments):
    return ["merge", adapters / "one-merged", "--base", BOOKS, "--target", CALIBRATION, "--control", VALID, "--windows", 2,
            "--window", 64, *arguments]


def test_coefficients_are_tried_without_writing(adapters, tmp_path):
    found = run_json(*sweep(adapters, "--sweep", "alpha=0,0.5,1"))["sweep"]
    assert [row["value"] for row in found["rows"]] == [0, 0.5, 1]
    # alpha 1 is the tuned model itself; the scores are as documented.
    assert found["rows"][2]["targets"] == pytest.approx(found["tuned"][0]["targets"])
    for row in found["rows"]:
        expected = 2 * found["tuned"][0]["targets"][0] / row["targets"][0] + found["base"]["control"] / row["control"]
        assert row["score"] == pytest.approx(expected)
    scores = [row["score"] for row in found["rows"]]
    assert found["best"] == found["rows"][scores.index(max(scores))]["value"]
    text = run(*sweep(adapters, "--sweep", "scale=0:1:0.5"))
    assert text.returncode == 0 and "best: scale" in text.stdout and text.stdout.count("scale ") == 4
    assert f"control: {VALID}, 126 tokens scored in windows of 64, stride 64, " in text.stdout and "± one standard error" in text.stdout
    assert found["within_error"] is None and "of fewer than 8 windows of a text nobody can tell" in text.stdout


def test_what_is_best_is_told_with_what_is_as_good(adapters):
    words = ["merge", adapters / "one-merged", "--base", BOOKS, "--target", CALIBRATION, "--window", 32, "--windows", 8]
    found = run_json(*words, "--sweep", "alpha=1,1")["sweep"]
    assert found["best"] == 1 and found["within_error"] == [1]  # the same once more
    assert [len(found["base"]["standard_errors"]["targets"]), found["base"]["standard_errors"]["control"]] == [1, None]
    text = run(*words, "--sweep", "alpha=1,1").stdout
    assert "best: alpha 1; within the error of it (paired, window by window): 1\n" in text


def test_alpha_is_tried_of_several_models_beside_a_beta(adapters):
    command = ["merge", adapters / "one-merged", adapters / "two-merged", "--base", BOOKS, "--target", VALID, "--windows", 1, "--window", 32]
    found = run_json(*command, "--sweep", "alpha=0.5", "--lines-beta", 0.25)
    assert (found["lines"]["alpha"], found["lines"]["beta"]) == (0.5, 0.25)


def test_the_best_of_a_sweep_is_written(adapters, tmp_path):
    done = run_json(*sweep(adapters, "--sweep", "scale=0.5,0", "--out", tmp_path / "out"))
    best = done["sweep"]["best"]
    assert done["recipe"]["scale"] == best
    run_json("merge", adapters / "one-merged", "--base", BOOKS, "--scale", best, "--out", tmp_path / "again")
    assert data_of(tmp_path / "out") == data_of(tmp_path / "again")
    row = next(row for row in done["sweep"]["rows"] if row["value"] == best)
    measured = run_json("eval", tmp_path / "out", "--perplexity", VALID, "--window", 64, "--max-windows", 2)
    assert measured["perplexity"]["value"] == pytest.approx(row["control"], rel=1e-6)


@pytest.mark.parametrize("options,message", [
    (["--sweep", "alpha=0,1"], "--sweep measures what is kept of --target"),
    (["--sweep", "gamma=0,1", "--target", VALID], "expected alpha, beta, scale or t"),
    (["--sweep", "alpha=0:1:0", "--target", VALID], "is no range of at most"),
    (["--sweep", "alpha=0,much", "--target", VALID], "'much' is not a number"),
    (["--sweep", "beta=0,1", "--target", VALID], "--sweep beta=… goes with --lines-alpha"),
    (["--sweep", "scale=0,1", "--target", f"{VALID},{VALID},{VALID}"], "--target names 3 texts for 2 models"),
    (["--sweep", "alpha=0,1", "--target", VALID], "--lines-beta says how much deeper layers get of several models"),
    (["--sweep", "scale=0,1", "--target", VALID, VALID], "texts of --target stand with commas between them"),
    (["--target", VALID, "--dry-run"], "--target goes with --sweep"),
])
def test_a_sweep_that_makes_no_sense_is_refused_in_one_line(options, message):
    done = run("merge", BOOKS, BOOKS, "--base", BOOKS, "--windows", 1, "--window", 32, *options)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and len(done.stderr.strip().splitlines()) <= 2


@pytest.mark.parametrize("method,parameters,tried,message", [
    ("ties", "{weight: 1, density: 0.5}", "t=0,0.5,1", "--sweep t=… goes with the rule slerp"),
    ("linear", "{weight: 1}", "scale=0,1", "--sweep scale=… goes with rules of task vectors"),
    ("task_arithmetic", "{weight: 1, lambda: [{filter: mlp, value: 0.5}, {value: 1}]}", "scale=0,1", "different ones, from 0.5 to 1"),
])
def test_a_sweep_of_what_a_file_does_not_leave_to_it_is_refused(adapters, tmp_path, method, parameters, tried, message):
    file = yaml(tmp_path / "m.yml", f"merge_method: {method}\nbase_model: {BOOKS}\nparameters: {parameters}\n"
                                    f"models: [{{model: {BOOKS}}}, {{model: {adapters / 'one-merged'}}}]\n")
    done = run("merge", "--mergekit", file, "--sweep", tried, "--target", VALID, "--windows", 1, "--window", 32)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr and len(done.stderr.strip().splitlines()) <= 2, done.stderr


def test_a_coefficient_of_a_file_may_be_tried(adapters, tmp_path):
    file = yaml(tmp_path / "m.yml", f"merge_method: task_arithmetic\nbase_model: {BOOKS}\nparameters: {{weight: 1, lambda: 0.5}}\n"
                                    f"models: [{{model: {adapters / 'one-merged'}}}]\n")
    command = ["merge", "--mergekit", file, "--target", VALID, "--windows", 1, "--window", 32]
    found = run_json(*command, "--sweep", "scale=0,1")["sweep"]
    assert [row["targets"] for row in found["rows"]] == [found["base"]["targets"], pytest.approx(found["tuned"][0]["targets"])]
