# SPDX-License-Identifier: Apache-2.0
"""Plans that mask single weights, as a user makes them, puts them together, looks through them and carries them out."""

import hashlib
import json

import pytest
from program import BOOKS, CALIBRATION, VALID, copy_of_books, run, run_json, safetensors_bytes, weights

TEXT = ["--data", CALIBRATION, "--seq-len", 64, "--samples", 8]
FEW = ["--perplexity", VALID, "--window", 64, "--max-windows", 2]
UP = "model.layers.3.mlp.up_proj.weight"


def tensors(folder):
    """{name: (type, shape, bytes)} of a checkpoint."""
    header, data = weights(folder / "model.safetensors")
    return {name: (entry["dtype"], entry["shape"], data[slice(*entry["data_offsets"])])
            for name, entry in header.items() if name != "__metadata__"}


def cut_plan(path, dropped, **more):
    """A plan by hand that drops layers."""
    segments = [{"first": i, "last": i, "action": "drop" if i in dropped else "keep"} for i in range(12)]
    path.write_text(json.dumps({"format": "streamline-plan", "version": 1, "base": {"layers": 12},
                                "method": {"name": "manual"}, "segments": segments} | more))
    return path


def masks_plan(folder, header, data, name="masks"):
    """A plan by hand with a masks file of any content."""
    content = safetensors_bytes(header, data)
    (folder / f"{name}.masks.safetensors").write_bytes(content)
    entry = {"file": f"{name}.masks.safetensors", "sha256": hashlib.sha256(content).hexdigest()}
    return cut_plan(folder / f"{name}.json", [], version=3, masks=entry)


