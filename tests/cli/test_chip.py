# SPDX-License-Identifier: Apache-2.0
"""`streamline chip` as a user calls it, on the shipped model: does a text end on the sea or at home?"""

import json
import random
import re
import shutil

import pytest
from program import BOOKS, VALID, run, run_json

TEXTS = 120


def words():
    return re.sub(r"\s+", " ", VALID.read_text(encoding="utf-8")).split(" ")


def rows(seed, count=TEXTS):
    draw, source = random.Random(seed), words()
    ends = {"sea": ["the deep sea", "a great ship", "the white sails", "his old boat"],
            "home": ["the warm kitchen", "her little house", "the front door", "a good fire"]}
    for _ in range(count):
        start, label = draw.randrange(len(source) - 20), draw.choice(list(ends))
        yield " ".join([*source[start : start + 8], draw.choice(ends[label])]), label


def chip(*arguments, **options):
    return run("chip", *arguments, **options)


def chip_json(*arguments):
    return run_json("chip", *arguments)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Texts, their features, and chips of several kinds."""
    folder = tmp_path_factory.mktemp("chips")
    (folder / "place.jsonl").write_text("".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in rows(1)))
    chip_json("cache", BOOKS, "--data", folder / "place.jsonl", "--prompt", "{{text}}\\n", "--out", folder / "place.features")
    for name, options in {"exact": ["--feature-norm", "rms", "--no-bias"], "plain": ["--feature-norm", "standardise"]}.items():
        chip_json("train", folder / "place.features", "--kind", "linear", "--method", "ridge", *options, "--validation", 0.25, "--out",
                  folder / f"{name}.chips")
    return folder


def test_features_say_what_they_are_of(made, tmp_path):
    found = chip_json("cache", BOOKS, "--data", made / "place.jsonl", "--out", tmp_path / "f", "--layers", "3,7", "--limit", 20)
    assert found["texts"] == 20 and found["layers"] == [3, 7] and found["classes"] == ["home", "sea"]
    assert sum(found["class_counts"]) == 20 and found["input"]["position"] == "last"
    again = chip("cache", BOOKS, "--data", made / "place.jsonl", "--out", tmp_path / "f")
    assert again.returncode == 1 and "already exists" in again.stderr


def test_options_stand_in_a_file(made, tmp_path):
    recipe = tmp_path / "cache.yaml"
    recipe.write_text(f"model: {BOOKS}\ndata: {made / 'place.jsonl'}\nlayers: [3, 7]\nlimit: 20\nout: {tmp_path / 'f'}\n")
    found = chip_json("cache", "--config", recipe, "--limit", 24)
    assert found["texts"] == 24 and found["layers"] == [3, 7] and (tmp_path / "f").exists()
    recipe.write_text("kind: linear\nmethod: ridge\nfeature-norm: rms\nno-bias: true\n")
    training = chip_json("train", "--config", recipe, tmp_path / "f", "--out", tmp_path / "f.chips")["tasks"][0]["training"]
    assert training["method"] == "ridge" and training["feature_norm"] == "rms" and training["bias"] is False
    recipe.write_text("kind: linear\nmethodd: ridge\n")
    wrong = chip("train", tmp_path / "f", "--config", recipe)
    assert wrong.returncode == 2 and f"{recipe}:2: there is no option '--methodd'" in wrong.stderr and wrong.stderr.count("\n") == 1


def test_where_a_text_ends_is_learnt(made, tmp_path):
    found = chip_json("train", made / "place.features", "--kind", "linear", "--method", "ridge", "--feature-norm", "rms", "--test", 0.25,
                      "--validation", 0.25, "--html", tmp_path / "page.html")
    (task,) = found["tasks"]
    chosen = task["chips"][task["choice"]["chip"]]
    assert [entry["layer"] for entry in task["chips"]] == list(range(12))
    assert chosen["validation"]["count"] == 30 and chosen["test"]["count"] == 30
    assert chosen["test"]["accuracy"] > 0.8
    assert chosen["validation"]["low"] < chosen["validation"]["accuracy"] <= chosen["validation"]["high"]
    most = task["most_frequent"]
    labels = [label for _, label in rows(1)]
    counted = [most[part]["count"] for part in ("train", "validation", "test")]
    assert counted == [60, 30, 30] and sum(most[part]["right"] for part in ("train", "validation", "test")) == labels.count(most["class"])
    assert most["train"]["accuracy"] >= 0.5
    assert (found["notes"] == []) == all(chosen[part]["low"] > most[part]["accuracy"] for part in ("validation", "test"))
    page = (tmp_path / "page.html").read_text()
    assert f"always “{most['class']}”" in page and f'"chance":{json.dumps(most["validation"]["accuracy"])[:6]}' in page.replace(": ", ":")
    assert "Chips on books-5m" in page and "chips-0" in page and "Accuracy by layer" in page


def test_few_texts_are_said_to_judge_by_luck(made):
    found = chip_json("train", made / "place.features", "--kind", "linear", "--method", "ridge", "--feature-norm", "rms", "--validation", 0.1)
    (note,) = found["notes"]
    assert "judged on 12 texts alone" in note


def test_what_learnt_nothing_is_said_to_know_nothing(made):
    found = chip_json("train", made / "place.features", "--kind", "linear", "--learning-rate", "1e-12", "--epochs", 1, "--validation", 0.25,
                      "--layer", 0)
    (task,), (note,) = found["tasks"], found["notes"]
    learnt = task["chips"][task["choice"]["chip"]]["train"]["accuracy"]
    assert learnt <= task["most_frequent"]["train"]["accuracy"]
    assert "on the texts that it learnt from" in note


@pytest.mark.parametrize("method", ["newton", "adamw"])
def test_other_methods_learn_it_too(made, method):
    options = ["--learning-rate", "1e-3", "--epochs", 5] if method == "adamw" else []
    found = chip_json("train", made / "place.features", "--kind", "linear", "--method", method, "--feature-norm", "standardise",
                      "--validation", 0.25, *options)
    task = found["tasks"][0]
    assert task["chips"][task["choice"]["chip"]]["validation"]["accuracy"] > 0.75


def test_the_choice_is_kept(made, tmp_path):
    chosen = tmp_path / "chosen.chips"
    found = chip_json("select", made / "exact.chips", "--rule", "earliest", "--within", 0.05, "--out", chosen)["tasks"][0]
    accuracies = [entry["validation"]["accuracy"] for entry in found["chips"]]
    layer = found["choice"]["layer"]
    assert accuracies[layer] >= max(accuracies) - 0.05 and all(a < max(accuracies) - 0.05 for a in accuracies[:layer])
    for rule in (["--rule", "earliest", "--within", 0.05], ["--layer", 0]):
        line = chip("select", made / "exact.chips", *rule).stdout
        one = found["chips"][layer if rule[0] == "--rule" else 0]["validation"]
        best = max(accuracies)
        assert ("the best, linear behind layer" in line) == (best > one["accuracy"]), line
        assert ("lies within the validation texts' interval" in line) == (one["accuracy"] < best <= one["high"])
        assert ("lies above the validation texts' interval" in line) == (best > one["high"])
    text = chip("select", made / "exact.chips", "--layer", 4)
    assert text.returncode == 0 and "the most frequent class: 0." in text.stdout
    assert "behind layer 4 (fixed)" in text.stdout and "keeps 5 of 12 layers" in text.stdout


@pytest.mark.parametrize("chips", ["exact", "plain"])
def test_what_is_exported_says_the_same(made, tmp_path, chips):
    out, lines = tmp_path / "out", [text for text, _ in rows(2, 10)]
    exported = chip_json("export", BOOKS, "--chips", made / f"{chips}.chips", "--rule", "fixed", "--layer", 7, "--out", out)
    assert exported["layers"] == 8 and exported["largest_logit_difference"] < 1e-4
    assert (exported["why_plain"] is None) == (chips == "exact")
    config = json.loads((out / "config.json").read_text())
    card = (out / "README.md").read_text()
    assert r'"{{text}}\n"' in card and "depth-pruning" not in card and "text-generation" not in card
    assert ("pipeline_tag: text-classification" in card) == (chips == "exact") == ("AutoModelForSequenceClassification" in card)
    assert not any("llama.cpp's converter" in note for note in exported["notes"])
    assert config["num_hidden_layers"] == 8
    assert config["architectures"] == (["LlamaForSequenceClassification"] if chips == "exact" else ["LlamaModel"])
    chosen = tmp_path / "chosen.chips"
    chip_json("select", made / f"{chips}.chips", "--rule", "fixed", "--layer", 7, "--out", chosen)
    whole = chip("run", BOOKS, "--chips", chosen, "--dtype", "float32", input="\n".join(lines) + "\n")
    cut = chip("run", out, "--dtype", "float32", input="\n".join(lines) + "\n")
    assert whole.returncode == cut.returncode == 0, whole.stderr + cut.stderr
    assert whole.stdout == cut.stdout and len(cut.stdout.splitlines()) == 10
    for line in cut.stdout.splitlines():
        label, *shares = line.split("\t")
        shares = {name: float(value) for name, value in (share.split("=") for share in shares)}
        assert label == max(shares, key=shares.get) and sum(shares.values()) == pytest.approx(1, abs=2e-6)


def test_texts_leave_early_where_chips_are_sure(made, tmp_path):
    found = chip_json("eval", made / "exact.chips", "--features", made / "place.features", "--exit", "0,0.7,1")["results"]
    never, at_once, some, _ = found
    assert never["mean_layers"] >= some["mean_layers"] >= at_once["mean_layers"] == 1
    assert never["count"] == TEXTS
    chosen = never["mean_layers"]
    result = chip("run", BOOKS, "--chips", made / "exact.chips", "--exit", 0.7, input="a text\nanother one\n")
    layers = [int(line.split("layer=")[1]) for line in result.stdout.splitlines()]
    assert len(layers) == 2 and all(0 <= layer < chosen for layer in layers)


def test_several_tasks_share_a_trunk(made, tmp_path):
    (tmp_path / "long.csv").write_text("words,long\n" + "".join(f'"{text[: 10 + 30 * (i % 2)]}",{i % 2}\n' for i, (text, _) in enumerate(rows(3, 60))))
    chip_json("cache", BOOKS, "--data", tmp_path / "long.csv", "--text-field", "words", "--label-field", "long", "--position", "mean",
              "--out", tmp_path / "long.features")
    chip_json("train", made / "place.features", tmp_path / "long.features", "--kind", "linear", "--method", "ridge", "--out", tmp_path / "both.chips")
    exported = chip_json("export", BOOKS, "--chips", tmp_path / "both.chips", "--out", tmp_path / "out")
    assert "several tasks" in exported["why_plain"]
    result = chip("run", tmp_path / "out", input="it was a dark and stormy night\n")
    first, second = re.findall(r"(place|long): (\w+)", result.stdout)
    assert (first[0], second[0]) == ("place", "long") and second[1] in "01"
    alone = chip("run", tmp_path / "out", "--task", "long", input="it was a dark and stormy night\n")
    assert alone.stdout.startswith(second[1] + "\t0=")


@pytest.fixture(scope="module")
def classifier(made):
    chip_json("export", BOOKS, "--chips", made / "exact.chips", "--layer", 3, "--out", made / "classifier")
    return made / "classifier"


def test_inspect_tells_a_classifier(classifier):
    found = run_json("inspect", classifier)["classifier"]
    assert found["chips"] and found["head"]
    assert found["tasks"] == [{"task": "place", "classes": ["home", "sea"], "layer": 3, "kind": "linear"}]
    assert "place (home, sea), linear chip behind layer 3" in run("inspect", classifier).stdout
    assert run_json("inspect", BOOKS)["classifier"] is None


@pytest.mark.parametrize("words", [["export", "--gguf"], ["eval", "--perplexity", VALID], ["generate", "--prompt", "a"],
                                   ["prune", "--data", VALID, "--layers", 1, "--out"], ["heal", "--data", VALID, "--out"],
                                   ["merge", BOOKS, "--base", BOOKS, "--out"]], ids=lambda words: words[0])
def test_what_wants_text_refuses_a_classifier(classifier, tmp_path, words):
    out = [tmp_path / "o.gguf"] if words[-1] == "--gguf" else [tmp_path / "o"] if words[-1] == "--out" else []
    result = run(words[0], classifier, *words[1:], *out)
    assert result.returncode == 1 and "is a classifier" in result.stderr, result.stderr
    assert ("chip export --gguf" if words[0] == "export" else "chip run") in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_classifier_without_chips_is_not_sent_to_chip_run(classifier, tmp_path):
    shutil.copytree(classifier, tmp_path / "bare", ignore=shutil.ignore_patterns("chips.safetensors"))
    result = run("eval", tmp_path / "bare", "--perplexity", VALID)
    assert result.returncode == 1 and "is a classifier and writes no text; take the model" in result.stderr, result.stderr


def test_an_exported_classifier_can_be_exported_again(classifier, tmp_path):
    found = chip_json("export", classifier, "--chips", classifier / "streamline" / "chips.safetensors", "--out", tmp_path / "out",
                      "--gguf", tmp_path / "o.gguf", "--type", "f32")
    assert found["layers"] == 4 and found["why_plain"] is None and (tmp_path / "o.gguf").exists()
    assert sum("llama.cpp" in note for note in found["notes"]) == 1


def test_a_gguf_classifier_that_llama_cpp_refuses_is_warned_of(classifier, tmp_path):
    done = chip("export", classifier, "--chips", classifier / "streamline" / "chips.safetensors", "--out", tmp_path / "out", "--gguf",
                tmp_path / "o.gguf")
    assert done.returncode == 0 and "reads a classifier of the architecture qwen3 only" in done.stderr
    assert "qwen3 only" not in done.stdout


def test_nothing_to_classify_is_said(classifier):
    done = chip("run", classifier, input="")
    assert done.returncode == 0 and done.stdout == "" and done.stderr.count("nothing to classify") == 1
    assert "nothing to classify" not in chip("run", classifier, input="\n").stderr


def test_texts_that_were_seen_are_told(made):
    result = chip("eval", made / "exact.chips", made / "place.features")
    assert result.returncode == 0 and "these very texts" in result.stderr and "most frequent class" in result.stdout
    twice = chip_json("eval", made / "exact.chips", "--features", made / "place.features", made / "place.features")["results"]
    assert len(twice) == 2 and twice[0]["seen"] and 0.3 < twice[0]["most_frequent"]["accuracy"] < 0.7


def test_chips_that_learnt_nothing_are_told(made):
    result = chip("train", made / "place.features", "--kind", "linear", "--learning-rate", 1e-9, "--validation", 0.25)
    assert result.returncode == 0 and "kept nowhere" in result.stdout and "-0.000" not in result.stdout
    assert "better than always" in result.stderr and "--method ridge" in result.stderr


BAD = {
    "a layer beside another rule": (lambda m, t: ["export", BOOKS, "--chips", m / "exact.chips", "--rule", "best", "--layer", 4, "--out", t / "o"],
                                    2, ["--layer goes with --rule fixed"]),
    "a loss of accuracy beside the best": (lambda m, t: ["select", m / "exact.chips", "--rule", "best", "--within", 0.1], 2,
                                           ["--within goes with --rule earliest"]),
    "fields of rows beside a task": (lambda m, t: ["cache", BOOKS, "--task", "sst2", "--data-dir", t, "--prompt", "x", "--out", t / "o"], 2,
                                     ["--prompt goes with --data"]),
    "a task's options beside rows": (lambda m, t: ["cache", BOOKS, "--data", m / "place.jsonl", "--num-fewshot", 3, "--out", t / "o"], 2,
                                     ["--num-fewshot goes with --task"]),
    "steps of a closed form": (lambda m, t: ["train", m / "place.features", "--method", "ridge", "--epochs", 3], 2,
                               ["--epochs goes with --method adamw"]),
    "a type of no file": (lambda m, t: ["export", BOOKS, "--chips", m / "exact.chips", "--out", t / "o", "--type", "q8_0"], 2,
                          ["--type goes with --gguf"]),
    "a plain trunk as GGUF": (lambda m, t: ["export", BOOKS, "--chips", m / "exact.chips", "--out", t / "o", "--plain", "--gguf", t / "o.gguf"],
                              2, ["--plain leaves no classifier"]),
    "a file without rows": (lambda m, t: ["cache", BOOKS, "--data", VALID, "--out", t / "o"], 1, ["--data takes .jsonl, .json, .csv and .tsv"]),
    "a model without chips": (lambda m, t: ["run", BOOKS], 2, ["has no chips in it", "--chips"]),
    "no texts": (lambda m, t: ["cache", BOOKS, "--out", t / "f"], 2, ["--task NAME", "--data FILE"]),
    "labels that differ": (lambda m, t: ["cache", BOOKS, "--data", f"{m / 'place.jsonl'},{other_labels(t)}", "--out", t / "f"], 1,
                           ["other.jsonl: has the label 'sideways', which"]),
    "another task's classes": (lambda m, t: ["eval", m / "exact.chips", "--features", other_features(t)], 1,
                               ["its classes are sideways, up; those of", "home, sea"]),
    "a truncated cache": (lambda m, t: ["train", cut_short(m / "place.features", t / "f")], 1, ["f: "]),
    "a changed cache": (lambda m, t: ["train", changed(m / "place.features", t / "f")], 1, ["is damaged"]),
    "chips for features": (lambda m, t: ["train", m / "exact.chips"], 1, ["no file of features"]),
    "another model": (lambda m, t: ["run", other_model(t), "--chips", m / "exact.chips"], 1, ["is of other weights"]),
    "an export of another model": (lambda m, t: ["export", other_model(t), "--chips", m / "exact.chips", "--out", t / "o"], 1, ["is of other weights"]),
    "an MLP in closed form": (lambda m, t: ["train", m / "place.features", "--kind", "mlp", "--method", "ridge"], 2, ["no closed form"]),
    "a GGUF file that cannot be": (lambda m, t: ["export", BOOKS, "--chips", m / "plain.chips", "--out", t / "o", "--gguf", t / "o.gguf"], 1,
                                   ["--feature-norm rms"]),
    "no such action": (lambda m, t: ["tune"], 2, ["streamline chip --help"]),
}


def other_labels(folder):
    (folder / "other.jsonl").write_text('{"text": "a", "label": "sideways"}\n{"text": "b", "label": "up"}\n' * 10)
    return folder / "other.jsonl"


def other_features(folder):
    chip_json("cache", BOOKS, "--data", other_labels(folder), "--out", folder / "other.features")
    return folder / "other.features"


def cut_short(source, target):
    target.write_bytes(source.read_bytes()[:-1000])
    return target


def changed(source, target):
    content = bytearray(source.read_bytes())
    content[-7] ^= 4
    target.write_bytes(content)
    return target


def other_model(folder):
    result = run("prune", BOOKS, "--data", VALID, "--cut", 3, "--replace", "none", "--seq-len", 64, "--samples", 4, "--out", folder / "other")
    assert result.returncode == 0, result.stderr
    return folder / "other"


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_line(made, tmp_path, case):
    words, status, expected = BAD[case]
    result = chip(*words(made, tmp_path), input="")
    assert result.returncode == status, result.stderr
    message = [line for line in result.stderr.splitlines() if line.startswith("streamline")]
    assert len(message) == 1 and all(part in message[0] for part in expected), result.stderr
    assert not (tmp_path / "o").exists() and not (tmp_path / "o.gguf").exists()


def test_a_line_that_does_not_fit_the_prompt_is_told(made, tmp_path):
    chip_json("cache", BOOKS, "--data", made / "place.jsonl", "--prompt", "{{text}} {{label}}", "--out", tmp_path / "f", "--limit", 30)
    chip_json("train", tmp_path / "f", "--kind", "linear", "--method", "ridge", "--out", tmp_path / "c")
    result = chip("run", BOOKS, "--chips", tmp_path / "c", input='{"text": "a", "label": "b"}\nplain\n')
    assert result.returncode == 1 and "line 2: the prompt is made of several fields (text, label)" in result.stderr
