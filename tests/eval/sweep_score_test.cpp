// SPDX-License-Identifier: Apache-2.0
#include "streamline/eval/sweep_score.h"

#include <cmath>

#include "tests/support/core/expect.h"

namespace streamline {
namespace {

// Windows of 10 tokens with these means.
PerplexityResult of_windows(const std::vector<double>& means) {
  PerplexityResult result;
  result.windows = std::ssize(means);
  for (const double mean : means) {
    result.window_nll.push_back(10 * mean);
    result.window_tokens.push_back(10);
    result.mean_nll += mean / static_cast<double>(means.size());
  }
  result.value = std::exp(result.mean_nll);
  return result;
}

const SweepScore kScore{
    .weight = 2, .tuned = {of_windows({1, 2, 3}), of_windows({2, 2, 2})}, .base = of_windows({3, 1, 2})};

SweepFigures shifted(double by) {
  const auto add = [by](std::vector<double> means) {
    for (double& mean : means) mean += by;
    return of_windows(means);
  };
  return {.targets = {add({1, 2, 3}), add({2, 2, 2})}, .control = add({3, 1, 2})};
}

TEST(SweepScore, WeighsWhatIsKept) {
  EXPECT_NEAR(kScore.of(shifted(0)), 3, 1e-12);
  EXPECT_NEAR(kScore.of(shifted(std::log(2))), 1.5, 1e-12);  // all perplexities doubled
  const SweepScore alone{.tuned = {of_windows({1, 2, 3})}};
  EXPECT_NEAR(alone.of({.targets = {of_windows({0, 1, 2})}}), std::exp(1), 1e-12);
  EXPECT_EQ(shifted(0).windows(), 3);
}

// A model that is worse by the same in every window differs for certain, however much the windows differ.
TEST(SweepScore, DifferencesArePairedByWindow) {
  const Estimate certain = kScore.difference(shifted(0), shifted(std::log(2)));
  EXPECT_NEAR(certain.value, 1.5, 1e-12);
  EXPECT_NEAR(certain.standard_error.value(), 0, 1e-12);
  const Estimate none = kScore.difference(shifted(0.3), shifted(0.3));
  EXPECT_EQ(none.value, 0);
  EXPECT_NEAR(none.standard_error.value(), 0, 1e-12);
}

// One target; in the slopes the tuned model's windows cancel: the first is e^0 of it and the second e^-0.1, so that a
// window adds (1 - e^-0.1) of the tuned one, - 1 of the first, e^-0.1 of the second.
TEST(SweepScore, TheErrorIsThatOfTheDifferencesOfWindows) {
  const SweepScore score{.tuned = {of_windows({1, 2, 3})}};
  const SweepFigures first{.targets = {of_windows({1, 2, 3})}}, second{.targets = {of_windows({1.2, 2, 3.1})}};
  const Estimate difference = score.difference(first, second);
  const double kept = std::exp(-0.1);
  EXPECT_NEAR(difference.value, 1 - kept, 1e-12);
  const double means[] = {kept * 0.2, 0, kept * 0.1};  // of the windows, per token
  double squares = 0;
  for (const double mean : means) squares += (mean - kept * 0.1) * (mean - kept * 0.1);
  EXPECT_NEAR(difference.standard_error.value(), std::sqrt(squares / 2 / 3), 1e-12);
  const SweepScore single{.tuned = {of_windows({1})}};
  EXPECT_FALSE(single.difference({.targets = {of_windows({1})}}, {.targets = {of_windows({2})}}).standard_error);
}

}  // namespace
}  // namespace streamline
