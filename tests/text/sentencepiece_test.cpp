// SPDX-License-Identifier: Apache-2.0
// tokenizer.model files that SentencePiece itself has to read.
#include <string>

#include "streamline/base/file.h"
#include "streamline/text/tokenizer.h"
#include "tests/support/core/expect.h"

namespace streamline {
namespace {

// A field of bytes; of a piece, 1 is its text, and of the model, 1 is a piece.
std::string bytes_field(int number, const std::string& bytes) {
  return std::string{static_cast<char>(number << 3 | 2), static_cast<char>(bytes.size())} + bytes;
}

std::string piece_of(const std::string& text, char type) {
  return bytes_field(1, bytes_field(1, text) + std::string("\x15\0\0\0\0\x18", 6) + type);
}

TEST(SentencePiece, ThrowsAtAPieceOfAZeroByteWhichIsRefused) {
  const std::string special = piece_of("<unk>", 2) + piece_of("<s>", 3) + piece_of("</s>", 3);
  const auto open = [&](const std::string& pieces) {
    return open_tokenizer(*memory_files("model", {{"tokenizer.model", special + pieces}}));
  };
  EXPECT_EQ(open(piece_of("ab", 1))->vocab_size(), 4);
  EXPECT_ERROR(open(piece_of("ab", 1) + piece_of(std::string("\0c", 2), 1)), format, "SentencePiece cannot read it");
}

}  // namespace
}  // namespace streamline
