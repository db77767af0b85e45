// SPDX-License-Identifier: Apache-2.0
// What the tests of chips share: features of a tiny model, made from texts that are token ids.
#pragma once

#include "streamline/chip/chips_file.h"
#include "streamline/chip/features.h"
#include "tests/heal/pico.h"
#include "tests/support/core/temporary_directory.h"

namespace streamline::chip {

using streamline::test::pico_model;

namespace test {

inline constexpr std::int64_t kTexts = 60;

// Texts of 3 … 12 tokens.
inline Prompts random_prompts(std::int64_t texts, std::uint64_t seed) {
  Prompts prompts;
  Rng rng(seed);
  for (std::int64_t i = 0; i < texts; ++i) {
    auto& sequence = prompts.batches.sequences.emplace_back();
    const std::uint64_t length = 3 + rng.below(10);
    for (std::uint64_t t = 0; t < length; ++t) sequence.push_back(static_cast<TokenId>(rng.below(256)));
  }
  prompts.batches.digest = "texts " + std::to_string(seed);
  return prompts;
}

inline LabelledTexts random_labels(std::int64_t texts, std::int64_t classes, std::uint64_t seed) {
  LabelledTexts labelled;
  labelled.name = "toy";
  for (std::int64_t c = 0; c < classes; ++c) labelled.classes.push_back("class " + std::to_string(c));
  Rng rng(seed);
  for (std::int64_t i = 0; i < texts; ++i) {
    labelled.texts.push_back("text");
    labelled.labels.push_back(static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(classes))));
  }
  return labelled;
}

inline FeatureDescription describe(const Model& model, const LabelledTexts& labelled, const Prompts& prompts) {
  FeatureDescription description;
  description.task = labelled.name;
  description.classes = labelled.classes;
  description.trunk = trunk_of(model);
  description.input.max_tokens = 64;
  for (std::int64_t i = 0; i < model.layer_count(); ++i) description.layers.push_back(i);
  description.digest = prompts.batches.digest;
  return description;
}

inline Features make_features(const Model& model, const LabelledTexts& labelled, const Prompts& prompts,
                              const std::filesystem::path& path) {
  write_features(model, labelled, prompts, describe(model, labelled, prompts), path,
                 {.dtype = torch::kFloat32, .batch_tokens = 40});
  return Features::open(path);
}

inline bool same_chip(const Chip& a, const Chip& b) {
  const auto left = trainable(a), right = trainable(b);
  if (left.size() != right.size()) return false;
  for (std::size_t i = 0; i < left.size(); ++i)
    if (!torch::equal(left[i], right[i])) return false;
  return true;
}

// A chip whose parameters are all zero.
inline Chip zero_chip(Kind kind, std::int64_t hidden, std::int64_t classes, std::int64_t width = 256) {
  TrainOptions options;
  options.width = width;
  Chip chip = initial_chip(kind, 0, hidden, classes, options);
  for (auto tensor : trainable(chip)) tensor.zero_();
  return chip;
}

}  // namespace test
}  // namespace streamline::chip
