// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/logit_loss.h"

#include "streamline/base/error.h"
#include "streamline/nn/softmax.h"

namespace streamline {
namespace {

constexpr double kLeastRest = 1e-7;  // of a probability that is left over: where less is left it counts as this much

// log of the probabilities of the tokens `ids`, [rows, k], fp64.
torch::Tensor log_shares_of(const torch::Tensor& logits, const torch::Tensor& log_sums, const torch::Tensor& ids) {
  return logits.gather(1, ids).to(torch::kDouble) - log_sums.unsqueeze(1);
}

// factors * softmax, with the entries at `ids`, which differ within a row, given instead. [rows, k] fp64.
torch::Tensor softmax_with(const torch::Tensor& logits, const torch::Tensor& log_sums, const torch::Tensor& factors,
                           const torch::Tensor& ids, const torch::Tensor& entries) {
  return scaled_softmax(logits, log_sums, factors).scatter_(1, ids, entries.to(logits.scalar_type()));
}

}  // namespace

LogitLoss cross_entropy(const torch::Tensor& logits, const torch::Tensor& targets, bool gradient) {
  const torch::NoGradGuard no_grad;
  const auto judged = targets.ne(kNoTarget).to(torch::kDouble);
  const auto ids = targets.clamp_min(0).unsqueeze(1), log_sums = log_sum_exp(logits);
  const auto mine = log_shares_of(logits, log_sums, ids);
  LogitLoss loss{.sum = -(mine.squeeze(1) * judged).sum().item<double>()};
  if (gradient) loss.gradient = softmax_with(logits, log_sums, judged, ids, mine.expm1() * judged.unsqueeze(1));
  return loss;
}

LogitLoss top_divergence(const torch::Tensor& logits, const TopTokens& teacher, bool gradient) {
  SL_ASSERT(teacher.ids.size(0) == logits.size(0));
  const torch::NoGradGuard no_grad;
  const bool has_rest = teacher.ids.size(1) < logits.size(1);
  const auto log_sums = log_sum_exp(logits), mine = log_shares_of(logits, log_sums, teacher.ids);
  const auto theirs = teacher.log_shares.to(torch::kDouble), p = theirs.exp(), q = mine.exp();
  const auto top_p = p.sum(1), top_q = q.sum(1);  // [rows]
  const auto rest_p = (1 - top_p).clamp_min(kLeastRest), rest_q = (1 - top_q).clamp_min(kLeastRest);
  LogitLoss loss{.sum = (p * (theirs - mine)).sum().item<double>()};
  if (has_rest) loss.sum += (rest_p * (rest_p / rest_q).log()).sum().item<double>();
  if (!gradient) return loss;
  // The logarithm of a rest that counts as the least has no slope.
  auto ratio = rest_p / rest_q * (1 - top_q).ge(kLeastRest).to(torch::kDouble);
  if (!has_rest) ratio.zero_();
  const auto factors = top_p - ratio * top_q;
  loss.gradient = softmax_with(logits, log_sums, factors, teacher.ids, q * (factors + ratio).unsqueeze(1) - p);
  return loss;
}

TopTokens top_tokens(const torch::Tensor& logits, std::int64_t k) {
  const torch::NoGradGuard no_grad;
  const auto wide = at::promote_types(logits.scalar_type(), torch::kFloat32);
  const auto ids = std::get<1>(logits.to(wide).topk(std::min(k, logits.size(1)), -1));
  return {ids, log_shares_of(logits, log_sum_exp(logits), ids).to(wide)};
}

}  // namespace streamline
