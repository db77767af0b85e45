// SPDX-License-Identifier: Apache-2.0
// Tokenizers: tokenizer.json (byte-level and byte-fallback BPE), tokenizer.model (SentencePiece), GGUF metadata.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "streamline/base/file.h"

namespace streamline {

using TokenId = std::int32_t;

class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // Token ids of UTF-8 text. Added and special tokens that occur in the text become their ids. With `add_special` the
  // post-processor's tokens (BOS …) are added, as the tokenizer's own library does by default.
  // Errors: format for invalid UTF-8, with the byte offset.
  virtual std::vector<TokenId> encode(std::string_view text, bool add_special) const = 0;
  // Text of ids; the inverse of encode up to the tokenizer's own normalisation. Errors: mismatch for ids out of range.
  virtual std::string decode(std::span<const TokenId> ids, bool skip_special) const = 0;
  virtual std::int64_t vocab_size() const = 0;  // highest id + 1, added tokens included
  // The same without added tokens at the end, which stand only where a text spells them: Gemma 3 has one for images,
  // and no row for it where the model has no eyes.
  virtual std::int64_t own_size() const { return vocab_size(); }
  virtual std::optional<TokenId> bos() const = 0;
  virtual std::optional<TokenId> eos() const = 0;
  // Whether encode(…, true) puts BOS in front: "where the tokenizer has the habit".
  virtual bool adds_bos() const = 0;
};

// Text of `ids` behind that of `before`: a blank between the two may be lost from what is decoded alone.
std::string decode_after(const Tokenizer& tokenizer, std::span<const TokenId> before, std::span<const TokenId> ids);

// What speaks against a tokenizer beside an embedding of so many rows, as the end of a sentence that begins with it;
// empty where nothing does. Of more tokens (own_size()) than rows: text would have ids without a row. Of fewer than
// half (vocab_size()): it is hardly the one that the model was trained with.
std::string excess_of_tokens(std::int64_t tokens, std::int64_t rows);
std::string shortage_of_tokens(std::int64_t tokens, std::int64_t rows);

// tokenizer.json first, else tokenizer.model, with tokenizer_config.json beside it for BOS, EOS and added tokens; the
// metadata of a GGUF file where there is neither.
// Errors: unsupported naming the component that is not known; format; io when neither file is there.
std::unique_ptr<Tokenizer> open_tokenizer(const FileSet& files);

}  // namespace streamline
