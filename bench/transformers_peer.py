#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The sweep's peer: transformers' own forward pass with all hidden states and SDPA, on the tokens of sweep_bench.

    python bench/transformers_peer.py build/llama-1.1b --seq 512 --batch-tokens 4096 --threads 2
"""
import argparse
import json
import statistics
import time

import torch
import transformers


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--seq", type=int, nargs="+", default=[512, 2048])
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repetitions", type=int, default=3)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    model = transformers.AutoModel.from_pretrained(args.model, dtype=torch.bfloat16, attn_implementation="sdpa").eval()
    for seq in args.seq:
        batch = max(1, args.batch_tokens // seq)
        ids = (torch.arange(batch * seq) * 7919 % model.config.vocab_size).view(batch, seq)
        seconds = []
        with torch.no_grad():
            for _ in range(args.repetitions + 1):
                start = time.perf_counter()
                states = model(ids, output_hidden_states=True, use_cache=False).hidden_states
                seconds.append(time.perf_counter() - start)
                assert len(states) == model.config.num_hidden_layers + 1
                del states
        print(json.dumps({"what": "transformers", "seq": seq, "batch": batch,
                          "tokens_per_second": batch * seq / statistics.median(seconds[1:])}), flush=True)


if __name__ == "__main__":
    main()
