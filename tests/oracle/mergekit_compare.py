# SPDX-License-Identifier: Apache-2.0
"""Sets merges of this program against mergekit's own, from the same files, on tiny models made for it.

    python3 -m venv MERGEKIT
    MERGEKIT/bin/pip install mergekit==0.1.5 torch==2.13.0+cpu
    MERGEKIT/bin/python tests/oracle/mergekit_compare.py --program build/release/streamline

Prints the largest difference of each merge, over the largest entry of its tensor. Of equal magnitudes at the threshold of
TIES, which bfloat16 has many of, mergekit keeps whichever its sort put first; here that sort is made a stable one. The
random masks of DARE come from other generators: of these the share of entries that are kept and the sums of magnitudes
are compared. Status 1 if anything differs by more than float32 rounding (of bfloat16 models: one unit in its last place).
"""

import argparse
import functools
import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from mergekit.config import MergeConfiguration
from mergekit.merge import run_merge
from mergekit.options import MergeOptions
from merging import differences, make_models, tensors

ROUNDING = {"float32": 2e-6, "bfloat16": 2**-7}


def task_vectors(models, method, weights, densities, **parameters):
    return {"merge_method": method, "base_model": models[0], "parameters": parameters,
            "models": [{"model": path, "parameters": {"weight": weight, "density": density}}
                       for path, weight, density in zip(models[1:], weights, densities)]}


def merges(models):
    """Names, and files as objects: YAML reads JSON."""
    base, one, two, three = models
    whole = [0, 4]
    yield "linear", {"merge_method": "linear", "models": [{"model": m, "parameters": {"weight": w}} for m, w in [(one, 1), (two, 3)]]}
    yield "linear, not normalised", {
        "merge_method": "linear", "parameters": {"normalize": False},
        "models": [{"model": m, "parameters": {"weight": w}} for m, w in [(one, [0.1, 0.9]), (two, [0.9, 0.1])]]}
    yield "task_arithmetic", task_vectors(models, "task_arithmetic", [0.5, 1, -0.3], [1, 1, 1], **{"lambda": 0.8})
    yield "ties", task_vectors(models, "ties", [1, 0.7, 0.4], [0.2, 0.5, [0.3, 0.9]])
    yield "ties, rescaled", task_vectors(models, "ties", [1, 0.7, 0.4], [0.2, 0.5, 1], normalize=False, rescale=True)
    yield "ties, filters", task_vectors(models, "ties", [[{"filter": "mlp", "value": [0, 1]}, {"value": 0.5}], 1, 1], [0.5] * 3)
    yield "dare_linear, all kept", task_vectors(models, "dare_linear", [0.5, 0.2, 0.4], [1, 1, 1])
    yield "dare_ties, all kept", task_vectors(models, "dare_ties", [0.5, 0.2, 0.4], [1, 1, 1])
    yield "slerp", {"merge_method": "slerp", "base_model": one, "parameters": {"t": [{"filter": "mlp", "value": [0, 0.5, 1]}, {"value": 0.4}]},
                    "slices": [{"sources": [{"model": one, "layer_range": whole}, {"model": two, "layer_range": whole}]}]}
    yield "slerp, a base that is not listed", {"merge_method": "slerp", "base_model": one, "parameters": {"t": 0.7}, "models": [{"model": two}]}
    yield "passthrough", {"merge_method": "passthrough", "slices": [
        {"sources": [{"model": one, "layer_range": [0, 3]}]},
        {"sources": [{"model": two, "layer_range": [1, 4], "parameters": {"scale": [{"filter": "down_proj", "value": 0.5}, {"value": 1}]}}]}]}
    yield "slices of ties", {"merge_method": "ties", "base_model": base, "parameters": {"density": 0.4, "weight": [0.2, 1]}, "slices": [
        {"sources": [{"model": m, "layer_range": [0, 2]} for m in (base, one, two)]},
        {"sources": [{"model": m, "layer_range": [1, 4]} for m in (base, two, three)]}]}


def merge_both(program, description, folder, name):
    file = folder / f"{name}.yml"
    file.write_text(json.dumps(description))
    mergekit, ours = folder / f"{name}-mergekit", folder / f"{name}-ours"
    run_merge(MergeConfiguration.model_validate(description), str(mergekit), MergeOptions(quiet=True, random_seed=1))
    subprocess.run([program, "merge", "--mergekit", file, "--out", ours, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    return tensors(ours), tensors(mergekit)


def compare(program, folder, dtype):
    worst = 0
    models = [str(path) for path in make_models(folder, 3, getattr(torch, dtype))]
    for number, (name, description) in enumerate(merges(models)):
        # mergekit computes in `dtype`; this program always in float32.
        ours, theirs = merge_both(program, description | {"dtype": "float32", "out_dtype": dtype}, folder, str(number))
        found = max(differences(ours, theirs).values())
        worst = max(worst, found)
        print(f"{dtype:9} {name:34} {found:.1e}")
    return worst <= ROUNDING[dtype]


def compare_random(program, folder):
    models = [str(path) for path in make_models(folder, 1)]
    base = tensors(pathlib.Path(models[0]))
    description = task_vectors(models, "dare_linear", [1], [0.3]) | {"dtype": "float32"}
    kept, sums = [], []
    for merged in merge_both(program, description, folder, "random"):
        change = {name: merged[name] - base[name] for name in base}
        kept.append(sum(int((value.abs() > 1e-7).sum()) for value in change.values()))
        sums.append(sum(float(value.abs().sum()) for value in change.values()))
    print(f"dare_linear: kept {kept[0]} here, {kept[1]} there; magnitudes {sums[0]:.3f}, {sums[1]:.3f}")
    return abs(kept[0] / kept[1] - 1) < 0.02 and abs(sums[0] / sums[1] - 1) < 1e-4


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--program", required=True)
    program = parser.parse_args().program
    torch.argsort = functools.partial(torch.argsort, stable=True)
    same = True
    with tempfile.TemporaryDirectory() as folder:
        for dtype in ("float32", "bfloat16"):
            (pathlib.Path(folder) / dtype).mkdir()
            same &= compare(program, pathlib.Path(folder) / dtype, dtype)
        (pathlib.Path(folder) / "random").mkdir()
        same &= compare_random(program, pathlib.Path(folder) / "random")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
