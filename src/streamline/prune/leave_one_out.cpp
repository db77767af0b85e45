// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/leave_one_out.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>
#include <utility>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/engine/sweep.h"

namespace streamline {
namespace {

constexpr double kStatesBudget = 256e6;  // bytes of all candidates' states of one batch

// Tokens of a batch whose states fit for every candidate.
std::int64_t base_tokens(const Model& model, std::size_t candidates, std::int64_t batch_tokens) {
  const double token = static_cast<double>(model.config().hidden) *
                       static_cast<double>(torch::elementSize(model.placement().dtype)) *
                       static_cast<double>(candidates + 1);
  // Ranks must agree, and what is available differs from moment to moment.
  const bool agreed = !model.placement().ranks.alone() && model.placement().memory == 0;
  const double budget =
      agreed ? kStatesBudget : std::min(kStatesBudget, static_cast<double>(working_memory(model.placement())) / 4);
  return std::min(batch_tokens, std::max<std::int64_t>(1, static_cast<std::int64_t>(budget / token)));
}

// One pass over a batch: the whole model and all candidates that have lost their part, row by row.
class Pass {
 public:
  Pass(const Model& model, const TextBatch& batch, std::int64_t tokens_at_once, PartCounter& counter)
      : model_(model),
        batch_(batch),
        rows_at_once_(std::max<std::int64_t>(1, tokens_at_once / batch.ids.size(1))),
        counter_(counter),
        states_(model.embed(batch.ids)) {}

  void run(const StackPart& part, bool is_left_out) {
    const torch::Tensor without = states_.narrow(0, 0, batch_.ids.size(0));  // the next candidate skips the part
    const LayerWeights weights = part_weights(model_, part);
    std::vector<torch::Tensor> after;
    for (std::int64_t row = 0; row < states_.size(0); row += rows_at_once_) {
      check_interrupted();
      const torch::Tensor rows = states_.slice(0, row, row + rows_at_once_);
      after.push_back(block_forward(model_.config(), weights, rows, batch_.positions));
      counter_.parts += rows.size(0);
    }
    if (is_left_out) after.push_back(without);
    states_ = torch::cat(after);
  }

  // Values of the whole model's sequences, then of each candidate's.
  std::vector<double> judge(TextMeasure what) const {
    counter_.evaluations += states_.size(0);
    return measure(model_, what, batch_, states_.narrow(0, 0, batch_.ids.size(0)), states_);
  }

 private:
  const Model& model_;
  const TextBatch& batch_;
  std::int64_t rows_at_once_;
  PartCounter& counter_;
  torch::Tensor states_;  // [(1 + candidates so far) * sequences, tokens, hidden]
};

void check_finite(double value, const std::string& who) {
  if (!std::isfinite(value))
    fail(ErrorKind::numeric, who,
         "the model's logits are NaN or infinite on the calibration text; try --dtype float32");
}

}  // namespace

void add_counts(const Ranks& ranks, const PartCounter& own, PartCounter& counter) {
  std::vector<double> counts = {static_cast<double>(own.parts), static_cast<double>(own.evaluations)};
  ranks.sum(counts);
  counter.parts += std::llround(counts[0]);
  counter.evaluations += std::llround(counts[1]);
}

LeaveOneOut leave_one_out(const Model& model, std::span<const StackPart> stack, std::span<const std::size_t> left_out,
                          const TokenBatches& text, const LeaveOneOutOptions& options, PartCounter& counter) {
  const torch::NoGradGuard no_gradients;
  return translating_errors([&] {
    const std::int64_t tokens = options.batch_tokens > 0 ? options.batch_tokens : default_batch_tokens(model);
    const std::vector<TextBatch> batches =
        text_batches(model, text, base_tokens(model, left_out.size(), tokens), Keeps::all_states);
    std::optional<Progress> progress;
    if (!options.label.empty()) progress.emplace(options.label, std::ssize(batches) * std::ssize(stack), "steps");
    const Ranks& ranks = model.placement().ranks;
    PartCounter own;  // of this rank's batches
    std::size_t total = 0, done = 0;
    for (const TextBatch& batch : batches) total += batch.sequences.size();
    LeaveOneOut result{.whole = std::vector<double>(total),
                       .without = std::vector<std::vector<double>>(left_out.size(), std::vector<double>(total))};
    std::int64_t part = 0;
    for (const TextBatch& batch : batches) {
      const std::size_t first = std::exchange(done, done + batch.sequences.size());
      if (!ranks.takes(part++)) continue;
      Pass pass(model, batch, tokens, own);
      for (std::size_t at = 0; at < stack.size(); ++at) {
        pass.run(stack[at], std::ranges::binary_search(left_out, at));
        if (progress) progress->advance(ranks.size());
      }
      const std::vector<double> values = pass.judge(options.measure);
      const std::size_t sequences = batch.sequences.size();
      for (std::size_t i = 0; i < values.size(); ++i) {
        const std::size_t candidate = i / sequences;
        check_finite(values[i], candidate == 0 ? "" : "without " + name(stack[left_out[candidate - 1]]) + ", ");
        (candidate == 0 ? result.whole : result.without[candidate - 1])[first + i % sequences] = values[i];
      }
    }
    ranks.sum(result.whole);  // each sequence is of one rank, and 0 elsewhere
    for (std::vector<double>& values : result.without) ranks.sum(values);
    add_counts(ranks, own, counter);
    return result;
  });
}

std::vector<double> influences(std::span<const double> losses) {
  const double units = static_cast<double>(losses.size());
  const double mean = std::accumulate(losses.begin(), losses.end(), 0.0) / units;
  std::vector<double> result;
  for (const double loss : losses) result.push_back(losses.size() > 1 ? units / (units - 1) * (loss - mean) : 0);
  return result;
}

}  // namespace streamline
