#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a Llama of random bf16 weights, by default of 1.1 billion parameters: speed does not depend on their values.

    python bench/make_random_llama.py build/llama-1.1b
"""
import argparse
import json
import math
import os

import torch
from safetensors.torch import save_file


def config(args):
    return dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=args.hidden,
                intermediate_size=args.intermediate, num_hidden_layers=args.layers, num_attention_heads=args.heads,
                num_key_value_heads=args.kv_heads, vocab_size=args.vocab, max_position_embeddings=args.positions,
                hidden_act="silu", rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=False,
                torch_dtype="bfloat16", bos_token_id=1, eos_token_id=2)


def tensors(c):
    d, f, head = c["hidden_size"], c["intermediate_size"], c["hidden_size"] // c["num_attention_heads"]
    kv = c["num_key_value_heads"] * head
    random = torch.Generator().manual_seed(0)

    def matrix(rows, columns, gain=1.0):
        return (torch.randn(rows, columns, generator=random) * (gain / math.sqrt(columns))).bfloat16()

    quiet = 1 / math.sqrt(2 * c["num_hidden_layers"])  # what a layer adds, so that the stream keeps its size
    result = {"model.embed_tokens.weight": torch.randn(c["vocab_size"], d, generator=random).bfloat16(),
              "model.norm.weight": torch.ones(d).bfloat16(), "lm_head.weight": matrix(c["vocab_size"], d)}
    for i in range(c["num_hidden_layers"]):
        layer = f"model.layers.{i}."
        for name, rows, columns, gain in (("self_attn.q_proj", d, d, 1), ("self_attn.k_proj", kv, d, 1),
                                          ("self_attn.v_proj", kv, d, 1), ("self_attn.o_proj", d, d, quiet),
                                          ("mlp.gate_proj", f, d, 1), ("mlp.up_proj", f, d, 1),
                                          ("mlp.down_proj", d, f, quiet)):
            result[layer + name + ".weight"] = matrix(rows, columns, gain)
        for name in ("input_layernorm", "post_attention_layernorm"):
            result[layer + name + ".weight"] = torch.ones(d).bfloat16()
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out")
    for name, default in (("layers", 22), ("hidden", 2048), ("intermediate", 5632), ("heads", 32), ("kv-heads", 4),
                          ("vocab", 32000), ("positions", 2048)):
        parser.add_argument("--" + name, type=int, default=default)
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    made = config(args)
    with open(os.path.join(args.out, "config.json"), "w", encoding="utf-8") as file:
        json.dump(made, file, indent=2)
    save_file(tensors(made), os.path.join(args.out, "model.safetensors"), metadata={"format": "pt"})


if __name__ == "__main__":
    main()
