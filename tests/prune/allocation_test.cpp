// SPDX-License-Identifier: Apache-2.0
// Ratios of layers by a metric; C7 and C8 are the checks of AlphaPruning's specification, P2 its pitfall.
#include "streamline/prune/allocation.h"

#include <cmath>
#include <map>

#include "support/core/expect.h"

namespace streamline {
namespace {

std::vector<AllocationPart> parts_of(const std::vector<double>& metrics, const std::vector<std::int64_t>& sizes) {
  std::vector<AllocationPart> parts;
  for (std::size_t i = 0; i < metrics.size(); ++i) parts.push_back({metrics[i], sizes[i]});
  return parts;
}

double weighted_mean(const std::vector<AllocationPart>& parts, const std::vector<double>& ratios) {
  double sum = 0, all = 0;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    sum += static_cast<double>(parts[i].size) * ratios[i];
    all += static_cast<double>(parts[i].size);
  }
  return sum / all;
}

void expect_ratios(const Allocation& allocation, const std::vector<double>& expected) {
  ASSERT_EQ(allocation.ratios.size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) EXPECT_NEAR(allocation.ratios[i], expected[i], 1e-6);
}

TEST(Allocation, C7MapsAMetricToRatios) {
  const Allocation equal = allocate(parts_of({2, 3, 4}, {5, 5, 5}), {.ratio = 0.7, .spread = 0.3});
  expect_ratios(equal, {0.49, 0.70, 0.91});
  EXPECT_NEAR(equal.eta, 0.7, 1e-12);
  expect_ratios(allocate(parts_of({2, 3, 4}, {1, 1, 2}), {.ratio = 0.7, .spread = 0.3}),
                {0.455814, 0.651163, 0.846512});
  const Allocation other = allocate(parts_of({2, 2.5, 4}, {1, 1, 1}), {.ratio = 0.5, .spread = 0.2});
  expect_ratios(other, {0.413793, 0.465517, 0.620690});
  EXPECT_NEAR(other.eta, 0.517241, 1e-6);
}

TEST(Allocation, C8TheSumIsWhatWasAskedFor) {
  const auto parts = parts_of({3, 1.5, 2.2, 2.9}, {7, 3, 11, 5});
  const AllocationOptions options{.ratio = 0.6, .spread = 0.25};
  const Allocation allocation = allocate(parts, options);
  EXPECT_NEAR(weighted_mean(parts, allocation.ratios), 0.6, 1e-12);
  for (const double ratio : allocate(parts, {.ratio = 0.6, .spread = 0}).ratios) EXPECT_NEAR(ratio, 0.6, 1e-15);
  auto moved = parts, mirrored = parts;
  for (std::size_t i = 0; i < parts.size(); ++i)
    moved[i].metric = 3 * parts[i].metric - 1, mirrored[i].metric = -parts[i].metric;
  expect_ratios(allocate(moved, options), allocation.ratios);
  const std::vector<double> turned = allocate(mirrored, options).ratios;
  EXPECT_EQ(std::ranges::max_element(turned) - turned.begin(),
            std::ranges::min_element(allocation.ratios) - allocation.ratios.begin());
}

TEST(Allocation, OfEqualMetricsIsUniform) {
  expect_ratios(allocate(parts_of({2, 2, 2}, {1, 5, 3}), {.ratio = 0.4, .spread = 0.3}), {0.4, 0.4, 0.4});
}

// At S = 0.8 and a spread of 0.3 metrics whose scaled mean is that of LLaMA-7B would take 1.0625 of one layer.
TEST(Allocation, P2RefusesRatiosAboveOneOrClipsThem) {
  std::vector<double> metrics;
  for (int i = 0; i < 1000; ++i) metrics.push_back(i < 464 ? 1 : i == 464 ? 0.6 : 0);
  const auto parts = parts_of(metrics, std::vector<std::int64_t>(1000, 1));
  const AllocationOptions options{.ratio = 0.8, .spread = 0.3};
  EXPECT_ERROR(allocate(parts, options), usage, "takes 1.06");
  EXPECT_ERROR(allocate(parts, options), usage, "the largest spread here is 0.2");
  const double largest = allocate(parts, {.ratio = 0.8, .spread = 0}).largest_spread;
  EXPECT_NEAR(largest, 0.230, 1e-3);
  EXPECT_NEAR(std::ranges::max(allocate(parts, {.ratio = 0.8, .spread = largest}).ratios), 1, 1e-9);
  AllocationOptions clipping = options;
  clipping.clip = true, clipping.cap = 0.95;
  const Allocation clipped = allocate(parts, clipping);
  EXPECT_GE(clipped.clipped.size(), 464U);  // the one in between may come to stand there too
  EXPECT_EQ(std::ranges::max(clipped.ratios), 0.95);
  EXPECT_NEAR(weighted_mean(parts, clipped.ratios), 0.8, 1e-12);
  EXPECT_ERROR(allocate(parts, {.ratio = 0.8, .spread = 0.1, .cap = 0.7}), usage,
               "no layer may lose more than 0.7 (--cap)");
}

// 32 layers of one size whose known metrics stand in their places, the others all alike so that the metrics, scaled to
// [0, 1], have this mean.
std::vector<AllocationPart> shipped(const std::map<std::size_t, double>& known, double low, double high, double mean) {
  double sum = 0;
  for (const auto& [layer, metric] : known) sum += (metric - low) / (high - low);
  const double other = low + (high - low) * (mean * 32 - sum) / static_cast<double>(32 - known.size());
  std::vector<AllocationPart> parts(32, {.metric = other, .size = 1});
  for (const auto& [layer, metric] : known) parts[layer].metric = metric;
  return parts;
}

TEST(Allocation, C9TheShippedMetricsOfLlama7B) {
  const std::map<std::size_t, double> known = {{0, 2.622},  {1, 2.890},  {2, 2.969},  {3, 2.964},
                                               {4, 3.090},  {9, 2.609},  {25, 4.220}, {28, 3.851},
                                               {29, 4.093}, {30, 4.160}, {31, 3.537}};
  const auto parts = shipped(known, 2.609, 4.220, 0.4646);
  const Allocation allocation = allocate(parts, {.ratio = 0.7, .spread = 0.2});
  EXPECT_NEAR(allocation.eta, 0.71004, 2e-5);
  const std::map<std::size_t, double> expected = {{0, .5704}, {1, .6176},  {2, .6315},
                                                  {9, .5680}, {25, .8521}, {31, .7317}};
  for (const auto& [layer, ratio] : expected) EXPECT_NEAR(allocation.ratios[layer], ratio, 3e-4) << layer;
  EXPECT_ERROR(allocate(parts, {.ratio = 0.8, .spread = 0.3}), usage, "takes 1.062");
}

TEST(Allocation, C10TheShippedMetricsOfLlama2) {
  const std::map<std::size_t, double> known = {{0, 0}, {20, 1}, {31, 0.6131}};  // scaled to [0, 1]
  const Allocation allocation = allocate(shipped(known, 0, 1, 0.6015), {.ratio = 0.7, .spread = 0.3});
  EXPECT_NEAR(allocation.eta, 0.65982, 5e-5);
  EXPECT_NEAR(allocation.ratios[0], 0.4619, 1e-4);
  EXPECT_NEAR(allocation.ratios[20], 0.8578, 1e-4);
  EXPECT_NEAR(allocation.ratios[31], 0.7046, 1e-4);
}

TEST(Allocation, InWholeUnitsKeepsTheSum) {
  const auto parts = parts_of({2, 3, 4}, {10, 10, 10});
  const std::vector<std::int64_t> units = whole_units({0.49, 0.5, 0.76}, parts, 4);
  EXPECT_EQ(units, (std::vector<std::int64_t>{2, 2, 3}));
  EXPECT_EQ(whole_units({0.3, 0.3, 0.3, 0.3}, parts_of({1, 1, 1, 1}, {1, 1, 1, 1}), 4),
            (std::vector<std::int64_t>{2, 1, 1, 1}));
  EXPECT_EQ(whole_units({1, 0}, parts_of({1, 2}, {1, 1}), 4), (std::vector<std::int64_t>{4, 0}));
}

}  // namespace
}  // namespace streamline
