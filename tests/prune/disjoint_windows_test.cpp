// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/disjoint_windows.h"

#include <functional>

#include "streamline/base/random.h"
#include "tests/support/core/expect.h"

namespace streamline {
namespace {

Scores random_scores(std::int64_t layers, std::uint64_t seed) {
  Scores scores;
  scores.layers = layers;
  Rng rng(seed);
  scores.cosine.resize(static_cast<std::size_t>((layers + 1) * (layers + 1)));
  for (double& value : scores.cosine) value = rng.uniform();
  return scores;
}

double total(const std::vector<Window>& windows) {
  double sum = 0;
  for (const Window& window : windows) sum += window.cosine;
  return sum;
}

// Every way to place two windows, one after the other.
double best_of_two(const Scores& scores, std::int64_t first, std::int64_t second, std::int64_t before,
                   std::int64_t protect) {
  double best = -1;
  for (const auto& [a, b] : {std::pair(first, second), std::pair(second, first)})
    for (std::int64_t i = before; i + a <= scores.layers; ++i)
      for (std::int64_t j = i + a + before; j + b <= scores.layers; ++j) {
        const auto takes = [&](std::int64_t start, std::int64_t count) {
          return protect >= start && protect < start + count;
        };
        if (takes(i, a) || takes(j, b)) continue;
        best = std::max(best, scores.window_cosine(i, a) + scores.window_cosine(j, b));
      }
  return best;
}

TEST(DisjointWindows, AreTheBestOfAllWaysToPlaceThem) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    const Scores scores = random_scores(10, seed);
    for (const std::int64_t before : {0, 1})
      for (const std::int64_t count : {2, 4, 5}) {
        const auto windows = disjoint_windows(scores, count, 2, before, {4});
        ASSERT_EQ(windows.size(), 2u);
        EXPECT_EQ(windows[0].count + windows[1].count, count);
        EXPECT_LE(std::abs(windows[0].count - windows[1].count), 1);
        EXPECT_GE(windows[0].start, before);
        EXPECT_GE(windows[1].start, windows[0].start + windows[0].count + before);
        EXPECT_DOUBLE_EQ(total(windows), best_of_two(scores, count / 2, count - count / 2, before, 4));
      }
  }
}

TEST(DisjointWindows, OfOneIsTheBestWindow) {
  const Scores scores = random_scores(8, 3);
  const auto windows = disjoint_windows(scores, 3, 1, 0, {});
  EXPECT_EQ(windows.front().start, ranked_windows(scores, 3, {}).front().start);
}

TEST(DisjointWindows, SayWhenThereIsNoRoom) {
  const Scores scores = random_scores(6, 1);
  EXPECT_ERROR(disjoint_windows(scores, 2, 3, 0, {}), usage, "3 windows of 2 layers");
  EXPECT_ERROR(disjoint_windows(scores, 6, 2, 1, {}), usage, "no room for 2 windows");
  EXPECT_ERROR(disjoint_windows(scores, 4, 2, 0, {1, 3, 5}), usage, "no room");
}

}  // namespace
}  // namespace streamline
