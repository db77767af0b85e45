// SPDX-License-Identifier: Apache-2.0
#include "streamline/chip/train.h"

#include <array>
#include <cmath>
#include <mutex>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/random.h"
#include "streamline/base/value_named.h"
#include "streamline/heal/adamw.h"

namespace streamline::chip {
namespace {

constexpr std::array<std::string_view, 3> kMethods = {"adamw", "ridge", "newton"};

torch::Tensor uniform(const std::vector<std::int64_t>& shape, std::int64_t fan_in, Rng& rng) {
  auto values = torch::empty(shape, torch::kFloat32);
  const double bound = 1 / std::sqrt(static_cast<double>(fan_in));
  auto* out = values.data_ptr<float>();
  for (std::int64_t i = 0; i < values.numel(); ++i) out[i] = static_cast<float>(bound * (2 * rng.uniform() - 1));
  return values;
}

// Gradients of the mean cross-entropy, [B, …] features and one label each.
void set_gradients(Chip& chip, const torch::Tensor& x, const torch::Tensor& labels) {
  const bool deep = chip.kind == Kind::mlp;
  const auto pre = deep ? torch::addmm(chip.hidden_bias, x, chip.hidden_weight.t()) : x;  // [B, width]
  const auto input = deep ? pre.relu() : x;
  const auto z = chip.bias.defined() ? torch::addmm(chip.bias, input, chip.weight.t()) : input.mm(chip.weight.t());
  auto delta = torch::softmax(z, 1);  // [B, classes]
  delta.scatter_add_(1, labels.unsqueeze(1), torch::full({labels.size(0), 1}, -1.F));
  delta.div_(static_cast<double>(labels.size(0)));
  chip.weight.mutable_grad() = delta.t().mm(input);
  if (chip.bias.defined()) chip.bias.mutable_grad() = delta.sum(0);
  if (!deep) return;
  const auto inner = delta.mm(chip.weight) * (pre > 0);  // [B, width]
  chip.hidden_weight.mutable_grad() = inner.t().mm(x);
  chip.hidden_bias.mutable_grad() = inner.sum(0);
}

void fit(Chip& chip, const torch::Tensor& features, const torch::Tensor& labels, const TrainOptions& options) {
  switch (options.method) {
    case Method::adamw:
      return train_adamw(chip, features, labels, options);
    case Method::ridge:
      return fit_ridge(chip, features, labels, options);
    case Method::newton:
      return fit_newton(chip, features, labels, options);
  }
}

void check_training(const TrainOptions& options) {
  if (options.kinds.empty()) fail(ErrorKind::usage, "no kind of chip to train; --kind linear or mlp");
  for (const Kind kind : options.kinds)
    if (kind == Kind::mlp && options.method != Method::adamw)
      fail(ErrorKind::usage, "an MLP chip has no closed form; --method adamw, or --kind linear");
}

}  // namespace

std::string_view name(Method method) { return kMethods.at(static_cast<std::size_t>(method)); }
Method method_named(std::string_view word) { return value_named<Method>(kMethods, word, "method"); }

Score score_of(const torch::Tensor& logits, const torch::Tensor& labels) {
  Score result;
  result.count = labels.size(0);
  if (result.count == 0) return result;
  const auto shares = torch::log_softmax(logits.to(torch::kFloat64), 1);
  const auto right = shares.gather(1, labels.unsqueeze(1)).squeeze(1);
  const auto others = shares.scatter(1, labels.unsqueeze(1), -INFINITY);
  result.right = logits.argmax(1).eq(labels).sum().item<std::int64_t>();
  result.loss = std::max(0.0, -right.mean().item<double>());  // of a perfect chip 0, not -0
  result.margin = (right.exp() - std::get<0>(others.max(1)).exp()).mean().item<double>();
  return result;
}

Score score(const Chip& chip, const torch::Tensor& states, const torch::Tensor& labels) {
  return score_of(logits(chip, states), labels);
}

std::pair<double, double> interval(const Score& score) {
  if (score.count == 0) return {0, 1};
  constexpr double z = 1.959964;
  const auto n = static_cast<double>(score.count);
  const double p = score.accuracy(), middle = p + z * z / (2 * n);
  const double spread = z * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n)), whole = 1 + z * z / n;
  return {(middle - spread) / whole, (middle + spread) / whole};
}

Json to_json(const Score& score) {
  const auto [low, high] = interval(score);
  return {{"accuracy", score.accuracy()}, {"low", low},         {"high", high},          {"right", score.right},
          {"count", score.count},         {"loss", score.loss}, {"margin", score.margin}};
}

Split split_texts(std::int64_t count, const TrainOptions& options) {
  Rng rng(options.seed);
  const auto order = torch::tensor(permutation(count, rng), torch::kLong);
  const auto share = [&](double part) {
    return static_cast<std::int64_t>(std::llround(part * static_cast<double>(count)));
  };
  const std::int64_t test = share(options.test), validation = share(options.validation);
  const std::int64_t train = count - test - validation;
  if (validation < 1 || train < 2)
    fail(ErrorKind::usage, count, " texts leave ", train, " to train on and ", validation,
         " to choose by; give more texts, or other shares (--validation, --test)");
  return {.train = order.narrow(0, test + validation, train),
          .validation = order.narrow(0, test, validation),
          .test = order.narrow(0, 0, test)};
}

