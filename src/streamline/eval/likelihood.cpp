// SPDX-License-Identifier: Apache-2.0
#include "streamline/eval/likelihood.h"

#include <algorithm>
#include <cmath>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/engine/sweep.h"
#include "streamline/eval/packed_requests.h"

namespace streamline {
namespace {

using Sequence = LikelihoodRequest::Sequence;

struct Batch {
  std::size_t first = 0, last = 0;  // requests
  bool apart = false;               // one sequence at a time
};

// Rows of a request behind `before`, with which it may share its beginning.
std::int64_t added_rows(const LikelihoodRequest& request, const Sequence* before, bool share) {
  std::size_t rows = 0;
  for (const Sequence& sequence : request.sequences) {
    const std::size_t own = sequence.tokens.size() - 1;
    const std::size_t common = share && before ? common_beginning(sequence.tokens, before->tokens) : 0;
    rows += common >= kLeastShared ? own - std::min(own, common) : own;
    before = &sequence;
  }
  return static_cast<std::int64_t>(rows);
}

std::int64_t longest(const LikelihoodRequest& request) {
  std::size_t length = 0;
  for (const Sequence& sequence : request.sequences) length = std::max(length, sequence.tokens.size() - 1);
  return static_cast<std::int64_t>(length);
}

// Consecutive requests, as many as fit; one whose angles depend on its length runs by itself.
std::vector<Batch> make_batches(const Model& model, const std::vector<LikelihoodRequest>& requests,
                                std::int64_t batch_tokens, bool share) {
  std::vector<Batch> batches;
  std::int64_t rows = 0;
  const Sequence* before = nullptr;
  for (std::size_t i = 0; i < requests.size(); ++i) {
    const bool alone = length_decides_angles(model.config(), longest(requests[i]));
    const std::int64_t added = added_rows(requests[i], before, share);
    const bool fits = !batches.empty() && !batches.back().apart && !alone && rows + added <= batch_tokens;
    if (!fits) {
      batches.push_back({.first = i, .last = i, .apart = alone});
      rows = 0;
    }
    batches.back().last = i + 1;
    rows += fits ? added : added_rows(requests[i], nullptr, share);
    before = &requests[i].sequences.back();
  }
  return batches;
}

// Hidden states after the last layer of the rows that are scored, [head_rows, hidden].
torch::Tensor run_layers(const Model& model, const PackedRequests& packed) {
  const torch::Device device = model.placement().device;
  const auto packing = std::make_shared<const Packing>(packed.packing);
  const Positions positions = packed_rope_positions(model.config(), packing, device);
  const auto ids = torch::tensor(std::vector<std::int64_t>(packed.ids.begin(), packed.ids.end()), torch::kLong);
  torch::Tensor x = model.embed(ids.unsqueeze(0), packed_positions(*packing));  // [1, rows, hidden]
  RouteWalk route(model.route());
  for (std::int64_t i = 0; i < model.layer_count(); ++i) {
    check_interrupted();
    x = block_forward(model.config(), model.layer(i), route.enter(i, x), positions);
  }
  return x.squeeze(0).index_select(0, torch::tensor(packed.head_rows, torch::kLong).to(device));
}

std::vector<Likelihood> run(const Model& model, std::span<const Sequence* const> sequences, bool share) {
  const PackedRequests packed = pack(sequences, share);
  const std::vector<TokenScore> scores = token_scores(model, run_layers(model, packed), packed.targets);
  std::vector<Likelihood> result;
  for (const auto& ranges : packed.scored) {
    Likelihood likelihood;
    for (const auto& [first, last] : ranges)
      for (std::size_t i = first; i < last; ++i) {
        likelihood.log_likelihood -= scores[i].loss;
        likelihood.greedy = likelihood.greedy && scores[i].likeliest;
      }
    result.push_back(likelihood);
  }
  return result;
}

std::vector<Likelihood> run_apart(const Model& model, const std::vector<const Sequence*>& sequences) {
  std::vector<Likelihood> result;
  for (const Sequence* sequence : sequences) result.push_back(run(model, {&sequence, 1}, false).front());
  return result;
}

// Each request is scored by one rank.
void bring_together(const Ranks& ranks, std::vector<std::vector<Likelihood>>& results) {
  if (ranks.alone()) return;
  std::vector<double> sums;
  for (const std::vector<Likelihood>& request : results)
    for (const Likelihood& likelihood : request)
      sums.insert(sums.end(), {likelihood.log_likelihood, likelihood.greedy ? 1.0 : 0.0});
  ranks.sum(sums);
  auto next = sums.begin();
  for (std::vector<Likelihood>& request : results)
    for (Likelihood& likelihood : request) {
      likelihood.log_likelihood = *next++;
      likelihood.greedy = *next++ > 0;
    }
}

void check_requests(const Model& model, const std::vector<LikelihoodRequest>& requests) {
  const std::int64_t most = model.config().max_positions;
  for (std::size_t i = 0; i < requests.size(); ++i)
    for (const Sequence& sequence : requests[i].sequences) {
      if (most > 0 && std::ssize(sequence.tokens) - 1 > most)
        fail(ErrorKind::mismatch, "request ", i, " has ", sequence.tokens.size(), " tokens; the model has ", most,
             " positions");
      for (const TokenId id : sequence.tokens)
        if (id < 0 || id >= model.config().vocab)
          fail(ErrorKind::mismatch, "token id ", id, " is outside the model's vocabulary of ", model.config().vocab);
    }
}

}  // namespace

std::vector<std::vector<Likelihood>> likelihoods(const Model& model, const std::vector<LikelihoodRequest>& requests,
                                                 const LikelihoodOptions& options) {
  const torch::NoGradGuard no_gradients;
  check_requests(model, requests);
  const std::int64_t batch_tokens = options.batch_tokens > 0 ? options.batch_tokens : default_batch_tokens(model);
  std::optional<Progress> progress;
  if (!options.label.empty()) progress.emplace(options.label, std::ssize(requests), "questions");
  std::vector<std::vector<Likelihood>> results;
  for (const LikelihoodRequest& request : requests)
    results.emplace_back(request.sequences.size(), Likelihood{.greedy = false});
  translating_errors([&] {
    std::int64_t part = 0;
    for (const Batch& batch : make_batches(model, requests, batch_tokens, options.share)) {
      if (progress) progress->advance(static_cast<std::int64_t>(batch.last - batch.first));
      if (!model.placement().ranks.takes(part++)) continue;
      std::vector<const Sequence*> sequences;
      for (std::size_t i = batch.first; i < batch.last; ++i)
        for (const Sequence& sequence : requests[i].sequences) sequences.push_back(&sequence);
      const std::vector<Likelihood> scored =
          batch.apart ? run_apart(model, sequences) : run(model, sequences, options.share);
      auto next = scored.begin();
      for (std::size_t i = batch.first; i < batch.last; ++i) {
        for (Likelihood& likelihood : results[i]) likelihood = *next++;
        for (const Likelihood& likelihood : results[i])
          if (!std::isfinite(likelihood.log_likelihood))
            fail(ErrorKind::numeric, "the likelihood of request ", i, " is not a number");
      }
    }
  });
  bring_together(model.placement().ranks, results);
  return results;
}

}  // namespace streamline
