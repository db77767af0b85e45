// SPDX-License-Identifier: Apache-2.0
// Losses on logits and their gradients by formula, so that of all arrays as wide as the vocabulary only the logits and
// the gradient exist.
#pragma once

#include "streamline/nn/torch.h"

namespace streamline {

// The most likely next tokens of a model at each position, and what it leaves to all others.
struct TopTokens {
  torch::Tensor ids = {};         // [tokens, k] int64
  torch::Tensor log_shares = {};  // [tokens, k] fp32 or wider, log of their probabilities in the whole vocabulary
};

// A sum over rows, in nats, and its gradient in the shape and type of the logits (undefined where none was wanted).
struct LogitLoss {
  double sum = 0;
  torch::Tensor gradient = {};
};

constexpr std::int64_t kNoTarget = -100;  // of a row that is not judged

// Cross entropy. logits: [rows, vocabulary]; targets: [rows] int64, kNoTarget or a token. The gradient is the softmax
// less one at the target.
LogitLoss cross_entropy(const torch::Tensor& logits, const torch::Tensor& targets, bool gradient);

// KL(teacher || softmax of the logits), where the teacher's top tokens are told apart and the rest of the vocabulary is
// one event: with p and q the probabilities of both, q_rest = 1 - sum over the top of q,
//     sum over the top of p log(p / q) + p_rest log(p_rest / q_rest).
// Its gradient is q (sum of p - r sum of q), over the top plus r q - p, where r = p_rest / q_rest.
LogitLoss top_divergence(const torch::Tensor& logits, const TopTokens& teacher, bool gradient);

// The k likeliest of each row.
TopTokens top_tokens(const torch::Tensor& logits, std::int64_t k);

}  // namespace streamline
