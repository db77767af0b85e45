# SPDX-License-Identifier: Apache-2.0
"""Every command on the shipped model, as the README writes it."""

import itertools
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
from program import BOOKS, CALIBRATION, ROOT, VALID, check_log_ratio, run, run_json

COMMANDS = ["inspect", "score", "prune", "apply", "plan", "merge", "export", "eval", "stability", "chip", "generate", "bench", "list"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(command):
    result = run(command, "--help")
    assert result.returncode == 0
    assert "Examples:" in result.stdout and f"streamline {command}" in result.stdout


def headings(text):
    """The options of a --help by the heading that they stand under."""
    found, heading = {}, None
    for line in text.splitlines():
        if line and not line.startswith(" ") and line.endswith(":"):
            heading = line[:-1]
        elif line.startswith("  -"):
            found[line.split()[0].split(",")[-1]] = heading
    return found


def test_help_of_prune_puts_what_few_methods_take_under_their_names():
    where = headings(run("prune", "--help").stdout)
    methods = {method["name"]: {"--" + param["name"] for param in method["parameters"]} for method in run_json("list")["methods"]}
    for option in set().union(*methods.values()):
        having = {name for name, options in methods.items() if option in options}
        if where[option] == "What to cut":
            assert len(having) > len(methods) / 4
        else:
            assert where[option].startswith("With --method ")
            assert set(where[option].removeprefix("With --method ").replace(" or ", ", ").split(", ")) == having
    assert where["--out"] == "Options" and where["--method"] == "What to cut" and where["--json"] == "Machine and messages"


def test_help_of_prune_is_brief_about_layers_and_list_says_what_they_are_to_each_method():
    (line,) = (line for line in run("prune", "--help").stdout.splitlines() if line.lstrip().startswith("--layers "))
    assert "`streamline list METHOD`" in line and len(line) < 160
    meanings = {method["name"]: param["help"] for method in run_json("list")["methods"] for param in method["parameters"]
                if param["name"] == "layers"}
    assert "halves" in meanings["mlp-drop"] and "threshold" in meanings["laco"] and "replacement" in meanings["shortgpt"]


def test_list_tells_of_one_name():
    method = run("list", "shortgpt").stdout
    assert "kind: method" in method and "arXiv 2403.03853" in method and "--protect INT,..." in method
    assert run_json("list", "shortgpt")["parameters"]
    assert "replacement" in run("list", "swiglu").stdout and "kind: task" in run("list", "piqa").stdout
    wrong = run("list", "shortgtp")
    assert wrong.returncode == 2 and "the nearest is 'shortgpt'" in wrong.stderr


def test_help_of_heal_puts_what_goes_with_a_choice_under_it():
    where = headings(run("heal", "--help").stdout)
    assert where["--rank"] == "With --with lora or dora" and where["--late"] == "With --with sherl"
    assert where["--tokens"] == "Training" and where["--data"].startswith("Text")


def test_the_program_says_its_version_and_commands():
    assert run("--version").stdout.startswith("streamline 0.")
    overview = run("--help").stdout
    assert all(command in overview for command in COMMANDS)


def test_inspect_says_what_the_card_says():
    found = run_json("inspect", BOOKS)
    assert (found["layers"], found["hidden_size"], found["vocab_size"], found["family"]) == (12, 192, 4096, "llama")
    # 12 (q, o: 192 x 192; k, v: 64 x 192; three of 512 x 192; two norms) + embedding + norm
    assert found["parameters"] == 12 * (2 * 192 * 192 + 2 * 64 * 192 + 3 * 512 * 192 + 2 * 192) + 4096 * 192 + 192


def test_inspect_says_what_was_done(tmp_path):
    run_json("prune", BOOKS, "--data", CALIBRATION, "--cut", 2, "--start", 4, "--replace", "none", "--seq-len", 64, "--samples", 2,
             "--eval-windows", 2, "--no-speed", "--out", tmp_path / "cut")
    run_json("sparsify", BOOKS, "--method", "magnitude", "--ratio", 0.5, "--out", tmp_path / "sparse")
    made = {name: run_json("inspect", tmp_path / name)["made"] for name in ("cut", "sparse")}
    assert made["cut"] == {"by": "prune", "of": str(BOOKS), "what": "Removed layers 4..5 of 12"}
    assert made["sparse"]["by"] == "sparsify" and made["sparse"]["what"].startswith("50.")
    assert f"by `prune` of {BOOKS}: Removed layers 4..5" in run("inspect", tmp_path / "cut").stdout
    (tmp_path / "cut/report.json").write_text("[1, {")  # somebody else's
    assert run_json("inspect", tmp_path / "cut")["made"] is None
    assert run_json("inspect", BOOKS)["made"] is None


def test_score_orders_every_window():
    found = run_json("score", BOOKS, "--data", CALIBRATION, "--seq-len", 128, "--samples", 8)
    cosine = found["cosine"]
    assert len(cosine) == 13 and all(abs(cosine[i][i] - 1) < 1e-6 for i in range(13))
    assert all(abs(cosine[i][j] - cosine[j][i]) < 1e-6 for i in range(13) for j in range(13))


def test_eval_reaches_the_perplexity_of_the_card():
    # The card: about 60 on valid.txt in 256-token windows, 62.2 on its first 48.
    found = run_json("eval", BOOKS, "--perplexity", VALID, "--bos", "off", "--window", 256, "--max-windows", 48)["perplexity"]
    assert 55 < found["value"] < 70
    assert found["tokens"] == 48 * 255


def test_generate_keeps_the_blank_behind_the_prompt():
    words = ["generate", BOOKS, "--prompt", "It was a", "--max-tokens", 4, "--temperature", 0]
    assert run_json(*words)["text"].startswith(" ")
    assert run(*words).stdout.startswith("It was a ")


def test_generate_prints_nothing_before_it_is_sure():
    refused = run("generate", BOOKS, "--prompt", "It was", "--max-tokens", 400)
    assert refused.returncode == 1 and refused.stdout == "" and "exceed the model's 256 positions" in refused.stderr


def test_generate_is_greedy_at_temperature_zero():
    words = ["generate", BOOKS, "--prompt", "It was a dark night", "--max-tokens", 8, "--temperature", 0]
    first, again = run_json(*words), run_json(*words, "--seed", 1)
    assert first["text"] == again["text"] and len(first["tokens"]) <= 8
    assert run(*words, "--quiet").stdout == "It was a dark night" + first["text"] + "\n"


def test_list_names_what_prune_accepts():
    found = run_json("list")
    assert {"none", "layer", "ffn", "swiglu-residual"} <= {entry["name"] for entry in found["replacements"]}
    assert {"llama", "mistral", "qwen2", "qwen3", "opt"} <= {entry["name"] for entry in found["families"]}


def test_the_page_of_families_is_the_registrys():
    script = pathlib.Path(__file__).parents[2] / "scripts/families_page.py"
    subprocess.run([sys.executable, script, os.environ["STREAMLINE_PROGRAM"], "--check"], check=True)


def test_every_method_has_a_page_and_a_place_in_the_table_of_all():
    pages = ROOT / "docs" / "methods"
    rows = re.findall(r"^\| \[(.+?)\]\((.+?)\) \|", (pages / "README.md").read_text(encoding="utf-8"), re.M)
    page_of = {name: page for names, page in rows for name in re.findall("`(.+?)`", names)}
    methods = [method["name"] for method in run_json("list")["methods"]]
    assert sorted(page_of) == sorted(methods)
    for name in methods:
        for page in {page_of[name], f"{name}.md" if (pages / f"{name}.md").exists() else page_of[name]}:
            title = (pages / page).read_text(encoding="utf-8").splitlines()[0]
            assert title.startswith("# ") and name in title.removeprefix("# ").split(", "), page


def test_export_takes_a_type_in_capitals(tmp_path):
    assert run_json("export", BOOKS, "--gguf", tmp_path / "a.gguf", "--type", "Q8_0")["type"] == "q8_0"


def test_bench_measures_prefill_and_decoding():
    found = run_json("bench", BOOKS, "--prompt-tokens", 64, "--decode-tokens", 4, "--repetitions", 1)
    assert all(value > 0 for key, value in found.items() if key.endswith("tokens_per_second"))


def test_prune_writes_what_eval_measures_and_apply_repeats(tmp_path):
    out, again = tmp_path / "out", tmp_path / "again"
    report = run_json("prune", BOOKS, "--data", CALIBRATION, "--eval", VALID, "--out", out, "--cut", 3, "--replace",
                      "layer", "--seq-len", 64, "--samples", 16, "--tokens", 16384, "--eval-windows", 8, "--no-speed",
                      "--dtype", "float32", "--accept-worse")
    healed = next(row for row in report["models"] if row["name"] == "healed")
    measured = run_json("eval", out, "--perplexity", VALID, "--window", 64, "--max-windows", 8, "--dtype", "float32")
    assert measured["perplexity"]["value"] == pytest.approx(healed["perplexity"]["value"], rel=1e-4)
    source, *changed = report["models"]
    for model in changed:
        check_log_ratio(source, model)
    assert json.loads((out / "report.json").read_text())["models"] == report["models"]
    assert "<html" in (out / "report.html").read_text()[:200]

    run_json("apply", BOOKS, "--plan", out / "streamline" / "plan.json", "--out", again, "--dtype", "float32")
    assert (again / "model.safetensors").read_bytes()[-100_000:] == (out / "model.safetensors").read_bytes()[-100_000:]


def test_the_same_seed_writes_the_same_weights(tmp_path):
    words = ["prune", BOOKS, "--data", CALIBRATION, "--cut", 3, "--replace", "swiglu-residual", "--seq-len", 64,
             "--samples", 8, "--tokens", 4096, "--no-speed", "--accept-worse", "--seed", 3]
    for name in ("a", "b"):
        run_json(*words, "--out", tmp_path / name)
    weights = [(tmp_path / name / "model.safetensors").read_bytes()[-1_000_000:] for name in ("a", "b")]
    assert weights[0] == weights[1]


def test_a_model_is_found_by_its_name_in_the_hub_cache(tmp_path):
    repository = tmp_path / "models--org--books"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / ("0" * 40)).symlink_to(BOOKS)
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path)}
    found = json.loads(run("inspect", "org/books", "--json", env=environment).stdout)
    assert found == run_json("inspect", BOOKS) | {"path": found["path"]}
    missing = run("inspect", "org/other", env=environment)
    assert missing.returncode == 1 and "hf download org/other" in missing.stderr


