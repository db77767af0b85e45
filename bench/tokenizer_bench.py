#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tokenising speed beside that of the tokenizers library: one thread each, the same text, in the same run.

    python bench/tokenizer_bench.py build/release/tests/streamline_encode TOKENIZER_DIR… --data DATA

TOKENIZER_DIR holds a tokenizer.json. The text is 2 MB of prose (the file of DATA named by --text) and 2 MB of mixed text
(tests/oracle/mixed_text.py).
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "tests" / "oracle"))

from mixed_text import mixed_text  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402


def peer(folder, text):
    """Seconds of the first and of the fastest of six encodings."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    times = []
    for _ in range(6):
        start = time.perf_counter()
        tokenizer.encode(text, add_special_tokens=False)
        times.append(time.perf_counter() - start)
    return times[0], min(times)


def ours(program, folder, path):
    out = subprocess.run([program, str(folder), str(path), "--time"], capture_output=True, text=True, check=True).stdout
    words = out.replace(",", "").split()
    return float(words[words.index("first") + 1]), float(words[words.index("best") + 1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("tokenizers", nargs="+", type=pathlib.Path)
    parser.add_argument("--data", type=pathlib.Path, help="folder that holds the text of --text; else invented text")
    parser.add_argument("--text", default="text/books/valid.txt")
    options = parser.parse_args()
    texts = {"mixed": mixed_text(2_000_000, 0, options.data)}
    if options.data:
        texts["prose"] = (options.data / options.text).read_text(encoding="utf-8")[:2_100_000]
    print(f"{'tokenizer':24} {'text':6} {'MB':>5} {'ours, MB/s':>11} {'first pass':>11} {'library':>9} {'ratio':>6}")
    for folder in options.tokenizers:
        for name, text in texts.items():
            with tempfile.NamedTemporaryFile(suffix=".txt") as file:
                file.write(text.encode())
                file.flush()
                first, best = ours(options.program, folder, file.name)
            size = len(text.encode()) / 1e6
            _, theirs = peer(folder, text)
            print(f"{folder.name:24} {name:6} {size:5.1f} {size / best:11.1f} {size / first:11.1f} {size / theirs:9.1f}"
                  f" {theirs / best:6.1f}")


if __name__ == "__main__":
    main()
