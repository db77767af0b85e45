#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a Llama of random bf16 weights, by default of 1.1 billion parameters: speed does not depend on their values.

    python bench/make_random_llama.py build/llama-1.1b
    python bench/make_random_llama.py build/llama-7b --shape 7b      # 13.5 GB, in shards; one layer in memory at a time
"""
import argparse
import json
import math
import os
import shutil

import torch
from safetensors.torch import save_file

SHAPES = {"1.1b": dict(layers=22, hidden=2048, intermediate=5632, heads=32, kv_heads=4),
          "3b": dict(layers=28, hidden=3072, intermediate=8192, heads=24, kv_heads=8),
          "7b": dict(layers=32, hidden=4096, intermediate=11008, heads=32, kv_heads=32)}


def config(args):
    return dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=args.hidden,
                intermediate_size=args.intermediate, num_hidden_layers=args.layers, num_attention_heads=args.heads,
                num_key_value_heads=args.kv_heads, vocab_size=args.vocab, max_position_embeddings=args.positions,
                hidden_act="silu", rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=False,
                torch_dtype="bfloat16", bos_token_id=1, eos_token_id=2)


def parts(c):
    """The tensors, some at a time: the ends of the model first, then layer by layer."""
    d, f, head = c["hidden_size"], c["intermediate_size"], c["hidden_size"] // c["num_attention_heads"]
    kv = c["num_key_value_heads"] * head
    random = torch.Generator().manual_seed(0)

    def matrix(rows, columns, gain=1.0):
        return (torch.randn(rows, columns, generator=random) * (gain / math.sqrt(columns))).bfloat16()

    quiet = 1 / math.sqrt(2 * c["num_hidden_layers"])  # what a layer adds, so that the stream keeps its size
    yield {"model.embed_tokens.weight": torch.randn(c["vocab_size"], d, generator=random).bfloat16(),
           "model.norm.weight": torch.ones(d).bfloat16(), "lm_head.weight": matrix(c["vocab_size"], d)}
    for i in range(c["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        result = {}
        for name, rows, columns, gain in (("self_attn.q_proj", d, d, 1), ("self_attn.k_proj", kv, d, 1),
                                          ("self_attn.v_proj", kv, d, 1), ("self_attn.o_proj", d, d, quiet),
                                          ("mlp.gate_proj", f, d, 1), ("mlp.up_proj", f, d, 1),
                                          ("mlp.down_proj", d, f, quiet)):
            result[layer + name + ".weight"] = matrix(rows, columns, gain)
        for name in ("input_layernorm", "post_attention_layernorm"):
            result[layer + name + ".weight"] = torch.ones(d).bfloat16()
        yield result


def bytes_of(tensors):
    return sum(tensor.nbytes for tensor in tensors.values())


def write(folder, c, shard_bytes):
    """One file, or shards of at most about that size with their index."""
    shards, waiting, places, total = [], {}, {}, 0

    def flush():
        shards.append(f"shard-{len(shards)}.safetensors")
        save_file(waiting, os.path.join(folder, shards[-1]), metadata={"format": "pt"})
        places.update({name: len(shards) - 1 for name in waiting})
        waiting.clear()

    for part in parts(c):
        if waiting and bytes_of(waiting) + bytes_of(part) > shard_bytes:
            flush()
        total += bytes_of(part)
        waiting.update(part)
    flush()
    if len(shards) == 1:
        os.rename(os.path.join(folder, shards[0]), os.path.join(folder, "model.safetensors"))
        return
    names = [f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors" for i in range(len(shards))]
    for shard, name in zip(shards, names):
        os.rename(os.path.join(folder, shard), os.path.join(folder, name))
    index = {"metadata": {"total_size": total}, "weight_map": {tensor: names[i] for tensor, i in places.items()}}
    with open(os.path.join(folder, "model.safetensors.index.json"), "w", encoding="utf-8") as file:
        json.dump(index, file, indent=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    parser.add_argument("--shape", choices=SHAPES, default="1.1b")
    for name in ("layers", "hidden", "intermediate", "heads", "kv-heads"):
        parser.add_argument("--" + name, type=int, help="default: of the shape")
    for name, default in (("vocab", 32000), ("positions", 2048)):
        parser.add_argument("--" + name, type=int, default=default)
    parser.add_argument("--shard-gigabytes", type=float, default=3.0, help="largest file, about")
    parser.add_argument("--tokenizer", metavar="DIR", help="a checkpoint whose tokenizer is copied too")
    args = parser.parse_args()
    for name, value in SHAPES[args.shape].items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    os.makedirs(args.out, exist_ok=True)
    made = config(args)
    with open(os.path.join(args.out, "config.json"), "w", encoding="utf-8") as file:
        json.dump(made, file, indent=2)
    write(args.out, made, args.shard_gigabytes * 1e9)
    for name in ("tokenizer.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        if args.tokenizer and os.path.exists(os.path.join(args.tokenizer, name)):
            shutil.copy(os.path.join(args.tokenizer, name), args.out)


if __name__ == "__main__":
    main()
