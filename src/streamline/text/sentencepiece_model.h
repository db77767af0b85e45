// SPDX-License-Identifier: Apache-2.0
// SentencePiece's vocabulary, from whatever file.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "streamline/text/pipeline.h"

namespace streamline {

enum PieceType : std::uint64_t { normal = 1, unknown = 2, control = 3, user_defined = 4, unused = 5, byte = 6 };

struct SentencePiece {
  std::string text;
  float score = 0;
  std::uint64_t type = PieceType::normal;
};

// The parts of sentencepiece_model.proto that decide what encoding does, with its defaults.
struct SentencePieceModel {
  std::vector<SentencePiece> pieces;
  std::uint64_t model_type = 1;  // 1 unigram, 2 BPE, 3 word, 4 char
  bool byte_fallback = false;
  std::int64_t unk = 0, bos = 1, eos = 2;  // -1: none
  bool has_character_map = false, add_dummy_prefix = true, remove_extra_whitespaces = true, escape_whitespaces = true;
};

// SentencePiece's BPE: pieces ranked by their scores. `tokens` are the same pieces.
std::unique_ptr<WordModel> make_sentencepiece_bpe(const SentencePieceModel& model, const TokenList& tokens);

}  // namespace streamline
