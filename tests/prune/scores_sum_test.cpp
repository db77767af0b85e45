// SPDX-License-Identifier: Apache-2.0
// Scores of ranks that share the sequences are those of one process.
#include "prune/score_samples.h"
#include "streamline/base/json.h"
#include "support/torch/rank_threads.h"

namespace streamline {
namespace {

using test::pico_model;
using test::random_tokens;

constexpr double kSameSum = 1e-12;  // relative: float64 sums in another order

void expect_same(const Json& a, const Json& b, const std::string& where) {
  ASSERT_EQ(a.type(), b.type()) << where;
  if (a.is_structured()) {
    ASSERT_EQ(a.size(), b.size()) << where;
    for (const auto& [key, value] : a.items())
      expect_same(value, a.is_object() ? b.at(key) : b.at(std::stoul(key)), where + "/" + key);
  } else if (a.is_number_float()) {
    EXPECT_NEAR(a.get<double>(), b.get<double>(), kSameSum * std::abs(a.get<double>())) << where;
  } else {
    EXPECT_EQ(a, b) << where;
  }
}

TEST(ScoresOfRanks, AreThoseOfOneProcess) {
  const TokenBatches batches = random_tokens(5, 12, 3);
  const SweepOptions options{.batch_tokens = 12};
  const Json whole = to_json(score_layers(pico_model(test::tiny_llama(), 1), batches, options));
  for (const int size : {2, 3, 6})  // of six, one has no sequence
    test::in_ranks(size, [&](const Ranks& ranks) {
      const Model shared = pico_model(test::tiny_llama(), 1, {}, {.ranks = ranks});
      expect_same(to_json(score_layers(shared, batches, options)), whole, std::to_string(size));
      ranks.finish(0);
    });
}

}  // namespace
}  // namespace streamline
