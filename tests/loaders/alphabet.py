# SPDX-License-Identifier: Apache-2.0
"""A tokenizer for random checkpoints, because llama.cpp's bindings end where a GGUF file has none: byte-level BPE of the
alphabet and two merges. Standard library only."""
import json

SPECIAL = ["<unk>", "<s>", "</s>", "<|endoftext|>"]
MERGES = [("t", "h"), ("th", "e")]


def letters():
    """GPT-2's printable stand-ins of the 256 bytes."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    hidden = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(hidden))]


def write_tokenizer(folder, size):
    tokens = SPECIAL + letters() + [left + right for left, right in MERGES]
    tokens += [f"filler{i}" for i in range(len(tokens), size)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    added = [{"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
              "special": True} for i, token in enumerate(SPECIAL)]
    tokenizer = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
                 "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
                 "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                           "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                           "vocab": {token: i for i, token in enumerate(tokens)}, "merges": [list(pair) for pair in MERGES]}}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
