// SPDX-License-Identifier: Apache-2.0
// The patterns are those of the models' own tokenizer.json. A name stands for the first tokenizer that used it.
#include "streamline/text/gguf_pre_types.h"

#include "streamline/text/patterns.h"

namespace streamline {
namespace {

constexpr std::string_view kLineEnd = R"([\r\n])", kDigit = R"(\p{N})", kThreeDigits = "[0-9][0-9][0-9]";
constexpr std::string_view kIdeographs = R"([\x{4E00}-\x{9FA5}\x{0800}-\x{4E00}\x{AC00}-\x{D7FF}]+)";
// Cased letters but for those that the tokenizer's list of them lacks (Georgian, mathematical letters …).
constexpr std::string_view kDeepSeekLetters =
    R"(\s?(?:(?![\x{560}-\x{588}\x{10C7}-\x{10FF}\x{1C80}-\x{1C8F}\x{1FBE}\x{2D00}-\x{2D2D}\x{A790}-\x{A7FA})"
    R"(\x{AB30}-\x{AB68}\x{10570}-\x{105BC}\x{10D50}-\x{10D85}\x{16E40}-\x{16E7F}\x{1D400}-\x{1DFFF}]))"
    R"([\p{Lu}\p{Ll}\p{Lt}])+)";
constexpr std::string_view kDeepSeekMarks =
    R"(\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+)";

const std::vector<GgufPreType>& pre_types() {
  static const std::vector<GgufPreType> types = {
      // What llama.cpp falls back to where a file names nothing.
      {.name = "default", .patterns = {R"([\p{P}\$\+<=>\^~\|]+)", kGpt2Pattern, R"(\p{N}+)", kThreeDigits}},
      {.name = "gpt-2", .patterns = {kGpt2Pattern}},
      {.name = "mpt", .patterns = {kGpt2Pattern}},
      {.name = "olmo", .patterns = {kGpt2Pattern}},
      {.name = "phi-2", .patterns = {kGpt2Pattern}},
      {.name = "roberta-bpe", .patterns = {kGpt2Pattern}},
      {.name = "llama-bpe", .patterns = {kLlama3Pattern}, .ignore_merges = true, .adds_bos = true},
      {.name = "llama3", .patterns = {kLlama3Pattern}, .ignore_merges = true, .adds_bos = true},
      {.name = "llama-v3", .patterns = {kLlama3Pattern}, .ignore_merges = true, .adds_bos = true},
      {.name = "dbrx", .patterns = {kLlama3Pattern}},
      {.name = "smaug-bpe", .patterns = {kLlama3Pattern}},
      {.name = "qwen2", .patterns = {kQwenPattern}, .nfc = true},
      {.name = "deepseek-r1-qwen", .patterns = {kQwenPattern}},
      {.name = "stablelm2", .patterns = {kQwenPattern}},
      // Its digits are looked for in the byte alphabet, where bytes such as 0xB2 are written as digits.
      {.name = "falcon", .steps = R"({"type": "Sequence", "pretokenizers": [
          {"type": "Punctuation", "behavior": "Contiguous"}, {"type": "ByteLevel", "add_prefix_space": false},
          {"type": "Digits"}, {"type": "Split", "pattern": {"Regex": "[0-9][0-9][0-9]"}}]})"},
      {.name = "starcoder", .patterns = {kDigit, kGpt2Pattern}},
      {.name = "refact", .patterns = {kDigit, kGpt2Pattern}},
      {.name = "smollm", .patterns = {kDigit, kGpt2Pattern}},
      {.name = "codeshell", .patterns = {kDigit, kGpt2Pattern}},
      {.name = "command-r", .patterns = {kDigit, kGpt2Pattern}, .nfc = true},
      {.name = "deepseek-llm",
       .patterns = {kLineEnd, kDeepSeekLetters, kDeepSeekMarks, R"(\s+$)", kIdeographs, kDigit}},
      {.name = "deepseek-coder", .patterns = {kLineEnd, R"(\s?\p{L}+)", R"(\s?\p{P}+)", kIdeographs, kDigit}},
  };
  return types;
}

}  // namespace

std::span<const GgufPreType> gguf_pre_types() { return pre_types(); }

const GgufPreType* find_gguf_pre_type(std::string_view name) {
  for (const GgufPreType& type : pre_types())
    if (type.name == name) return &type;
  return nullptr;
}

}  // namespace streamline
