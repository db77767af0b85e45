// SPDX-License-Identifier: Apache-2.0
// Requests for likelihoods, laid out for one pass through the model.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "streamline/eval/likelihood.h"
#include "streamline/eval/token_loss.h"
#include "streamline/nn/packing.h"

namespace streamline {

// Several sequences as one packed batch. A sequence's last token is never read, only predicted.
struct PackedRequests {
  Packing packing;
  std::vector<TokenId> ids;             // one a row of the batch
  std::vector<std::int64_t> head_rows;  // rows of the batch whose logits are needed, ascending
  std::vector<TokenTarget> targets;     // `row` is an index into head_rows
  using Range = std::pair<std::size_t, std::size_t>;
  std::vector<std::vector<Range>> scored;  // by sequence: ranges [first, last) of targets, whose losses it sums
};

// Tokens that must be common for being computed once: what is shorter is not worth a piece of its own.
inline constexpr std::size_t kLeastShared = 8;

// With `share`, beginnings that several sequences have in common are pieces of their own, to any depth: the examples
// in front of all questions, the question in front of its choices.
PackedRequests pack(std::span<const LikelihoodRequest::Sequence* const> sequences, bool share);

// Tokens that both begin with.
std::size_t common_beginning(std::span<const TokenId> a, std::span<const TokenId> b);

}  // namespace streamline
