#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a Llama of random weights as GGUF, by default of 1.1 billion parameters: speed does not depend on their values.

    python bench/make_random_gguf.py build/llama-1.1b-q4_k.gguf --type q4_k
    python bench/make_random_gguf.py build/4gb.gguf --type q8_0 --layers 84 --empty    # all zeros, takes no disk

Needs numpy and gguf.
"""
import argparse
import math
import pathlib

import gguf
import numpy

NORMAL = 1


def shapes(args):
    d, f, kv = args.hidden, args.intermediate, args.kv_heads * (args.hidden // args.heads)
    yield "token_embd.weight", (args.vocab, d)
    for i in range(args.layers):
        layer = f"blk.{i}."
        yield layer + "attn_norm.weight", (d,)
        yield layer + "ffn_norm.weight", (d,)
        for name, rows, columns in (("attn_q", d, d), ("attn_k", kv, d), ("attn_v", kv, d), ("attn_output", d, d),
                                    ("ffn_gate", f, d), ("ffn_up", f, d), ("ffn_down", d, f)):
            yield layer + name + ".weight", (rows, columns)
    yield "output_norm.weight", (d,)
    yield "output.weight", (args.vocab, d)


def random_bytes(random, kind, shape):
    """Blocks whose scales make elements of about 1 / sqrt(columns); everything else is noise."""
    rows, columns = shape
    size = 1 / math.sqrt(columns)
    if kind == "bf16":
        values = random.standard_normal((rows, columns), dtype=numpy.float32) * numpy.float32(size)
        return (values.view(numpy.uint32) >> 16).astype(numpy.uint16).view(numpy.uint8)
    elements, width = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[kind.upper()]]
    blocks = random.integers(0, 256, (rows * columns // elements, width), dtype=numpy.uint8)

    def halves(offset, value):
        blocks[:, offset : offset + 2] = numpy.array([value], numpy.float16).view(numpy.uint8)

    if kind == "q4_k":  # scale and minimum, each times 6 bits
        halves(0, size / 260)
        halves(2, size / 260 * 7.5)
    elif kind == "q6_k":  # scale times 8 bits with sign
        halves(208, size / 1400)
    elif kind == "q8_0":
        halves(0, size / 74)
    return blocks.reshape(rows, -1)


def add_metadata(writer, args):
    writer.add_block_count(args.layers)
    writer.add_context_length(args.positions)
    writer.add_embedding_length(args.hidden)
    writer.add_feed_forward_length(args.intermediate)
    writer.add_head_count(args.heads)
    writer.add_head_count_kv(args.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(args.vocab)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    tokens = [f"token{i}" for i in range(args.vocab)]
    writer.add_token_list(tokens)
    writer.add_token_types([NORMAL] * args.vocab)
    writer.add_token_merges([f"tok en{i}" for i in range(args.merges)])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--type", choices=["bf16", "q4_k", "q6_k", "q8_0"], default="q4_k", help="of the matrices")
    parser.add_argument("--empty", action="store_true", help="leave the weights a hole in the file")
    for name, default in (("layers", 22), ("hidden", 2048), ("intermediate", 5632), ("heads", 32), ("kv-heads", 4),
                          ("vocab", 32000), ("merges", 0), ("positions", 2048)):
        parser.add_argument("--" + name, type=int, default=default)
    args = parser.parse_args()
    kind = gguf.GGMLQuantizationType[args.type.upper()]
    elements, width = gguf.GGML_QUANT_SIZES[kind]
    random = numpy.random.default_rng(0)
    writer = gguf.GGUFWriter(args.out, "llama")
    add_metadata(writer, args)
    tensors, size = list(shapes(args)), 0
    for name, shape in tensors:
        if len(shape) == 1:
            writer.add_tensor_info(name, shape, numpy.dtype(numpy.float32), 4 * shape[0])
        else:
            stored = (shape[0], shape[1] // elements * width)
            writer.add_tensor_info(name, stored, numpy.dtype(numpy.uint8), math.prod(stored), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    if args.empty:
        alignment = writer.data_alignment
        for shape in (shape for _, shape in tensors):
            nbytes = 4 * shape[0] if len(shape) == 1 else math.prod(shape) // elements * width
            size += -(-nbytes // alignment) * alignment
        file = writer.fout[0]
        file.flush()
        file.truncate(-(-file.tell() // alignment) * alignment + size)
    else:
        for _, shape in tensors:
            ones = numpy.ones(shape, numpy.float32)
            writer.write_tensor_data(ones if len(shape) == 1 else random_bytes(random, args.type, shape))
    writer.close()


if __name__ == "__main__":
    main()