HALVES = [("keep", 0, 1), ("drop-attention", 2, 2), ("keep", 3, 5), ("drop-mlp", 6, 6), ("keep", 7, 7),
          ("drop-mlp", 8, 8), ("drop-attention", 9, 9), ("keep", 10, 11)]


@pytest.fixture
def halves(tmp_path):
    """A plan for the shipped model: two halves that stay alone, and two that become one layer."""
    return written_plan(tmp_path / "plan.json", HALVES)


def written_plan(path, actions):
    segments = [{"first": first, "last": last, "action": action} for action, first, last in actions]
    path.write_text(json.dumps({"format": "streamline-plan", "version": 1, "base": {"layers": 12},
                                "method": {"name": "manual"}, "segments": segments}))
    return path


def test_each_format_stores_halves_as_it_says_and_computes_the_same(halves, tmp_path):
    # A layer's attention: q, o: 192 x 192; k, v: 64 x 192; its MLP: three of 512 x 192; a norm each.
    attention, mlp = 2 * 192 * 192 + 2 * 64 * 192 + 192, 3 * 512 * 192 + 192
    whole = run_json("inspect", BOOKS)["parameters"]
    wanted = {"auto": ("ordinary", whole - attention - mlp, True),
              "ordinary": ("ordinary", whole - attention - mlp, True),
              "decilm": ("decilm", whole - 2 * attention - 2 * mlp, False),
              "per-layer": ("per-layer", whole - 2 * attention - 2 * mlp, False)}
    values = []
    for name, (form, parameters, ordinary) in wanted.items():
        out = tmp_path / name
        done = run_json("apply", BOOKS, "--plan", halves, "--out", out, "--format", name, "--dtype", "float32")
        assert (done["format"], done["parameters"], done["ordinary"]) == (form, parameters, ordinary)
        assert (done["layers"], done["largest_logit_difference"] < 1e-5) == (11, True)
        assert all(note in (out / "README.md").read_text() for note in done["notes"])
        values.append(run_json("eval", out, "--perplexity", VALID, "--window", 64, "--max-windows", 4, "--dtype",
                               "float32")["perplexity"]["value"])
    assert max(values) / min(values) - 1 < 1e-5


