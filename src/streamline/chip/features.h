// SPDX-License-Identifier: Apache-2.0
// Hidden states of labelled texts, one a layer and text, in a file: what chips are trained on.
#pragma once

#include <filesystem>

#include "streamline/base/file.h"
#include "streamline/chip/input.h"
#include "streamline/io/checkpoint.h"
#include "streamline/tasks/labelled.h"

namespace streamline::chip {

// What the states in a file are of.
struct FeatureDescription {
  std::string task;
  std::vector<std::string> classes;
  Trunk trunk;
  Input input;
  std::vector<std::int64_t> layers;      // whose outputs there are, ascending
  std::string source = {}, digest = {};  // of the texts: file, SHA-256 of their tokens
  std::int64_t truncated = 0;            // texts that lost their beginning
};

// A features file, mapped: safetensors with "features" [layers, texts, hidden] and "labels" [texts]; its metadata has
// the description and the SHA-256 of the tensors (docs/methods/chip-tuning.md).
class Features {
 public:
  // Reads all of it once, for its digest. Errors: io, format (truncated, changed, no such file).
  static Features open(const std::filesystem::path& path);

  const FeatureDescription& description() const { return description_; }
  const std::string& label() const { return label_; }  // its path, for messages
  std::int64_t count() const { return labels_.size(0); }
  torch::Tensor labels() const { return labels_; }  // [texts] int64
  // The states of description().layers[i], [texts, hidden] float32.
  torch::Tensor layer(std::size_t i) const;

 private:
  FeatureDescription description_;
  std::string label_;
  Blob file_;
  TensorInfo features_;
  torch::Tensor labels_;
};

struct FeatureOptions {
  torch::ScalarType dtype = torch::kBFloat16;  // that the states are stored in
  std::int64_t batch_tokens = 0;               // 0: default_batch_tokens()
  Overwrite overwrite = Overwrite::no;
  bool progress = false;
};

// One sweep over the texts through the layers up to the last of description.layers; writes the file. What is finished
// lies in OUT.parts until the file is whole, and is not computed again when a run was cut short. Errors: io; mismatch
// for the parts of another model, text or setting; numeric for states that are no numbers; interrupted.
void write_features(const Model& model, const LabelledTexts& texts, const Prompts& prompts,
                    const FeatureDescription& description, const std::filesystem::path& out,
                    const FeatureOptions& options);

Json to_json(const FeatureDescription& description);
FeatureDescription description_from_json(const Json& json, const std::string& where);

}  // namespace streamline::chip
