// SPDX-License-Identifier: Apache-2.0
// Attention of one query against the formula, in the layouts that caches have.
#include "streamline/nn/one_query.h"

#include <ATen/Parallel.h>

#include <cmath>

#include "support/torch/pico.h"

namespace streamline {
namespace {

using test::random_tensor;

struct Case {
  std::int64_t heads, kv_heads, head_dim, keys;
  FlashOptions options = {};
};

const std::vector<Case> kCases = {{1, 1, 8, 1},
                                  {9, 3, 64, 33},
                                  {8, 1, 80, 5},
                                  {4, 4, 24, 130},
                                  {4, 2, 256, 17},
                                  {9, 3, 64, 50, {.window = 7}},
                                  {9, 3, 64, 50, {.window = 70}},
                                  {4, 2, 16, 40, {.scale = -0.3}},
                                  {4, 2, 16, 40, {.scale = 3.0, .softcap = 2}}};

// By the definition, in double. k, v: [batch, keys, kv_heads, head_dim].
torch::Tensor expected(const Case& c, torch::Tensor q, torch::Tensor k, torch::Tensor v) {
  const std::int64_t first = c.options.window ? std::max<std::int64_t>(0, c.keys - *c.options.window) : 0;
  const auto heads = [&](const torch::Tensor& tensor) {
    return tensor.to(torch::kDouble).narrow(1, first, c.keys - first).repeat_interleave(c.heads / c.kv_heads, 2);
  };
  const double scale = c.options.scale.value_or(1 / std::sqrt(static_cast<double>(c.head_dim)));
  auto scores = torch::einsum("bqhd,bkhd->bhqk", {q.to(torch::kDouble), heads(k)}) * scale;
  if (c.options.softcap != 0) scores = (scores / c.options.softcap).tanh() * c.options.softcap;
  return torch::einsum("bhqk,bkhd->bqhd", {scores.softmax(-1), heads(v)});
}

TEST(OneQuery, AttendsAsTheFormulaSays) {
  for (const auto& [type, tolerance] : {std::pair{torch::kFloat, 2e-6}, {torch::kBFloat16, 1.0 / 256}})
    for (const Case& c : kCases) {
      const auto q = random_tensor({2, 1, c.heads, c.head_dim}, 1).to(type);
      // A cache with room for more positions, [batch, kv_heads, positions, head_dim].
      const auto cache = [&](std::uint64_t seed) {
        return random_tensor({2, c.kv_heads, c.keys + 14, c.head_dim}, seed).to(type).narrow(2, 0, c.keys);
      };
      const auto k = cache(2).transpose(1, 2), v = cache(3).transpose(1, 2);
      ASSERT_TRUE(one_query_applies(q, k, v));
      const auto out = one_query_attention(q, k, v, c.options), meant = expected(c, q, k, v);
      EXPECT_EQ(out.scalar_type(), type);
      EXPECT_EQ(out.sizes(), q.sizes());
      EXPECT_LT((out.to(torch::kDouble) - meant).abs().max().item<double>(),
                tolerance * meant.abs().max().item<double>())
          << type << " " << c.heads << " " << c.head_dim << " " << c.keys;
      EXPECT_TRUE(torch::equal(out, one_query_attention(q, k.contiguous(), v.contiguous(), c.options)));
    }
}

TEST(OneQuery, IsTheSameOnAnyNumberOfThreads) {
  const auto q = random_tensor({1, 1, 7, 64}, 1), k = random_tensor({1, 500, 1, 64}, 2),
             v = random_tensor({1, 500, 1, 64}, 3);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const auto alone = one_query_attention(q, k, v, {});
  for (const int several : {2, 3, 16}) {
    at::set_num_threads(several);
    EXPECT_TRUE(torch::equal(alone, one_query_attention(q, k, v, {}))) << several;
  }
  at::set_num_threads(threads);
}

TEST(OneQuery, BearsScoresThatNoExponentialHolds) {
  const auto q = torch::full({1, 1, 1, 16}, 100.0), v = random_tensor({1, 3, 1, 16}, 1);
  const auto k =
      torch::stack({torch::full({16}, -100.0), torch::full({16}, 100.0), torch::full({16}, 99.0)}).view({1, 3, 1, 16});
  EXPECT_TRUE(torch::allclose(one_query_attention(q, k, v, {}), v.narrow(1, 1, 1)));
}

TEST(OneQuery, LeavesSeveralQueriesAndGradientsToOthers) {
  const auto q = random_tensor({1, 1, 4, 16}, 1), k = random_tensor({1, 9, 2, 16}, 2),
             v = random_tensor({1, 9, 2, 16}, 3);
  EXPECT_TRUE(one_query_applies(q, k, v));
  EXPECT_FALSE(one_query_applies(random_tensor({1, 2, 4, 16}, 1), k, v));
  EXPECT_FALSE(one_query_applies(q, k.to(torch::kHalf), v));
  EXPECT_FALSE(one_query_applies(q, k, v.clone().requires_grad_()));
}

}  // namespace
}  // namespace streamline
