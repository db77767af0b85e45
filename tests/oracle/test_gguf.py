# SPDX-License-Identifier: Apache-2.0
"""Our dequantisation against the gguf package's, bit for bit, on random blocks.

STREAMLINE_DEQUANTIZE is the program streamline_dequantize.
"""

import os
import subprocess

import pytest

gguf = pytest.importorskip("gguf")
import numpy as np  # noqa: E402

TYPES = "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4".split()
# Where the float16 numbers of a block lie.
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0], "F16": [0],
}  # fmt: skip


@pytest.fixture(scope="module")
def program():
    path = os.environ.get("STREAMLINE_DEQUANTIZE")
    if not path:
        pytest.skip("STREAMLINE_DEQUANTIZE does not name the program streamline_dequantize")
    return path


def random_blocks(name, count):
    """All bits at random, but float16 numbers finite: of every size, subnormal, and zeros of both signs."""
    rng = np.random.default_rng(7)
    size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]][1]
    blocks = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for at in HALVES.get(name, []):
        halves = rng.integers(0, 0x10000, count, dtype=np.uint16)
        halves[halves & 0x7C00 == 0x7C00] &= 0xBFFF
        halves[:64] = np.arange(64) << 10 & 0x83FF | np.arange(64) % 7
        halves[64:70] = [0, 0x8000, 1, 0x8001, 0x3FF, 0x7BFF]
        blocks[:, at : at + 2] = halves.view(np.uint8).reshape(-1, 2)
    if name == "MXFP4":
        blocks[:256, 0] = np.arange(256)
    return blocks


@pytest.mark.parametrize("name", TYPES)
def test_bits_are_those_of_the_package(program, name):
    blocks = random_blocks(name, 5003)
    ours = subprocess.run([program, name], input=blocks.tobytes(), capture_output=True, check=True).stdout
    expected = gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[name]).astype(np.float32)
    ours = np.frombuffer(ours, np.uint32)
    expected = expected.reshape(-1).view(np.uint32)
    assert ours.shape == expected.shape
    both_nan = (ours & 0x7FFFFFFF > 0x7F800000) & (expected & 0x7FFFFFFF > 0x7F800000)
    assert np.array_equal(ours[~both_nan], expected[~both_nan])
    assert both_nan.sum() == 0 or name in ("F32", "BF16")


def test_half_precision_keeps_infinity_and_nan(program):
    halves = np.arange(0x10000, dtype=np.uint32).astype(np.uint16)
    ours = subprocess.run([program, "F16"], input=halves.tobytes(), capture_output=True, check=True).stdout
    assert np.array_equal(np.frombuffer(ours, np.float32), halves.view(np.float16).astype(np.float32), equal_nan=True)
