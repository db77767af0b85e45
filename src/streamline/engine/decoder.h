// SPDX-License-Identifier: Apache-2.0
// Reading a prompt and going on token by token, with what was read in caches of keys and values. What is cut of a model
// may be cut in one of the two phases only.
#pragma once

#include "streamline/engine/model.h"

namespace streamline {

enum class CutIn {
  everywhere,
  decode,   // all layers read the prompt; what is left of them goes on
  prefill,  // what is left reads the prompt, and all layers go on: ShortGPT-gen, as its authors released it
};
CutIn parse_cut_in(const std::string& name);  // "everywhere", "decode", "prefill"

// A model by phases.
class PhasedModel {
 public:
  PhasedModel(const Model& model);  // NOLINT(google-explicit-constructor): a model is one of a single phase
  // Errors: usage for a plan that puts something in, where its cut is not everywhere; those of Model::view.
  PhasedModel(const Model& source, const Plan& plan, const Replacements& replacements, CutIn cut_in);

  const Model& prefill() const { return prefill_; }
  const Model& decode() const { return decode_; }

 private:
  friend class Decoder;
  Model prefill_, decode_;
  // By layer of decode(): the layer of prefill() whose keys and values it goes on from, -1 where it has no attention.
  std::vector<std::int64_t> reads_;
  // Of a source that reads the prompt in part, by its layers; empty: prefill() runs as it is.
  std::vector<Action> skips_ = {};
};

// One batch of sequences on its way through a model.
class Decoder {
 public:
  explicit Decoder(const PhasedModel& model);

  // ids: [batch, count], the prompt at first, then what follows → logits behind the last of them, [batch, 1, vocab].
  // Errors: those of Model::embed.
  torch::Tensor read(const torch::Tensor& ids);
  std::int64_t position() const { return position_; }  // tokens read

 private:
  torch::Tensor read_prompt(torch::Tensor x, const Positions& positions);

  const PhasedModel& model_;
  std::vector<LayerCache> caches_;
  std::int64_t position_ = 0;
};

}  // namespace streamline
