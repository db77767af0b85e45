// SPDX-License-Identifier: Apache-2.0
// What a chip reads: which model's hidden states, of which token, of texts that were prepared how.
#pragma once

#include <string>
#include <vector>

#include "streamline/base/json.h"
#include "streamline/engine/model.h"
#include "streamline/text/corpus.h"

namespace streamline::chip {

// The token whose hidden state is taken: the last one, the mean over all, or one by its index (from the end when
// negative).
struct Position {
  enum class Kind { last, mean, index };
  Kind kind = Kind::last;
  std::int64_t index = 0;

  bool operator==(const Position&) const = default;
};
Position parse_position(const std::string& word);  // "last", "mean", "5", "-2"; errors: usage
std::string to_string(const Position& position);

// How a text becomes tokens.
struct Input {
  Position position = {};
  bool bos = false;
  std::int64_t max_tokens = 0;
  std::string prompt = {};  // the template that texts are made with; empty: none

  bool operator==(const Input&) const = default;
};
Json to_json(const Input& input);
Input input_from_json(const Json& json, const std::string& where);

// The model that the hidden states are of.
struct Trunk {
  std::string model = {}, digest = {};  // its path; Checkpoint::digest()
  std::int64_t layers = 0, hidden = 0;
  bool layer_norm = false;  // its final norm is a LayerNorm, else an RMSNorm
  double epsilon = 1e-6;    // of its norms

  bool operator==(const Trunk&) const = default;
};
Trunk trunk_of(const Model& model);
Json to_json(const Trunk& trunk);
Trunk trunk_from_json(const Json& json, const std::string& where);
// Errors: mismatch when `model` is not the one that `trunk` is, naming `where`.
void check_trunk(const Trunk& trunk, const Model& model, const std::string& where);

// Texts as tokens, one sequence each. What is longer than max_tokens loses its beginning (behind BOS), where the
// passage of a question stands; the cue at its end stays. Errors: mismatch for a text of no tokens.
struct Prompts {
  TokenBatches batches;
  std::int64_t truncated = 0;
};
Prompts tokenize(const std::vector<std::string>& texts, const Tokenizer& tokenizer, const Input& input);

// The states of `position` in [batch, seq, hidden] → [batch, hidden]; a mean is taken in float32. Errors: mismatch when
// the sequences are too short.
torch::Tensor states_at(const torch::Tensor& states, const Position& position);

}  // namespace streamline::chip
