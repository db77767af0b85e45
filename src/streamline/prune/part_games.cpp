// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/part_games.h"

#include <algorithm>
#include <cmath>
#include <memory>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/plan/drop_halves.h"

namespace streamline {
namespace {

constexpr std::int64_t kQuestionsTogether = 8;

// One sequence on its way through what is left of a model.
class TextWalk {
 public:
  TextWalk(const Model& model, const UnitStack& stack, const TextBatch& batch, PartCounter& counter)
      : model_(model), stack_(stack), batch_(batch), counter_(counter) {
    active_.assign(stack.parts.size(), true);
    entering_.resize(stack.parts.size());
    advance(0, model.embed(batch.ids));
  }

  void leave_out(std::int64_t unit) {
    const std::size_t at = stack_.units[static_cast<std::size_t>(unit)];
    active_[at] = false;
    advance(at, entering_[at]);
  }

  // Together, so that one pass does: what is behind the first of them is computed once.
  void leave_out(std::span<const std::int64_t> units) {
    std::size_t first = active_.size();
    for (const std::int64_t unit : units) {
      const std::size_t at = stack_.units[static_cast<std::size_t>(unit)];
      active_[at] = false;
      first = std::min(first, at);
    }
    if (first < active_.size()) advance(first, entering_[first]);
  }

  const torch::Tensor& last() const { return last_; }

 private:
  void advance(std::size_t from, torch::Tensor x) {
    for (std::size_t i = from; i < active_.size(); ++i) {
      entering_[i] = x;
      if (!active_[i]) continue;
      check_interrupted();
      x = block_forward(model_.config(), part_weights(model_, stack_.parts[i]), x, batch_.positions);
      ++counter_.parts;
    }
    last_ = x;
  }

  const Model& model_;
  const UnitStack& stack_;
  const TextBatch& batch_;
  PartCounter& counter_;
  std::vector<bool> active_;
  std::vector<torch::Tensor> entering_;  // the stream before each part
  torch::Tensor last_;
};

// Costs of the states, [1, tokens, hidden] each, of which the first is the whole model's.
std::vector<double> costs_of(const Model& model, TextMeasure what, const TextBatch& batch,
                             const std::vector<torch::Tensor>& states, PartCounter& counter) {
  counter.evaluations += std::ssize(states);
  const std::vector<double> costs = measure(model, what, batch, states.front(), torch::cat(states));
  for (const double cost : costs)
    if (!std::isfinite(cost))
      fail(ErrorKind::numeric,
           "without some of its parts the model's logits are NaN or infinite on the calibration text; try --dtype "
           "float32");
  return costs;
}

// What is left of the model. Without all its layers a model is its embedding and its head.
Model left_of(const Model& model, const UnitStack& stack, std::span<const std::int64_t> left_out) {
  std::vector<std::int64_t> attention, mlp;
  for (const std::int64_t unit : left_out) {
    const StackPart& part = stack.parts[stack.units[static_cast<std::size_t>(unit)]];
    if (part.attention) attention.push_back(part.layer);
    if (part.mlp) mlp.push_back(part.layer);
  }
  const std::int64_t layers = model.layer_count();
  if (std::ssize(attention) == layers && std::ssize(mlp) == layers) return model.truncated(0);
  return model.view(drop_halves(layers, attention, mlp), {});
}

}  // namespace

UnitGame text_game(const Model& model, const UnitStack& stack, TextMeasure what, const TokenBatches& text,
                   PartCounter& counter) {
  // One sequence at a time: each has permutations of its own.
  const auto batches = std::make_shared<const std::vector<TextBatch>>(text_batches(model, text, 1, Keeps::all_states));
  const auto walk = [&model, stack, what, batches, &counter](std::size_t item, std::span<const std::int64_t> order) {
    const torch::NoGradGuard no_gradients;
    return translating_errors([&] {
      const TextBatch& batch = (*batches)[item];
      TextWalk sequence(model, stack, batch, counter);
      std::vector<torch::Tensor> states = {sequence.last()};
      for (const std::int64_t unit : order) {
        sequence.leave_out(unit);
        states.push_back(sequence.last());
      }
      return costs_of(model, what, batch, states, counter);
    });
  };
  const auto value = [&model, stack, what, batches, &counter](std::size_t item,
                                                              std::span<const std::int64_t> left_out) {
    const torch::NoGradGuard no_gradients;
    return translating_errors([&] {
      const TextBatch& batch = (*batches)[item];
      TextWalk sequence(model, stack, batch, counter);
      const torch::Tensor whole = sequence.last();
      sequence.leave_out(left_out);
      return costs_of(model, what, batch, {whole, sequence.last()}, counter).back();
    });
  };
  return {.units = stack.units.size(),
          .items = batches->size(),
          .walk = walk,
          .value = value,
          .ranks = model.placement().ranks};
}

UnitGame question_game(const Model& model, const UnitStack& stack, const Questionnaire& questions) {
  const std::int64_t groups = (questions.count + kQuestionsTogether - 1) / kQuestionsTogether;
  const auto value = [own = model.alone(), stack, questions, groups](std::size_t item,
                                                                     std::span<const std::int64_t> left_out) {
    const auto index = static_cast<std::int64_t>(item);
    const std::int64_t first = questions.count * index / groups;
    const std::int64_t count = questions.count * (index + 1) / groups - first;
    const std::vector<bool> right = questions.right(left_of(own, stack, left_out), first, count);
    return static_cast<double>(std::ranges::count(right, false)) / static_cast<double>(count);
  };
  const auto walk = [value](std::size_t item, std::span<const std::int64_t> order) {
    std::vector<double> costs;
    for (std::size_t k = 0; k <= order.size(); ++k) costs.push_back(value(item, order.first(k)));
    return costs;
  };
  return {.units = stack.units.size(),
          .items = static_cast<std::size_t>(groups),
          .walk = walk,
          .value = value,
          .ranks = model.placement().ranks};
}

}  // namespace streamline
