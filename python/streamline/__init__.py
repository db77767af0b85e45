# SPDX-License-Identifier: Apache-2.0
"""Makes language models smaller by taking out the layers they do not need, and heals what that breaks.

Every function is a command of the `streamline` program. Paths may be strings or path objects; a model may also be a name
in the local Hugging Face cache. Further keyword arguments are the command's options (``--seq-len 512`` is
``seq_len=512``, a flag is ``True``); ``streamline COMMAND --help`` lists them. Results are the dictionaries that
``--json`` prints, matrices of scores as NumPy arrays. Other Python threads run meanwhile, and Ctrl-C works.
"""
import contextlib
import json
import os
import tempfile

import numpy
import torch  # noqa: F401  its shared libraries are what the extension module runs on

from . import _streamline
from ._errors import Error, Interrupted, Refused, UsageError

__all__ = ["score", "plan", "apply", "prune", "evaluate", "inspect", "generate", "registered", "Error", "UsageError",
           "Refused", "Interrupted"]

_MATRICES = ("cosine", "relative_l2", "angular_last", "angular_all")


def _word(value):
    if isinstance(value, (list, tuple)):
        return ",".join(map(str, value))
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)


def _run(command, *positionals, **options):
    words = ["streamline", command, *map(_word, positionals)]
    for name, value in options.items():
        if value is None or value is False:
            continue
        words.append("--" + name.replace("_", "-"))
        if value is not True:
            words.append(_word(value))
    return json.loads(_streamline.run([*words, "--json"]))


@contextlib.contextmanager
def _plan_file(plan):
    """A plan given as a dictionary becomes a file for as long as a command reads it."""
    if not isinstance(plan, dict):
        yield plan
        return
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "plan.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(plan, file)
        yield path


def _with_arrays(scores):
    return {key: numpy.array(value, dtype=numpy.float64) if key in _MATRICES and value is not None else value
            for key, value in scores.items()}


def inspect(model, **options):
    """Family, layers, parameters and memory of a checkpoint, from its headers."""
    return _run("inspect", model, **options)


def score(model, data, **options):
    """How little each run of layers changes the hidden states.

    ``cosine[i, j]`` is the mean cosine of the hidden states that enter layers i and j ([layers + 1, layers + 1]).
    """
    return _with_arrays(_run("score", model, data=data, **options))


def plan(model, data, *, cut=None, layers=None, sparsity=None, replace="none", **options):
    """Chooses what to cut and returns the plan, a dictionary that ``apply`` and ``evaluate`` take. Nothing is trained
    and nothing written."""
    return _run("prune", model, data=data, cut=cut, layers=layers, sparsity=sparsity, replace=replace, plan_only=True,
                **options)["plan"]


def apply(model, plan, out, **options):
    """Writes the checkpoint that a plan (a dictionary or a file) makes of a model."""
    with _plan_file(plan) as path:
        return _run("apply", model, plan=path, out=out, **options)


def prune(model, data, out=None, **options):
    """Scores, cuts, heals, measures and writes; returns the report. Without ``out`` nothing is written."""
    report = _run("prune", model, data=data, out=out, dry_run=out is None, **options)
    return report if report["scores"] is None else report | {"scores": _with_arrays(report["scores"])}


def evaluate(model, perplexity, *, plan=None, **options):
    """Perplexity of a model, or of a model seen through a plan, on a text."""
    with _plan_file(plan) as path:
        return _run("eval", model, perplexity=perplexity, plan=path, **options)


def generate(model, prompt, *, plan=None, **options):
    """Text after a prompt."""
    with _plan_file(plan) as path:
        return _run("generate", model, prompt=prompt, plan=path, **options)


def registered():
    """Model families, methods with their parameters, replacements, tasks."""
    return _run("list")
