// SPDX-License-Identifier: Apache-2.0
#include "streamline/eval/divergence.h"

#include <algorithm>
#include <cmath>

#include "streamline/base/error.h"
#include "streamline/engine/sweep.h"
#include "streamline/nn/host_values.h"

namespace streamline {
namespace {

constexpr std::int64_t kLogitsAtOnce = std::int64_t{1} << 22;  // of each model, in float64: 32 MB

// The source's states, row after row.
class StateReader {
 public:
  explicit StateReader(const std::vector<torch::Tensor>& parts) : parts_(parts) {}

  torch::Tensor next(std::int64_t rows) {
    std::vector<torch::Tensor> taken;
    while (rows > 0) {
      SL_ASSERT(part_ < parts_.size());
      const torch::Tensor& part = parts_[part_];
      const std::int64_t count = std::min(rows, part.size(0) - row_);
      taken.push_back(part.narrow(0, row_, count));
      rows -= count;
      row_ += count;
      if (row_ == part.size(0)) ++part_, row_ = 0;
    }
    return torch::cat(taken);
  }

 private:
  const std::vector<torch::Tensor>& parts_;
  std::size_t part_ = 0;
  std::int64_t row_ = 0;
};

// By token.
struct Differences {
  std::vector<double> kl, probability, same_choice;
};

void append(std::vector<double>& values, const torch::Tensor& more) {
  const std::vector<double> added = to_doubles(more);
  values.insert(values.end(), added.begin(), added.end());
}

// Log probabilities, [rows, vocab], of one block of states.
torch::Tensor log_probabilities(const Model& model, const torch::Tensor& hidden) {
  return model.logits(hidden.to(model.placement().device)).to(torch::kDouble).log_softmax(-1);
}

void add_rows(const Model& model, const Model& source, const torch::Tensor& own, const torch::Tensor& original,
              const std::vector<std::int64_t>& targets, Differences& differences) {
  const torch::NoGradGuard no_gradients;
  const std::int64_t at_once = std::max<std::int64_t>(1, kLogitsAtOnce / model.config().vocab);
  const torch::Tensor tokens = torch::tensor(targets, torch::kLong).unsqueeze(1);
  for (std::int64_t first = 0; first < own.size(0); first += at_once) {
    const std::int64_t last = std::min(own.size(0), first + at_once);
    const torch::Tensor q = log_probabilities(model, own.slice(0, first, last));
    const torch::Tensor p = log_probabilities(source, original.slice(0, first, last)).to(q.device());
    const torch::Tensor target = tokens.slice(0, first, last).to(q.device());
    const torch::Tensor shares = p.exp();
    // What the source deems impossible adds nothing, whatever the model says.
    append(differences.kl, torch::where(shares > 0, shares * (p - q), torch::zeros_like(p)).sum(-1));
    append(differences.probability, (q.gather(1, target).exp() - p.gather(1, target).exp()).squeeze(1));
    append(differences.same_choice, q.argmax(-1).eq(p.argmax(-1)));
  }
}

Estimate mean(const std::vector<double>& values) {
  MeanAccumulator total;
  for (const double value : values) total.add(value);
  return total.estimate();
}

// The smallest value that at least `share` of all do not exceed.
double quantile(std::vector<double>& sorted, double share) {
  const double place = std::ceil(share * static_cast<double>(sorted.size())) - 1;
  return sorted[static_cast<std::size_t>(std::clamp(place, 0.0, static_cast<double>(sorted.size() - 1)))];
}

Divergence summary(Differences& differences) {
  Divergence result;
  result.kl = mean(differences.kl);
  result.same_first_choice = mean(differences.same_choice);
  result.mean_difference = mean(differences.probability);
  double squares = 0;
  for (const double difference : differences.probability) squares += difference * difference;
  result.rms_difference = std::sqrt(squares / static_cast<double>(differences.probability.size()));
  std::ranges::sort(differences.kl);
  result.kl_median = quantile(differences.kl, 0.5);
  result.kl_99 = quantile(differences.kl, 0.99);
  result.kl_largest = differences.kl.back();
  return result;
}

}  // namespace

SourcePredictions source_predictions(const Model& source, const EvaluationText& text, const PerplexityOptions& options,
                                     std::optional<TokenId> bos) {
  PerplexityOptions batched = options;
  if (batched.batch_tokens == 0) batched.batch_tokens = default_batch_tokens(source);
  SourcePredictions result;
  result.batch_tokens = batched.batch_tokens;
  result.perplexity = perplexity(source, text, batched, bos, [&](const torch::Tensor& hidden, const auto&) {
    result.hidden.push_back(hidden.to(torch::kCPU));
  });
  return result;
}

ComparedPredictions compare_predictions(const Model& model, const Model& source, const SourcePredictions& predictions,
                                        const EvaluationText& text, const PerplexityOptions& options,
                                        std::optional<TokenId> bos) {
  if (model.config().vocab != source.config().vocab)
    fail(ErrorKind::mismatch, model.checkpoint().label(), " has a vocabulary of ", model.config().vocab,
         " tokens, its source one of ", source.config().vocab, "; divergence needs the same one");
  StateReader reader(predictions.hidden);
  Differences differences;
  ComparedPredictions result;
  PerplexityOptions batched = options;
  batched.batch_tokens = predictions.batch_tokens;
  result.perplexity =
      perplexity(model, text, batched, bos, [&](const torch::Tensor& hidden, const std::vector<std::int64_t>& targets) {
        add_rows(model, source, hidden, reader.next(hidden.size(0)), targets, differences);
      });
  for (std::vector<double>* values : {&differences.kl, &differences.probability, &differences.same_choice})
    *values = model.placement().ranks.concatenate(*values);
  result.divergence = summary(differences);
  result.divergence.log_perplexity_ratio = log_perplexity_ratio(result.perplexity, predictions.perplexity);
  return result;
}

Json to_json(const Divergence& divergence) {
  return {{"kl", to_json(divergence.kl)},
          {"kl_median", divergence.kl_median},
          {"kl_99th_percentile", divergence.kl_99},
          {"kl_largest", divergence.kl_largest},
          {"same_first_choice", to_json(divergence.same_first_choice)},
          {"probability_difference", to_json(divergence.mean_difference)},
          {"probability_difference_rms", divergence.rms_difference},
          {"log_perplexity_ratio", to_json(divergence.log_perplexity_ratio)}};
}

}  // namespace streamline
