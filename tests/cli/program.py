# SPDX-License-Identifier: Apache-2.0
"""What the tests of the command line share: running the program, and making (broken) checkpoints out of the shipped one."""

import json
import math
import os
import pathlib
import re
import statistics
import struct
import subprocess

ROOT = pathlib.Path(__file__).parents[2]
BOOKS = ROOT / "models" / "books-5m"
CALIBRATION = ROOT / "models" / "text" / "calibration.jsonl"
VALID = ROOT / "models" / "text" / "valid.txt"


COMPUTING = ["score", "prune", "heal", "apply", "merge", "sparsify", "spectra", "export", "eval", "generate", "bench"]
COMPUTING_CHIPS = ["cache", "train", "export", "run"]


def run(*arguments, **options):
    command = [os.environ["STREAMLINE_PROGRAM"], *map(str, arguments)]
    # Tests run beside each other: threads that wait for their turn cost more than they bring.
    computing = arguments and (arguments[0] in COMPUTING or (arguments[0] == "chip" and arguments[1] in COMPUTING_CHIPS))
    if computing and "--help" not in arguments:
        command += ["--threads", "1"]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


# Methods that take shares of what is inside layers, and what makes the slow ones of them quick.
NARROWING = {"magnitude-structured": [], "wanda-sp": [], "flap": [], "taylor": [], "random-structured": [],
             "mini-llm": ["--probes", 4], "policy-gradient": ["--steps", 2, "--batch", 2, "--length", 32]}


def size_of_cut(method):
    """Options for a cut of a sixth of the shipped model's layers, or of half of what is inside them."""
    return ["--ratio", 0.5, *NARROWING[method]] if method in NARROWING else ["--layers", 2]


def run_json(*arguments):
    result = run(*arguments, "--json", "--quiet")
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def check_page(path, *parts):
    """The page says all of these, and loads nothing: addresses in it are names of XML's."""
    page = path.read_text()
    assert "default-src 'none'" in page and " src=" not in re.sub(r"<script.*?</script>", "", page, flags=re.S)
    assert {address for address in re.findall(r"https?://[a-z0-9.]+", page)} <= {"http://www.w3.org"}
    for part in parts:
        assert part in page, part


def check_log_ratio(first, model):
    """The record of the model holds its perplexity against the first's by the pairs of their windows, all of one length."""
    before, after = first["perplexity"], model["perplexity"]
    tokens = after["tokens"] / after["windows"]
    differences = [(b - a) / tokens for a, b in zip(before["window_nll"], after["window_nll"], strict=True)]
    ratio = after["log_perplexity_ratio"]
    assert "log_perplexity_ratio" not in before
    assert math.isclose(ratio["value"], math.log(after["value"] / before["value"]), abs_tol=1e-9)
    assert math.isclose(ratio["standard_error"], statistics.stdev(differences) / len(differences) ** 0.5, rel_tol=1e-6)


def copy_of_books(folder, config=None, without=()):
    """The shipped checkpoint, with keys of config.json changed and files left out. Its files are links: replace them,
    do not write into them."""
    folder.mkdir()
    for path in BOOKS.iterdir():
        if path.name not in without:
            (folder / path.name).symlink_to(path)
    if config:
        changed = json.loads((BOOKS / "config.json").read_text()) | config
        replace(folder / "config.json", json.dumps(changed).encode())
    return folder


def replace(path, content):
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def weights(path=BOOKS / "model.safetensors"):
    """(header, data) of a safetensors file."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    return json.loads(content[8 : 8 + length]), content[8 + length :]


def safetensors_bytes(header, data):
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def split_in_two(folder):
    """The shipped checkpoint in two shards with an index."""
    copy_of_books(folder, without=["model.safetensors"])
    header, data = weights()
    names = sorted(name for name in header if name != "__metadata__")
    weight_map = {}
    for number, part in enumerate((names[::2], names[1::2]), 1):
        file, shard, offset, chunks = f"model-{number:05}-of-00002.safetensors", {}, 0, []
        for name in part:
            first, last = header[name]["data_offsets"]
            shard[name] = header[name] | {"data_offsets": [offset, offset + last - first]}
            chunks.append(data[first:last])
            offset += last - first
            weight_map[name] = file
        (folder / file).write_bytes(safetensors_bytes(shard, b"".join(chunks)))
    index = {"metadata": {"total_size": len(data)}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def with_number(folder, tensor, bits):
    """The shipped checkpoint with one bfloat16 of a tensor set to these bits."""
    copy_of_books(folder)
    header, data = weights()
    changed = bytearray(data)
    struct.pack_into("<H", changed, header[tensor]["data_offsets"][0] + 10, bits)
    replace(folder / "model.safetensors", safetensors_bytes(header, changed))
    return folder
