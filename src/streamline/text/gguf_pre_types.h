// SPDX-License-Identifier: Apache-2.0
// "tokenizer.ggml.pre": how a byte-level BPE vocabulary cuts text into words is known in GGUF by a name only.
#pragma once

#include <span>
#include <string_view>
#include <vector>

namespace streamline {

struct GgufPreType {
  std::string_view name;
  // Applied one after the other; each match is a word, and so is what lies between two.
  std::vector<std::string_view> patterns = {};
  std::string_view steps = {};  // instead of patterns: a pre-tokeniser as tokenizer.json describes it
  bool nfc = false;             // text is normalised
  bool ignore_merges = false;   // a word of the vocabulary is its token, whatever the merges say
  bool adds_bos = false;        // unless the file says otherwise
};

std::span<const GgufPreType> gguf_pre_types();
// nullptr for a name that is not known.
const GgufPreType* find_gguf_pre_type(std::string_view name);

}  // namespace streamline