def one_mask(tensor, layer, shape, described=None):
    """Header and data of a mask that keeps nothing."""
    elements = 1
    for size in shape:
        elements *= size
    size = (elements + 7) // 8
    metadata = {"format": "streamline-masks", "version": "1",
                "tensors": json.dumps({tensor: described or {"layer": layer, "shape": shape}})}
    return {"__metadata__": metadata, tensor: {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}, bytes(size)


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    """masks.json, and what `sparsify` writes for the same words, in `whole`."""
    folder = tmp_path_factory.mktemp("masks")
    words = ["sparsify", BOOKS, *TEXT, "--pattern", "2:4"]
    record = run_json(*words, "--plan-only", "--out", folder / "masks.json")
    assert json.loads((folder / "masks.json").read_text()) == record["plan"]
    assert sorted(path.name for path in folder.iterdir()) == ["masks.json", "masks.masks.safetensors"]
    run_json(*words, "--out", folder / "whole")
    return folder


def test_the_plan_is_what_sparsify_writes(masked, tmp_path):
    plan = json.loads((masked / "masks.json").read_text())
    assert plan["version"] == 3 and plan["method"]["name"] == "sparsify"
    assert plan["method"]["parameters"] == {"method": "wanda", "allocation": "uniform", "ratio": 0.5, "pattern": "2:4",
                                            "inputs": "pruned"}
    assert plan["masks"]["sha256"] == hashlib.sha256((masked / "masks.masks.safetensors").read_bytes()).hexdigest()
    found = run_json("apply", BOOKS, "--plan", masked / "masks.json", "--out", tmp_path / "out")
    assert found["checked"] == "logits"
    assert tensors(tmp_path / "out") == tensors(masked / "whole") != tensors(BOOKS)
    again = run("apply", BOOKS, "--plan", tmp_path / "out", "--out", tmp_path / "again")
    assert again.returncode == 0 and "single weights masked" in again.stdout, again.stderr
    assert (tmp_path / "again/model.safetensors").read_bytes() == (tmp_path / "out/model.safetensors").read_bytes()


def test_a_bit_says_that_a_weight_stays(masked):
    header, data = weights(masked / "masks.masks.safetensors")
    described = json.loads(header["__metadata__"]["tensors"])
    whole = tensors(masked / "whole")
    assert len(described) == 84
    for name in (UP, "model.layers.0.self_attn.q_proj.weight"):
        assert described[name] == {"layer": int(name.split(".")[2]), "shape": whole[name][1]}
        values = memoryview(whole[name][2]).cast("H")
        bits = data[slice(*header[name]["data_offsets"])]
        assert all((bits[i // 8] >> i % 8) & 1 == (value != 0) for i, value in enumerate(values))


def test_magnitude_goes_the_same_way(tmp_path):
    words = ["sparsify", BOOKS, "--method", "magnitude", "--ratio", 0.4, "--out"]
    told = run(*words, tmp_path / "m.json", "--plan-only")
    assert told.returncode == 0 and "m.masks.safetensors" in told.stdout, told.stderr
    run_json(*words, tmp_path / "whole")
    run_json("apply", BOOKS, "--plan", tmp_path / "m.json", "--out", tmp_path / "out")
    assert tensors(tmp_path / "out") == tensors(tmp_path / "whole")


def test_the_plan_says_how_its_layers_came_to_differ(tmp_path):
    made = run_json("sparsify", BOOKS, "--method", "magnitude", "--ratio", 0.4, "--allocation", "alpha", "--spread", 0.2, "--clip",
                    "--cap", 0.5, "--tail", "middle", "--plan-only", "--out", tmp_path / "m.json")
    assert made["plan"]["method"]["parameters"] == {"method": "magnitude", "allocation": "alpha", "ratio": 0.4, "spread": 0.2,
                                                    "clip": True, "cap": 0.5, "tail": "middle"}


def test_layers_are_cut_and_the_rest_is_masked(masked, tmp_path):
    cut = cut_plan(tmp_path / "cut.json", [4, 5, 8])
    merged = run_json("plan", "merge", cut, masked / "masks.json", "--out", tmp_path / "both.json")
    assert merged["summary"] == "dropped layers 4..5, 8 (of 12), single weights masked"
    header, _ = weights(tmp_path / "both.masks.safetensors")
    assert len(header) - 1 == 9 * 7 and not any(f".layers.{layer}." in name for name in header for layer in (4, 5, 8))
    run_json("apply", BOOKS, "--plan", tmp_path / "both.json", "--out", tmp_path / "both")
    run_json("apply", masked / "whole", "--plan", cut, "--out", tmp_path / "then")
    assert tensors(tmp_path / "both") == tensors(tmp_path / "then")


def test_what_looks_through_a_plan_sees_its_masks(masked):
    seen = run_json("eval", BOOKS, "--plan", masked / "masks.json", *FEW)["perplexity"]["value"]
    written = run_json("eval", masked / "whole", *FEW)["perplexity"]["value"]
    assert seen == pytest.approx(written, rel=1e-5)
    assert seen != pytest.approx(run_json("eval", BOOKS, *FEW)["perplexity"]["value"], rel=1e-2)
    models = run_json("compare", BOOKS, masked / "whole", "--plan", masked / "masks.json", *FEW, "--no-speed")["models"]
    assert models[2]["perplexity"]["value"] == pytest.approx(models[1]["perplexity"]["value"], rel=1e-5)
    assert models[2]["perplexity"]["value"] != pytest.approx(models[0]["perplexity"]["value"], rel=1e-2)
    words = ["generate", BOOKS, "--prompt", "It was a dark night and", "--max-tokens", 8, "--temperature", 0]
    through = run_json(*words, "--plan", masked / "masks.json")["tokens"]
    assert through == run_json(words[0], masked / "whole", *words[2:])["tokens"]
    refused = run(*words, "--plan", masked / "masks.json", "--cut-in", "decode")
    assert refused.returncode == 2 and "this one masks weights" in refused.stderr


def test_a_gguf_file_is_refused(tmp_path):
    assert run("export", BOOKS, "--gguf", tmp_path / "books.gguf").returncode == 0
    plan = masks_plan(tmp_path, *one_mask(UP, 3, tensors(BOOKS)[UP][1]))
    done = run("apply", tmp_path / "books.gguf", "--plan", plan, "--out", tmp_path / "out.gguf", "--quiet")
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "books.gguf: the plan masks weights" in done.stderr
    assert not (tmp_path / "out.gguf").exists()


def test_a_checkpoint_that_is_only_renumbered_is_refused(tmp_path):
    unknown = copy_of_books(tmp_path / "unknown", {"model_type": "nobody-knows", "architectures": ["NobodyForCausalLM"]})
    plan = masks_plan(tmp_path, *one_mask(UP, 3, tensors(BOOKS)[UP][1]))
    done = run("apply", unknown, "--plan", plan, "--out", tmp_path / "out", "--quiet")
    assert done.returncode == 1 and "the plan masks weights; by names alone only whole layers can be dropped" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("mask", "message"), [
    (one_mask("model.layers.12.mlp.up_proj.weight", 12, [8, 8]), "'model.layers.12.mlp.up_proj.weight' is masked, and"),
    (one_mask(UP, 3, [8, 8]), f"'{UP}' is masked as [8,8]"),
    (one_mask(UP, 3, [8, 8], {"layer": 3, "shape": [8, 80]}), f"'{UP}' has 8 bytes of U8; a mask of the shape [8,80] has 80"),
    (one_mask("model.norm.weight", 0, [8]), "'model.norm.weight' is masked, and is no matrix of a decoder layer"),
])
def test_masks_of_another_model_are_one_line(tmp_path, mask, message):
    plan = masks_plan(tmp_path, *mask)
    for words in (["apply", BOOKS, "--plan", plan, "--out", tmp_path / "out"], ["eval", BOOKS, "--plan", plan, *FEW]):
        done = run(*words, "--quiet")
        assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1, done.stderr
    assert not (tmp_path / "out").exists()


def test_masks_that_were_cut_short_or_are_gone_are_one_line(masked, tmp_path):
    plan, file = tmp_path / "masks.json", tmp_path / "masks.masks.safetensors"
    plan.write_bytes((masked / "masks.json").read_bytes())
    file.write_bytes((masked / "masks.masks.safetensors").read_bytes()[:-100])
    for message in ("these are not the plan's masks", "masks.masks.safetensors: the plan's masks are not there"):
        for words in (["apply", BOOKS, "--plan", plan, "--out", tmp_path / "out"],
                      ["plan", "merge", plan, plan, "--out", tmp_path / "out.json"]):
            done = run(*words, "--quiet")
            assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1, done.stderr
        file.unlink(missing_ok=True)
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize(("words", "status", "message"), [
    ([*TEXT, "--method", "sparsegpt"], 2, "--method sparsegpt changes these too"),
    (["--method", "magnitude", "--max-shard-size", "1GB"], 2, "--max-shard-size goes with a checkpoint"),
])
def test_what_no_plan_can_say_is_refused(tmp_path, words, status, message):
    done = run("sparsify", BOOKS, *words, "--plan-only", "--out", tmp_path / "m.json", "--quiet")
    assert done.returncode == status and message in done.stderr and done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("taken", ["m.json", "m.masks.safetensors"])
def test_what_is_there_is_kept(tmp_path, taken):
    (tmp_path / taken).write_text("mine")
    words = ["sparsify", BOOKS, "--method", "magnitude", "--ratio", 0.5, "--plan-only", "--out", tmp_path / "m.json"]
    refused = run(*words, "--quiet")
    assert refused.returncode == 1 and f"{taken}: already exists" in refused.stderr
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
    assert run(*words, "--overwrite").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.json", "m.masks.safetensors"]
