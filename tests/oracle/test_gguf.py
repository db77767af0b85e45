# SPDX-License-Identifier: Apache-2.0
"""GGUF against other implementations: dequantisation and quantisation against the gguf package, bit for bit;
tokenizers, written into a GGUF file with that package, against the libraries that they come from; what `export` and
`apply` write, read by that package.

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
from results import streamline  # noqa: E402
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


def some_numbers():
    """Blocks of all sizes, with ties, zeros of both signs and numbers that are tiny or all alike."""
    rng = np.random.default_rng(11)
    numbers = rng.standard_normal((4001, 32)) * np.exp(rng.uniform(-12, 8, (4001, 1)))
    numbers[:50] = np.round(numbers[:50] * 2) / 2
    numbers[50:60] = 0
    numbers[60] = -0.0
    numbers[61] = 3
    numbers[62] = -3
    numbers[63] = np.arange(-16, 16) * 0.5
    numbers[64] = np.linspace(-127, 127, 32) + 0.5
    numbers[65:70] *= 1e-30
    return numbers.astype(np.float32)


@pytest.mark.parametrize("name", ["F32", "F16", "BF16", "Q8_0", "Q4_0"])
def test_quantised_bits_are_those_of_the_package(program, name):
    numbers = some_numbers()
    ours = subprocess.run([program, "--quantize", name], input=numbers.tobytes(), capture_output=True, check=True).stdout
    expected = gguf.quants.quantize(numbers, gguf.GGMLQuantizationType[name])
    assert ours == expected.tobytes()


BOOKS = pathlib.Path(__file__).parents[2] / "models" / "books-5m"


def stored(checkpoint):
    """float32 values by name of a Hugging Face Llama, in GGUF's names and order of rows."""
    from safetensors.torch import load_file
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
             "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
             "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    outer = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    config = json.loads((checkpoint / "config.json").read_text())
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    values = {}
    for name, tensor in load_file(checkpoint / "model.safetensors").items():
        value = tensor.float().numpy()
        stem = name.removesuffix(".weight")
        if stem in outer:
            values[outer[stem] + ".weight"] = value
            continue
        layer, inner = stem.removeprefix("model.layers.").split(".", 1)
        if names[inner] in heads:
            count = heads[names[inner]]
            value = value.reshape(count, 2, value.shape[0] // count // 2, -1).swapaxes(1, 2).reshape(value.shape)
        values[f"blk.{layer}.{names[inner]}.weight"] = value
    return values


@pytest.mark.parametrize("name", ["F32", "F16", "BF16", "Q8_0", "Q4_0"])
def test_exported_tensors_are_what_the_package_makes_of_the_weights(name, tmp_path):
    streamline("export", BOOKS, "--gguf", tmp_path / "books.gguf", "--type", name.lower())
    reader = gguf.GGUFReader(tmp_path / "books.gguf")
    expected = stored(BOOKS)
    assert {tensor.name for tensor in reader.tensors} == set(expected)
    for tensor in reader.tensors:
        value = expected[tensor.name]
        kind = gguf.GGMLQuantizationType["F32" if value.ndim == 1 else name]
        assert tensor.tensor_type == kind, tensor.name
        assert tensor.data.tobytes() == gguf.quants.quantize(value, kind).tobytes(), tensor.name


def test_exported_metadata_is_what_the_converter_writes(tmp_path):
    streamline("export", BOOKS, "--gguf", tmp_path / "books.gguf", "--type", "q8_0")
    fields = {key: field.contents() for key, field in gguf.GGUFReader(tmp_path / "books.gguf").fields.items()}
    expected = {
        "general.architecture": "llama", "general.type": "model", "general.name": "Books 5m",
        "general.license": "cc0-1.0", "general.languages": ["en"], "general.file_type": 7,
        "general.quantization_version": 2, "llama.block_count": 12, "llama.context_length": 256,
        "llama.embedding_length": 192, "llama.feed_forward_length": 512, "llama.attention.head_count": 6,
        "llama.attention.head_count_kv": 2, "llama.attention.key_length": 32, "llama.attention.value_length": 32,
        "llama.rope.dimension_count": 32, "llama.rope.freq_base": 10000.0, "llama.vocab_size": 4096,
        "tokenizer.ggml.model": "llama", "tokenizer.ggml.pre": "default", "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": False,
    }
    assert {key: fields.get(key) for key in expected} == expected
    sentencepiece = pytest.importorskip("sentencepiece")
    processor = sentencepiece.SentencePieceProcessor(model_file=str(BOOKS / "tokenizer.model"))
    ids = range(processor.vocab_size())
    assert fields["tokenizer.ggml.tokens"] == [processor.id_to_piece(i) for i in ids]
    assert np.array_equal(fields["tokenizer.ggml.scores"], [np.float32(processor.get_score(i)) for i in ids])
    assert fields["tokenizer.ggml.token_type"][:4] == [2, 3, 3, 6]


def test_a_cut_keeps_the_bytes_of_what_stays(tmp_path):
    streamline("export", BOOKS, "--gguf", tmp_path / "books.gguf", "--type", "q8_0")
    kept = [0, 1, 2, 5, 6, 7, 8, 9, 10, 11]
    (tmp_path / "plan.json").write_text(json.dumps({
        "format": "streamline-plan", "version": 1, "base": {"layers": 12}, "method": {"name": "manual"},
        "segments": [{"first": 0, "last": 2, "action": "keep"}, {"first": 3, "last": 4, "action": "drop"},
                     {"first": 5, "last": 11, "action": "keep"}]}))
    streamline("apply", tmp_path / "books.gguf", "--plan", tmp_path / "plan.json", "--out", tmp_path / "cut.gguf")
    before, after = (gguf.GGUFReader(tmp_path / name) for name in ("books.gguf", "cut.gguf"))
    assert after.fields["llama.block_count"].contents() == 10
    same = {key: field.contents() for key, field in before.fields.items() if not key.startswith(("GGUF.", "general."))}
    same["llama.block_count"] = 10
    assert {key: after.fields[key].contents() for key in same} == same
    source = {tensor.name: tensor for tensor in before.tensors}
    assert len(after.tensors) == len(before.tensors) - 2 * 9
    for tensor in after.tensors:
        name = tensor.name
        if name.startswith("blk."):
            layer, rest = name.removeprefix("blk.").split(".", 1)
            name = f"blk.{kept[int(layer)]}.{rest}"
        assert tensor.tensor_type == source[name].tensor_type
        assert tensor.data.tobytes() == source[name].data.tobytes(), tensor.name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["books.gguf", "cut.gguf", "cut.plan.json", "plan.json"]


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