def test_however_far_it_is_checked_the_result_is_the_same(halves, tmp_path):
    whole = written_plan(tmp_path / "whole.json", [("keep", 0, 3), ("drop", 4, 5), ("keep", 6, 11)])
    done = {}
    for plan, check in itertools.product((halves, whole), ("auto", "files", "logits")):
        out = tmp_path / f"{plan.stem}-{check}"
        result = run_json("apply", BOOKS, "--plan", plan, "--out", out, "--check", check)
        done[plan, check] = result["checked"], result["largest_logit_difference"]
        assert (out / "model.safetensors").read_bytes() == (tmp_path / f"{plan.stem}-auto/model.safetensors").read_bytes()
    for plan in (halves, whole):
        assert done[plan, "files"] == ("files", None) and done[plan, "logits"] == ("logits", 0)
    assert done[whole, "auto"] == ("tensors", None) and done[halves, "auto"] == ("logits", 0)


def test_a_decilm_checkpoint_is_scored_and_pruned_like_any(halves, tmp_path):
    run_json("apply", BOOKS, "--plan", halves, "--out", tmp_path / "decilm", "--format", "decilm")
    assert run_json("inspect", tmp_path / "decilm")["family"] == "nemotron_nas"
    done = run_json("prune", tmp_path / "decilm", "--data", CALIBRATION, "--out", tmp_path / "out", "--cut", 2,
                    "--replace", "none", "--seq-len", 64, "--samples", 4, "--eval", VALID, "--eval-windows", 2,
                    "--no-speed")
    assert done["output"]["format"] == "decilm"
    assert run_json("inspect", tmp_path / "out")["layers"] == 9
    assert run_json("export", tmp_path / "out", "--gguf", tmp_path / "x.gguf", "--type", "f32")["architecture"] == "deci"
    values = [run_json("eval", tmp_path / name, "--perplexity", VALID, "--window", 128, "--max-windows", 2, "--dtype",
                       "float32")["perplexity"]["value"] for name in ("out", "x.gguf")]
    assert abs(values[0] / values[1] - 1) < 1e-5
    run_json("prune", tmp_path / "x.gguf", "--data", CALIBRATION, "--out", tmp_path / "y.gguf", "--cut", 2, "--replace", "none",
             "--seq-len", 64, "--samples", 4, "--eval", VALID, "--eval-windows", 2, "--no-speed")
    assert run_json("inspect", tmp_path / "y.gguf")["layers"] == 7


