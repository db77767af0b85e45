# SPDX-License-Identifier: Apache-2.0
"""GGUF against other implementations: dequantisation against the gguf package, bit for bit, on random blocks;
tokenizers, written into a GGUF file with that package, against the libraries that they come from.

STREAMLINE_DEQUANTIZE is the program streamline_dequantize; for the rest see test_tokenizers.py.
"""

import json
import os
import pathlib
import subprocess

import pytest

gguf = pytest.importorskip("gguf")
import numpy as np  # noqa: E402
import test_tokenizers as reference  # noqa: E402
from mixed_text import mixed_text  # noqa: E402
from tokenizers import Tokenizer, normalizers  # noqa: E402

TYPES = "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS MXFP4".split()
# Where the float16 numbers of a block lie.
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0], "F16": [0],
}  # fmt: skip


encode_program = reference.program


program = reference.program_of("STREAMLINE_DEQUANTIZE", "streamline_dequantize")


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


def write_bpe(folder, oracle, pre):
    """A GGUF file with nothing but this tokenizer, as llama.cpp's converter writes it."""
    model = json.loads(oracle.to_str())["model"]
    added = oracle.get_added_tokens_decoder()
    size = oracle.get_vocab_size(with_added_tokens=True)
    tokens = [oracle.id_to_token(i) for i in range(size)]
    writer = gguf.GGUFWriter(folder / "model.gguf", "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    special = {i: gguf.TokenType.CONTROL if token.special else gguf.TokenType.USER_DEFINED for i, token in added.items()}
    writer.add_token_types([special.get(i, gguf.TokenType.NORMAL) for i in range(size)])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]])
    close(writer)


def write_sentencepiece(folder, processor):
    kinds = [(processor.is_unknown, gguf.TokenType.UNKNOWN), (processor.is_control, gguf.TokenType.CONTROL),
             (processor.is_unused, gguf.TokenType.UNUSED), (processor.is_byte, gguf.TokenType.BYTE)]
    ids = range(processor.vocab_size())
    writer = gguf.GGUFWriter(folder / "model.gguf", "llama")
    writer.add_tokenizer_model("llama")
    writer.add_token_list([processor.id_to_piece(i) for i in ids])
    writer.add_token_scores([processor.get_score(i) for i in ids])
    writer.add_token_types([next((kind for test, kind in kinds if test(i)), gguf.TokenType.NORMAL) for i in ids])
    close(writer)


def close(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


@pytest.mark.parametrize("pre", ["llama-bpe", "qwen2", "falcon", "gpt-2", "smollm"])
def test_byte_level_vocabularies_encode_as_the_library_does(encode_program, pre, tmp_path):
    if pre == "llama-bpe":
        ranks = reference.shared("tokenizers", "llama3", "tokenizer.model")
        oracle = reference.from_ranks(ranks, reference.LLAMA3, reference.llama3_special())
    elif pre == "qwen2":
        ranks = reference.shared("tokenizers", "qwen", "qwen.tiktoken")
        special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
        oracle = reference.from_ranks(ranks, reference.QWEN, special, normalizers.NFC())
    elif pre == "smollm":
        folder = os.environ.get("STREAMLINE_SMOLLM2")
        if not folder:
            pytest.skip("STREAMLINE_SMOLLM2 does not name the folder of SmolLM2-135M-Instruct")
        oracle = Tokenizer.from_file(folder + "/tokenizer.json")
    else:
        file = {"falcon": "falcon-tokenizer/tokenizer.json", "gpt-2": "gpt-neox/20B_tokenizer.json"}[pre]
        oracle = Tokenizer.from_file(str(reference.shared("tokenizers", file)))
        oracle.normalizer = None  # GPT-NeoX composes characters, which no pre-type of GPT-2's kind does
    write_bpe(tmp_path, oracle, pre)
    reference.compare(encode_program, tmp_path, oracle, tmp_path)


def test_sentencepiece_vocabularies_encode_as_the_library_does(encode_program, tmp_path):
    sentencepiece = pytest.importorskip("sentencepiece")
    processor = sentencepiece.SentencePieceProcessor(
        model_file=str(reference.shared("tokenizers", "llama2", "tokenizer.model")))
    write_sentencepiece(tmp_path, processor)
    text = mixed_text(reference.SIZE // 4, 0, reference.SHARED / "data", [])
    ours = reference.our_ids(encode_program, tmp_path, text, tmp_path)
    theirs = processor.encode(text)
    assert ours == theirs, reference.first_difference(ours, theirs)


def test_smollm2_gguf_encodes_as_its_tokenizer_json(encode_program, tmp_path):
    folder = os.environ.get("STREAMLINE_SMOLLM2")
    if not folder or not (pathlib.Path(folder) / "source.gguf").exists():
        pytest.skip("STREAMLINE_SMOLLM2 does not name a folder of SmolLM2-135M-Instruct with its source.gguf")
    (tmp_path / "model.gguf").symlink_to(pathlib.Path(folder).resolve() / "source.gguf")
    reference.compare(encode_program, tmp_path, Tokenizer.from_file(folder + "/tokenizer.json"), tmp_path)
