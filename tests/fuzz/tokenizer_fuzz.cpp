// SPDX-License-Identifier: Apache-2.0
// Any bytes as tokenizer.json, tokenizer.model or a tiktoken file: refused with an Error, or good for a round trip.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/text/tokenizer.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace streamline;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  const char* name = size > 0 && data[0] == '{' ? "tokenizer.json" : "tokenizer.model";
  try {
    const auto tokenizer = open_tokenizer(*memory_files("fuzz", {{name, bytes}}));
    const auto ids = tokenizer->encode("Hello, w\u00f6rld!  12\u00bd <s>\n\tabcabc \u4e2d\u6587 \U0001F600", true);
    tokenizer->decode(ids, false);
    std::vector<TokenId> all;
    for (TokenId id = 0; id < tokenizer->vocab_size() && id < 512; ++id) all.push_back(id);
    tokenizer->decode(all, true);
  } catch (const Error&) {  // the one answer that a broken file may get
  }
  return 0;
}
