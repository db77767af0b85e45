// SPDX-License-Identifier: Apache-2.0
// A model cut behind the last chosen chip, with its chips beside it: a checkpoint that classifies.
#pragma once

#include <filesystem>
#include <string>

#include "streamline/chip/chips_file.h"
#include "streamline/engine/model.h"
#include "streamline/surgery/apply.h"

namespace streamline::chip {

// Where the chips lie in a directory that was exported.
std::filesystem::path chips_file_in(const std::filesystem::path& directory);

// Why the chosen chip cannot be the head of a …ForSequenceClassification checkpoint of transformers, which computes
// W norm(h) of the last token, without a bias; empty when it can, exactly.
std::string why_no_classifier(const Model& model, const Chips& chips);
// Why llama.cpp does not compute that head from a GGUF file; empty when it does.
std::string why_not_in_llama_cpp(const Model& model);

struct ExportOptions {
  std::uint64_t max_shard_size = 5'000'000'000;
  Overwrite overwrite = Overwrite::no;
  bool plain = false;         // no …ForSequenceClassification, even where it is possible
  Json run = Json::object();  // of the model card
};
struct Exported {
  AppliedPlan applied;
  std::int64_t layers = 0;        // that are kept
  std::string architecture;       // of config.json
  std::string why_plain = {};     // why it is no …ForSequenceClassification; empty when it is
  double largest_difference = 0;  // of the written chips' logits from those in memory, relative to the largest
};

// Writes layers 0 … l, l being the last of the chosen ones, as a checkpoint without a language model's head, with the
// chips behind these layers in `streamline/chips.safetensors`. As a …ForSequenceClassification where
// why_no_classifier() is empty: its final norm then has neutral weights, and `score.weight` is the chip's matrix in
// float32. The result is opened and its logits compared before it gets its name. Errors: those of apply_plan();
// mismatch for chips of another model; unsupported for GGUF files and models of several parts.
Exported export_chips(const Model& model, const Chips& chips, const std::filesystem::path& out,
                      const ExportOptions& options);

// A directory that export_chips() wrote as a classifier, as a GGUF file with "cls.output.weight" and the classes'
// names. Errors: those of export_gguf(); mismatch for another directory.
void export_chips_gguf(const std::filesystem::path& directory, const std::filesystem::path& file, DType type,
                       Overwrite overwrite);

}  // namespace streamline::chip