MostFrequent most_frequent(const torch::Tensor& labels, std::int64_t classes, const Split& split) {
  MostFrequent result;
  result.label = torch::bincount(labels.index_select(0, split.train), {}, classes).argmax().item<std::int64_t>();
  const auto part = [&](const torch::Tensor& indices) {
    return Score{.right = labels.index_select(0, indices).eq(result.label).sum().item<std::int64_t>(),
                 .count = indices.size(0)};
  };
  result.train = part(split.train);
  result.validation = part(split.validation);
  result.test = part(split.test);
  return result;
}

bool surely_better(const Score& score, const Score& most_frequent) {
  return score.count == 0 || interval(score).first > most_frequent.accuracy();
}

Chip initial_chip(Kind kind, std::int64_t layer, std::int64_t hidden, std::int64_t classes,
                  const TrainOptions& options) {
  Rng rng(options.seed * 0x9E3779B97F4A7C15U + static_cast<std::uint64_t>(2 * layer) + (kind == Kind::mlp ? 1 : 0));
  Chip chip{.kind = kind, .layer = layer};
  std::int64_t width = hidden;
  if (kind == Kind::mlp) {
    width = options.width;
    chip.hidden_weight = uniform({width, hidden}, hidden, rng);
    chip.hidden_bias = uniform({width}, hidden, rng);
  }
  chip.weight = uniform({classes, width}, width, rng);
  if (options.bias) chip.bias = uniform({classes}, width, rng);
  return chip;
}

void train_adamw(Chip& chip, const torch::Tensor& features, const torch::Tensor& labels, const TrainOptions& options) {
  const torch::NoGradGuard no_gradients;
  AdamW optimizer(trainable(chip),
                  {.beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-8, .weight_decay = options.weight_decay});
  const std::int64_t count = features.size(0);
  for (std::int64_t epoch = 0; epoch < options.epochs; ++epoch)
    for (std::int64_t first = 0; first < count; first += options.batch) {
      const std::int64_t together = std::min(options.batch, count - first);
      set_gradients(chip, features.narrow(0, first, together), labels.narrow(0, first, together));
      optimizer.step(options.learning_rate);
      if ((first / options.batch) % 256 == 0) check_interrupted();
    }
}

std::vector<TrainedChip> train_layer(std::int64_t layer, const torch::Tensor& states, const torch::Tensor& labels,
                                     std::int64_t classes, double epsilon, const Split& split,
                                     const TrainOptions& options) {
  const torch::NoGradGuard no_gradients;
  const auto train_states = states.index_select(0, split.train), train_labels = labels.index_select(0, split.train);
  const Normaliser normaliser = make_normaliser(options.norm, epsilon, train_states);
  const auto features = normalised(normaliser, train_states);
  std::vector<TrainedChip> trained;
  for (const Kind kind : options.kinds) {
    Chip chip = initial_chip(kind, layer, states.size(1), classes, options);
    fit(chip, features, train_labels, options);
    chip.normaliser = normaliser;
    for (const torch::Tensor& tensor : trainable(chip))
      if (!torch::isfinite(tensor).all().item<bool>())
        fail(ErrorKind::numeric, "the ", name(kind), " chip behind layer ", layer,
             " has grown beyond all numbers; take a smaller --learning-rate, or --feature-norm standardise");
    const auto part = [&](const torch::Tensor& indices) {
      return score(chip, states.index_select(0, indices), labels.index_select(0, indices));
    };
    trained.push_back({chip, part(split.train), part(split.validation), part(split.test)});
  }
  return trained;
}

std::vector<TrainedChip> train_chips(const Features& features, const TrainOptions& options) {
  check_training(options);
  const FeatureDescription& description = features.description();
  const Split split = split_texts(features.count(), options);
  std::vector<std::vector<TrainedChip>> by_layer(description.layers.size());
  std::optional<Progress> progress;
  if (options.progress) progress.emplace("chips", std::ssize(description.layers), "layers");
  std::mutex mutex;
  const auto run = [&](std::int64_t first, std::int64_t last) {
    for (std::int64_t i = first; i < last; ++i) {
      const auto place = static_cast<std::size_t>(i);
      by_layer[place] = train_layer(description.layers[place], features.layer(place), features.labels(),
                                    std::ssize(description.classes), description.trunk.epsilon, split, options);
      const std::lock_guard lock(mutex);
      if (progress) progress->advance(1);
    }
  };
  // Steps on one text are too small to share; a closed form's products share themselves.
  translating_errors([&] {
    if (options.method == Method::adamw)
      at::parallel_for(0, std::ssize(description.layers), 1, run);
    else
      run(0, std::ssize(description.layers));
  });
  std::vector<TrainedChip> trained;
  for (std::size_t kind = 0; kind < options.kinds.size(); ++kind)
    for (const auto& layer : by_layer) trained.push_back(layer[kind]);
  return trained;
}

}  // namespace streamline::chip
