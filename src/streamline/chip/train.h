// SPDX-License-Identifier: Apache-2.0
// Training chips for every layer from a file of features. Chips are independent: what one is does not depend on which
// others are trained beside it.
#pragma once

#include <vector>

#include "streamline/base/json.h"
#include "streamline/chip/chip.h"
#include "streamline/chip/features.h"

namespace streamline::chip {

enum class Method {
  adamw,   // the paper's: steps of AdamW on the cross-entropy
  ridge,   // least squares with an L2 penalty, in closed form
  newton,  // logistic regression with an L2 penalty, by Newton's method
};
std::string_view name(Method method);        // "adamw", "ridge", "newton"
Method method_named(std::string_view word);  // errors: usage

// Defaults of adamw are those of the authors' code.
struct TrainOptions {
  std::vector<Kind> kinds = {Kind::linear, Kind::mlp};
  Method method = Method::adamw;
  FeatureNorm norm = FeatureNorm::none;
  bool bias = true;          // of the last matrix
  std::int64_t width = 256;  // of an MLP
  double learning_rate = 1e-5, weight_decay = 0.01;
  std::int64_t epochs = 1, batch = 1;
  double penalty = 0;                 // of ridge and newton; 0: chosen by leaving one out (ridge), 1 (newton)
  double validation = 0.1, test = 0;  // shares of the texts
  std::uint64_t seed = 42;
  bool progress = false;
};

// What a chip makes of some texts.
struct Score {
  std::int64_t right = 0, count = 0;
  double loss = 0;    // mean cross-entropy, nats
  double margin = 0;  // mean of the right class's probability less the best other's

  double accuracy() const { return count > 0 ? static_cast<double>(right) / static_cast<double>(count) : 0; }
};
Score score(const Chip& chip, const torch::Tensor& states, const torch::Tensor& labels);
Score score_of(const torch::Tensor& logits, const torch::Tensor& labels);
// Wilson's interval for the accuracy, 95 %.
std::pair<double, double> interval(const Score& score);
Json to_json(const Score& score);

struct TrainedChip {
  Chip chip;
  Score train, validation, test;
};

// Indices of the texts, drawn by the seed; no text is in two of them.
struct Split {
  torch::Tensor train, validation, test;  // int64; the order of train is that of its steps
};
// Errors: usage for shares that leave nothing to train on.
Split split_texts(std::int64_t count, const TrainOptions& options);

// What a classifier is worth that always says the class which the training texts have most often (of equals the first):
// a chip must do better. Losses and margins are 0.
struct MostFrequent {
  std::int64_t label = 0;  // an index into the classes
  Score train = {}, validation = {}, test = {};
};
MostFrequent most_frequent(const torch::Tensor& labels, std::int64_t classes, const Split& split);
// Whether all of a chip's interval lies above that; true where there are no texts.
bool surely_better(const Score& score, const Score& most_frequent);

// All linear chips by layer, then all MLP chips by layer: the order in which ties are broken. Errors: usage for an MLP
// by another method than adamw, unsupported for a system of equations that is too large, numeric, interrupted.
std::vector<TrainedChip> train_chips(const Features& features, const TrainOptions& options);
// Chips behind one layer, of options.kinds. `states` [texts, hidden].
std::vector<TrainedChip> train_layer(std::int64_t layer, const torch::Tensor& states, const torch::Tensor& labels,
                                     std::int64_t classes, double epsilon, const Split& split,
                                     const TrainOptions& options);

// Values uniform in ± 1 / sqrt(fan in), from the seed, the layer and the kind alone.
Chip initial_chip(Kind kind, std::int64_t layer, std::int64_t hidden, std::int64_t classes,
                  const TrainOptions& options);
// One pass of AdamW (options.epochs of them) over features [texts, hidden], in their order. The gradients are written
// out: none is ever formed of the features.
void train_adamw(Chip& chip, const torch::Tensor& features, const torch::Tensor& labels, const TrainOptions& options);
// The same result whatever the chip was before.
void fit_ridge(Chip& chip, const torch::Tensor& features, const torch::Tensor& labels, const TrainOptions& options);
void fit_newton(Chip& chip, const torch::Tensor& features, const torch::Tensor& labels, const TrainOptions& options);

}  // namespace streamline::chip
