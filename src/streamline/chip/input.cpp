// SPDX-License-Identifier: Apache-2.0
#include "streamline/chip/input.h"

#include "streamline/base/digest.h"
#include "streamline/base/error.h"
#include "streamline/base/json_fields.h"
#include "streamline/base/parse_number.h"

namespace streamline::chip {
Position parse_position(const std::string& word) {
  if (word == "last") return {};
  if (word == "mean") return {.kind = Position::Kind::mean};
  if (const auto index = parse_number<std::int64_t>(word)) return {.kind = Position::Kind::index, .index = *index};
  fail(ErrorKind::usage, "'", word, "' is no position; expected last, mean, or the index of a token");
}

std::string to_string(const Position& position) {
  if (position.kind == Position::Kind::last) return "last";
  return position.kind == Position::Kind::mean ? "mean" : std::to_string(position.index);
}

Json to_json(const Input& input) {
  return {{"position", to_string(input.position)},
          {"bos", input.bos},
          {"max_tokens", input.max_tokens},
          {"prompt", input.prompt}};
}

Input input_from_json(const Json& json, const std::string& where) {
  Input input;
  input.position = parse_position(required(json_string(json, "position", where), "position", where));
  input.bos = required(json_bool(json, "bos", where), "bos", where);
  input.max_tokens = required(json_integer(json, "max_tokens", where), "max_tokens", where);
  input.prompt = json_string(json, "prompt", where).value_or("");
  if (input.max_tokens < 1) fail(ErrorKind::format, where, ": max_tokens is ", input.max_tokens);
  return input;
}

Trunk trunk_of(const Model& model) {
  return {.model = model.checkpoint().label(),
          .digest = model.checkpoint().digest(),
          .layers = model.layer_count(),
          .hidden = model.config().hidden,
          .layer_norm = model.config().family->traits.norm == Norm::layer,
          .epsilon = model.config().norm_epsilon};
}

Json to_json(const Trunk& trunk) {
  return {{"model", trunk.model},   {"digest", trunk.digest},         {"layers", trunk.layers},
          {"hidden", trunk.hidden}, {"layer_norm", trunk.layer_norm}, {"epsilon", trunk.epsilon}};
}

Trunk trunk_from_json(const Json& json, const std::string& where) {
  Trunk trunk;
  trunk.model = json_string(json, "model", where).value_or("");
  trunk.digest = required(json_string(json, "digest", where), "digest", where);
  trunk.layers = required(json_integer(json, "layers", where), "layers", where);
  trunk.hidden = required(json_integer(json, "hidden", where), "hidden", where);
  trunk.layer_norm = required(json_bool(json, "layer_norm", where), "layer_norm", where);
  trunk.epsilon = required(json_number(json, "epsilon", where), "epsilon", where);
  if (trunk.layers < 1 || trunk.layers > kMaxLayers || trunk.hidden < 1 || trunk.hidden > kMaxDimension)
    fail(ErrorKind::format, where, ": ", trunk.layers, " layers of width ", trunk.hidden, " are no model");
  return trunk;
}

void check_trunk(const Trunk& trunk, const Model& model, const std::string& where) {
  if (model.checkpoint().digest() != trunk.digest)
    fail(ErrorKind::mismatch, where, ": is of other weights (", trunk.model, ") than ", model.checkpoint().label());
}

Prompts tokenize(const std::vector<std::string>& texts, const Tokenizer& tokenizer, const Input& input) {
  Prompts prompts;
  Sha256 digest;
  const auto most = static_cast<std::size_t>(input.max_tokens);
  for (std::size_t i = 0; i < texts.size(); ++i) {
    std::vector<TokenId> ids = tokenizer.encode(texts[i], false);
    if (input.bos && (ids.empty() || ids.front() != tokenizer.bos())) ids.insert(ids.begin(), *tokenizer.bos());
    if (ids.empty()) fail(ErrorKind::mismatch, "text ", i + 1, " has no tokens");
    if (ids.size() > most) {
      const std::ptrdiff_t kept = input.bos && most > 1 ? 1 : 0;
      ids.erase(ids.begin() + kept, ids.begin() + kept + static_cast<std::ptrdiff_t>(ids.size() - most));
      ++prompts.truncated;
    }
    digest.update(std::as_bytes(std::span(ids)));
    digest.update("|");
    prompts.batches.bytes += std::ssize(texts[i]);
    prompts.batches.sequences.push_back(std::move(ids));
  }
  prompts.batches.documents = std::ssize(texts);
  prompts.batches.digest = digest.hex();
  return prompts;
}

torch::Tensor states_at(const torch::Tensor& states, const Position& position) {
  const std::int64_t length = states.size(1);
  if (position.kind == Position::Kind::mean) return states.to(torch::kFloat32).mean(1);
  if (position.kind == Position::Kind::last) return states.select(1, length - 1);
  const std::int64_t at = position.index < 0 ? length + position.index : position.index;
  if (at < 0 || at >= length)
    fail(ErrorKind::mismatch, "a text of ", length, " tokens has none at position ", position.index);
  return states.select(1, at);
}

}  // namespace streamline::chip
