#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs sweep_bench and transformers_peer.py in turn, several times, and prints the medians beside each other. The peer
also runs one sequence at a time; the better of its two rates counts.

    python bench/compare_sweep.py build/llama-1.1b --program build/release/bench/sweep_bench --rounds 3
"""
import argparse
import collections
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def lines_of(command):
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--program", default="build/release/bench/sweep_bench")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seq", type=int, nargs="+", default=[512, 2048])
    parser.add_argument("--batch-tokens", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    common = ["--threads", str(args.threads), "--repetitions", "3"]
    together = ["--batch-tokens", str(args.batch_tokens)]
    ours = [args.program, args.model, "--seq", ",".join(map(str, args.seq)), *together, *common]
    peer = [sys.executable, os.path.join(HERE, "transformers_peer.py"), args.model, "--seq", *map(str, args.seq), *common]
    rates, memory, opening = collections.defaultdict(list), 0, []
    for _ in range(args.rounds):
        for name, command in (("ours", ours), ("peer", peer + together), ("peer alone", peer + ["--batch-tokens", "1"])):
            for line in lines_of(command):
                if line["what"] == "open":
                    opening.append(line["seconds"])
                    continue
                what = name if line["what"] == "transformers" else line["what"]
                rates[what, line["seq"]].append(line["tokens_per_second"])
                memory = max(memory, line.get("private_memory", 0))
    print("| tokens a sequence | sweep | scoring every window | transformers | products alone | sweep / transformers "
          "| sweep / products | scoring / sweep |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|")
    for seq in args.seq:
        sweep, score, gemm = (statistics.median(rates[what, seq]) for what in ("sweep", "score", "gemm"))
        other = max(statistics.median(rates[what, seq]) for what in ("peer", "peer alone"))
        print(f"| {seq} | {sweep:.0f} | {score:.0f} | {other:.0f} | {gemm:.0f} | {sweep / other:.2f} | {sweep / gemm:.2f} "
              f"| {score / sweep:.2f} |")
    print(f"\ntokens a second, medians of {args.rounds} rounds; private memory after a sweep: {memory / 1e6:.0f} MB; "
          f"opening the checkpoint: {statistics.median(opening) * 1e3:.0f} ms")


if __name__ == "__main__":
    main()