def test_a_gguf_result_is_replaced_with_all_that_stands_beside_it(tmp_path):
    run("export", BOOKS, "--gguf", tmp_path / "books.gguf")
    small = ["prune", tmp_path / "books.gguf", "--data", CALIBRATION, "--out", tmp_path / "n.gguf", "--no-speed", "--samples", 2,
             "--seq-len", 64, "--eval-windows", 1, "--quiet"]
    first = run_json(*small, "--cut", 3, "--replace", "layer", "--tokens", 500, "--validation", 1, "--accept-worse")
    told, written = next(model["bytes"] for model in first["models"] if model["name"] == "healed"), (tmp_path / "n.gguf").stat().st_size
    assert 0.9 * written < told < written  # of which the tokenizer is the rest
    beside = {path.name for path in tmp_path.iterdir()}
    assert {"n.plan.json", "n.report.html", "n.replacement.safetensors", "n.streamline"} <= beside
    assert "cut: 3\n" in (tmp_path / "n.streamline/recipe.yaml").read_text()
    assert run(*small, "--cut", 4, "--replace", "none").returncode == 1  # not without --overwrite
    assert {path.name for path in tmp_path.iterdir()} == beside
    run_json(*small, "--cut", 4, "--replace", "none", "--overwrite")
    assert {path.name for path in tmp_path.iterdir()} == beside - {"n.replacement.safetensors"}
    assert json.loads((tmp_path / "n.report.json").read_text())["choice"]["cut"] == 4
    assert run_json("inspect", tmp_path / "n.gguf")["layers"] == 8


def test_halves_that_no_architecture_of_llama_cpp_says_are_refused(halves, tmp_path):
    run_json("apply", BOOKS, "--plan", halves, "--out", tmp_path / "skips", "--format", "per-layer")
    refused = run("export", tmp_path / "skips", "--gguf", tmp_path / "x.gguf", "--quiet")
    assert refused.returncode == 1 and "cannot become a GGUF file" in refused.stderr
    assert not (tmp_path / "x.gguf").exists()


def test_a_format_that_does_not_fit_is_refused_before_any_work(halves, tmp_path):
    for words, status, message in [
            (["apply", BOOKS, "--plan", halves, "--format", "deci"], 2, "none of auto, ordinary, decilm, per-layer"),
            (["prune", BOOKS, "--data", CALIBRATION, "--cut", 2, "--replace", "ffn", "--format", "decilm"], 1,
             "is no layer that the format decilm can hold"),
            (["prune", BOOKS, "--data", CALIBRATION, "--cut", 2, "--replace", "ffn", "--format", "ordinary"], 2,
             "no layer that ordinary checkpoints have")]:
        result = run(*words, "--out", tmp_path / "out", "--quiet")
        assert result.returncode == status and message in result.stderr, result.stderr
        assert len(result.stderr.splitlines()) == 1
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("windows", [1, 2])
def test_a_perplexity_says_what_was_counted_and_its_error_where_there_is_one(windows):
    """One window has none."""
    result = run("eval", BOOKS, "--perplexity", VALID, "--window", 64, "--max-windows", windows)
    assert result.returncode == 0, result.stderr
    assert f" ({windows * 63} tokens scored in windows of 64, stride 64, with BOS; " in result.stdout
    assert ("±" in result.stdout.split("(")[0]) == ("; ± one standard error)" in result.stdout) == (windows == 2)
