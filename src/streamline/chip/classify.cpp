// SPDX-License-Identifier: Apache-2.0
#include "streamline/chip/classify.h"

#include <algorithm>

#include "streamline/arch/names.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/engine/mapped.h"
#include "streamline/engine/sweep.h"
#include "streamline/nn/host_values.h"

namespace streamline::chip {
namespace {

std::vector<double> shares_of(const torch::Tensor& logits) {
  return to_doubles(torch::softmax(logits.to(torch::kFloat64), -1));
}

const Chip& chosen(const TaskChips& task) { return task.chips[task.choice->chip].chip; }

// The task's chip behind this layer at which a text may be done.
const Chip* exit_chip(const TaskChips& task, std::int64_t layer) {
  for (const TrainedChip& trained : task.chips)
    if (trained.chip.kind == task.choice->kind && trained.chip.layer == layer && layer <= task.choice->layer)
      return &trained.chip;
  return nullptr;
}

// Tasks that read a text in the same way, so that it runs once for all of them.
struct Group {
  Input input;
  std::vector<std::size_t> tasks;
  std::int64_t layers = 0;  // that run
};

std::vector<Group> groups_of(const Chips& chips) {
  std::vector<Group> groups;
  for (std::size_t i = 0; i < chips.tasks.size(); ++i) {
    const TaskChips& task = chips.tasks[i];
    SL_ASSERT(task.choice.has_value());
    auto group = std::ranges::find(groups, task.input, &Group::input);
    if (group == groups.end()) group = groups.insert(groups.end(), {.input = task.input, .tasks = {}});
    group->tasks.push_back(i);
    group->layers = std::max(group->layers, task.choice->layer + 1);
  }
  return groups;
}

using Verdicts = std::vector<std::vector<Verdict>>;

void run_together(const Model& model, const Chips& chips, const Group& group, const TokenBatches& batches,
                  const ClassifyOptions& options, Verdicts& verdicts) {
  const SweepVisitor visitor{.layer = [&](const SweepBatch& batch, const LayerStep& step) {
    for (const std::size_t task : group.tasks) {
      if (chips.tasks[task].choice->layer != step.layer) continue;
      const auto z = logits(chosen(chips.tasks[task]), states_at(step.output, group.input.position).to(torch::kCPU));
      for (std::size_t row = 0; row < batch.sequences.size(); ++row)
        verdicts[static_cast<std::size_t>(batch.sequences[row])][task] = {shares_of(z[static_cast<std::int64_t>(row)]),
                                                                          step.layer};
    }
  }};
  sweep(model.truncated(group.layers), batches, {.batch_tokens = options.batch_tokens}, visitor);
}

// One text, no further than it must.
void run_alone(const Model& model, const Chips& chips, const Group& group, const TokenBatches& batches,
               std::size_t text, double threshold, std::vector<Verdict>& verdicts) {
  const auto ids = to_tensor(batches, {static_cast<std::int64_t>(text)}, model.placement().device);
  const Positions positions = rope_positions(model.config(), 0, ids.size(1), model.placement().device);
  std::vector<std::size_t> open = group.tasks;
  torch::Tensor x = model.embed(ids);
  for (std::int64_t layer = 0; layer < group.layers && !open.empty(); ++layer) {
    check_interrupted();
    x = block_forward(model.config(), model.layer(layer), x, positions);
    const auto state = states_at(x, group.input.position).to(torch::kCPU);
    std::erase_if(open, [&](std::size_t task) {
      const Chip* chip = exit_chip(chips.tasks[task], layer);
      if (chip == nullptr) return false;
      const std::vector<double> shares = shares_of(logits(*chip, state)[0]);
      if (layer < chips.tasks[task].choice->layer && std::ranges::max(shares) < threshold) return false;
      verdicts[task] = {shares, layer};
      return true;
    });
  }
}

}  // namespace

std::size_t Verdict::best() const {
  return static_cast<std::size_t>(std::ranges::max_element(probabilities) - probabilities.begin());
}

Verdicts classify(const Model& model, const Tokenizer& tokenizer, const Chips& chips,
                  const std::vector<std::string>& lines, const ClassifyOptions& options) {
  const torch::NoGradGuard no_gradients;
  check_trunk(chips.trunk, model, "the chips");
  Verdicts verdicts(lines.size(), std::vector<Verdict>(chips.tasks.size()));
  for (const Group& group : groups_of(chips)) {
    std::vector<std::string> texts;
    for (std::size_t i = 0; i < lines.size(); ++i)
      texts.push_back(prompted(lines[i], group.input.prompt, "line " + std::to_string(i + 1)));
    const TokenBatches batches = tokenize(texts, tokenizer, group.input).batches;
    check_token_range(batches, model.config().vocab);
    translating_errors([&] {
      if (!options.exit) return run_together(model, chips, group, batches, options, verdicts);
      for (std::size_t text = 0; text < texts.size(); ++text)
        run_alone(model, chips, group, batches, text, *options.exit, verdicts[text]);
    });
  }
  return verdicts;
}

torch::Tensor class_head(const Model& model) {
  const TensorInfo* head = model.checkpoint().find(kClassHead);
  if (head == nullptr) fail(ErrorKind::mismatch, model.checkpoint().label(), ": has no head that classifies");
  return mapped_tensor(model.shared_checkpoint(), *head).to(torch::kFloat32);
}

ExitScore score_exits(const TaskChips& task, const Features& features, double threshold) {
  const torch::NoGradGuard no_gradients;
  SL_ASSERT(task.choice.has_value());
  const std::vector<std::int64_t>& layers = features.description().layers;
  auto open = torch::ones({features.count()}, torch::kBool);
  auto decided = torch::zeros({features.count(), std::ssize(task.classes)}, torch::kFloat64);
  auto used = torch::zeros({features.count()}, torch::kFloat64);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const Chip* chip = exit_chip(task, layers[i]);
    if (chip == nullptr) continue;
    const auto z = logits(*chip, features.layer(i)).to(torch::kFloat64);
    const bool last = layers[i] == task.choice->layer;
    const auto leaves = last ? open : open & (std::get<0>(torch::softmax(z, 1).max(1)) >= threshold);
    decided = torch::where(leaves.unsqueeze(1), z, decided);
    used.masked_fill_(leaves, static_cast<double>(layers[i] + 1));
    open = open & ~leaves;
  }
  if (open.any().item<bool>())
    fail(ErrorKind::mismatch, features.label(), ": has no states behind layer ", task.choice->layer,
         ", where the chosen chip is");
  return {score_of(decided, features.labels()), used.mean().item<double>()};
}

}  // namespace streamline::chip
