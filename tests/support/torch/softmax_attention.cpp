// SPDX-License-Identifier: Apache-2.0
#include "support/torch/softmax_attention.h"

#include <cmath>
#include <limits>

#include "streamline/nn/attention.h"
#include "support/torch/pico.h"

namespace streamline::test {

torch::Tensor softmax_attention(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                                const FlashOptions& options) {
  const std::int64_t group = q.size(2) / k.size(2);
  const auto heads_first = [](const torch::Tensor& x) { return x.to(torch::kDouble).transpose(1, 2); };
  const auto keys = heads_first(k).repeat_interleave(group, 1), values = heads_first(v).repeat_interleave(group, 1);
  auto scores = heads_first(q).matmul(keys.transpose(2, 3));
  scores = scores * options.scale.value_or(1 / std::sqrt(static_cast<double>(q.size(3))));
  if (options.softcap != 0) scores = (scores / options.softcap).tanh() * options.softcap;
  const auto allowed = attention_mask(q.size(1), k.size(1), options.window, torch::kCPU);
  scores = scores.masked_fill(~allowed, -std::numeric_limits<double>::infinity());
  return scores.softmax(-1).matmul(values).transpose(1, 2);
}

std::vector<torch::Tensor> attention_inputs(const AttentionCase& shape, torch::ScalarType type) {
  return {random_tensor({shape.batch, shape.queries, shape.heads, shape.head_dim}, 1).to(type),
          random_tensor({shape.batch, shape.keys, shape.kv_heads, shape.head_dim}, 2).to(type),
          random_tensor({shape.batch, shape.keys, shape.kv_heads, shape.head_dim}, 3).to(type)};
}

}  // namespace streamline::test
