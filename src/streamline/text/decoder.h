// SPDX-License-Identifier: Apache-2.0
// Decoders of tokenizer.json: how the strings of tokens become text again.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "streamline/base/json.h"

namespace streamline {

class Decoder {
 public:
  virtual ~Decoder() = default;
  // Rewrites a list of token strings; the text is what is left, joined.
  virtual void apply(std::vector<std::string>& tokens) const = 0;
};

// nullptr for null: tokens are then joined with blanks. Errors: unsupported naming a type that is not known; format.
std::unique_ptr<const Decoder> make_decoder(const Json& description, std::string_view where);

std::unique_ptr<const Decoder> byte_level_decoder();
// Escaped blanks become blanks, <0x..> tokens become bytes, and the blank that encoding put in front goes.
std::unique_ptr<const Decoder> sentencepiece_decoder(bool strip_prefix);

}  // namespace streamline
