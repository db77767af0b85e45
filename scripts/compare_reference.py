#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Sets the numbers of scripts/results.py beside an independent computation of the same, and fails where they differ.

    scripts/compare_reference.py results.json reference.json

The reference holds `importance` ([n - 1][i]: mean cosine over the window of n layers from i on) and, for each text, the
summed negative log likelihood of every window: `texts.NAME.dense`, and `texts.NAME.plans["cut N"]` for the best window
of N layers removed. Standard library only.
"""
import argparse
import json
import math
import sys

COSINE_TOLERANCE, PERPLEXITY_TOLERANCE = 1e-4, 2e-3


def perplexity(window_nll, ours):
    """Over the windows that our figure was measured on."""
    return math.exp(sum(window_nll[:ours["windows"]]) / ours["tokens"])


def cosine_difference(cosine, importance):
    """Over every window of every length."""
    return max(abs(cosine[i][i + n] - row[i]) for n, row in enumerate(importance, 1) for i in range(len(row)))


def rows(result, reference):
    """(what, ours, theirs) of each perplexity that both have."""
    for name, text in reference["texts"].items():
        if name in result["whole"]:
            yield f"{name}, whole", result["whole"][name]["value"], perplexity(text["dense"], result["whole"][name])
        for cut in result["cuts"]:
            plan = text["plans"].get(f"cut {cut['n']}")
            if plan and name in cut["perplexity"]:
                ours = cut["perplexity"][name]
                yield f"{name}, {cut['n']} layers cut", ours["value"], perplexity(plan, ours)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result")
    parser.add_argument("reference")
    args = parser.parse_args()
    with open(args.result) as result_file, open(args.reference) as reference_file:
        result, reference = json.load(result_file), json.load(reference_file)
    cosine = cosine_difference(result["cosine"], reference["importance"])
    failed = not cosine <= COSINE_TOLERANCE
    print(f"cosines of all windows: largest difference {cosine:.1e} (allowed {COSINE_TOLERANCE:.0e})\n")
    print("| perplexity | ours | reference | difference |\n|---|---:|---:|---:|")
    for what, ours, theirs in rows(result, reference):
        difference = ours / theirs - 1
        failed |= not abs(difference) <= PERPLEXITY_TOLERANCE
        print(f"| {what} | {ours:.4f} | {theirs:.4f} | {100 * difference:+.3f} % |")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
