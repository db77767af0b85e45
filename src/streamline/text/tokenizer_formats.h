// SPDX-License-Identifier: Apache-2.0
// One reader a file format; each but the first returns the parts of a pipeline, settings not yet applied.
#pragma once

#include "streamline/io/gguf.h"
#include "streamline/text/pipeline.h"
#include "streamline/text/tokenizer_settings.h"

namespace streamline {

// Whether a tokenizer lies among the files of a Hugging Face directory, and that tokenizer: tokenizer.json first, the
// settings of the files beside it applied. Errors as open_tokenizer().
bool has_tokenizer(const FileSet& files);
PipelineParts read_tokenizer(const FileSet& files);

// tokenizer.json of the tokenizers library, with a BPE model.
PipelineParts read_tokenizer_json(std::string_view text, const std::string& where);

// vocab.json and merges.txt: GPT-2's byte-level BPE.
PipelineParts read_vocab_and_merges(const FileSet& files, const TokenizerSettings& settings);

// tokenizer.model of SentencePiece.
PipelineParts read_sentencepiece(std::string_view model, const std::string& where, const TokenizerSettings& settings);

// Lines of a token in base64 and its rank: tiktoken's format, as Llama 3 and Qwen ship it.
bool is_tiktoken(std::string_view text);
PipelineParts read_tiktoken(std::string_view text, const std::string& where, const TokenizerSettings& settings);

// "tokenizer.ggml.…" of a GGUF file's metadata: llama (SentencePiece's BPE) and gpt2 (byte-level BPE), with BOS, EOS
// and what goes around a text. Errors: unsupported naming the model or the kind of pre-tokeniser that is not known.
PipelineParts read_gguf_tokenizer(const Gguf& gguf);

}  // namespace streamline
