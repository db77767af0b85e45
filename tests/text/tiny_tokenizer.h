// SPDX-License-Identifier: Apache-2.0
// Tokenizers small enough to see through, as the text of a tokenizer.json.
#pragma once

#include <memory>
#include <string>

#include "streamline/base/file.h"
#include "streamline/base/json.h"
#include "streamline/text/tokenizer.h"

namespace streamline::test {

// Letters a-e, a blank, a digit or two, U+2581 and what the merges below make of them.
inline Json tiny_tokenizer_json() {
  return Json::parse(R"({
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
    "pre_tokenizer": null, "post_processor": null, "decoder": {"type": "Fuse"},
    "model": {"type": "BPE", "unk_token": "?", "fuse_unk": false, "byte_fallback": false,
      "vocab": {"?": 0, "a": 1, "b": 2, "c": 3, "d": 4, "e": 5, " ": 6, "1": 7, "2": 8, "▁": 9, "ab": 10,
                "abc": 11, "cd": 12, "▁a": 13, "!": 14, ".": 15, "A": 16, "é": 17, "de": 18},
      "merges": ["a b", ["ab", "c"], "c d", "▁ a", "d e"]}})");
}

inline std::unique_ptr<Tokenizer> open_json(const Json& document, std::string config = "{}") {
  return open_tokenizer(
      *memory_files("tiny", {{"tokenizer.json", document.dump()}, {"tokenizer_config.json", config}}));
}

// The tiny tokenizer with one part replaced.
inline std::unique_ptr<Tokenizer> tiny_with(const char* part, const std::string& description) {
  Json document = tiny_tokenizer_json();
  document[part] = Json::parse(description);
  return open_json(document);
}

}  // namespace streamline::test
