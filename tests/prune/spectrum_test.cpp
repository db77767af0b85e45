// SPDX-License-Identifier: Apache-2.0
// Exponents of spectra; C1 … C6 are the checks of AlphaPruning's specification.
#include "streamline/prune/spectrum.h"

#include <cmath>
#include <numbers>

#include "streamline/prune/spectra.h"
#include "support/core/expect.h"
#include "support/torch/pico.h"

namespace streamline {
namespace {

using namespace test;

constexpr std::int64_t kWhole = 1 << 20;

std::vector<double> powers_of_two(int count) {
  std::vector<double> values;
  for (int i = 0; i < count; ++i) values.push_back(std::exp2(i));
  return values;
}

double middle_exponent(const torch::Tensor& matrix) {
  return tail_exponent(eigenvalues(matrix, kWhole, 0), TailStart::middle).alpha;
}

double peak_exponent(const torch::Tensor& matrix, TailStart tail) {
  return tail_exponent(eigenvalues(matrix, kWhole, 0), tail).alpha;
}

// The paper's own estimator of the same tail, whose first value only says where it begins.
double paper_alpha(const Exponent& exponent) {
  const auto tail = static_cast<double>(exponent.tail);
  return 1 + (exponent.alpha - 1) * (tail - 1) / tail;
}

TEST(Spectrum, C1TheTailFromTheMiddle) {
  const Exponent exponent = tail_exponent(powers_of_two(8), TailStart::middle);
  EXPECT_NEAR(exponent.alpha, 1.9617966939, 1e-9);
  EXPECT_EQ(exponent.tail, 4);
  EXPECT_EQ(exponent.start, 16);
  EXPECT_NEAR(paper_alpha(exponent), 1.7213475204, 1e-9);
}

TEST(Spectrum, C2StartsOfAGeometricSpectrum) {
  const std::vector<double> values = powers_of_two(8);
  const double alphas[] = {1.4121986, 1.7213475, 3.8853901}, distances[] = {0.2006271, 0.2321206, 0.3646647};
  const std::size_t starts[] = {0, 3, 6};
  for (int i = 0; i < 3; ++i) {
    EXPECT_NEAR(hill(values, starts[i]).alpha, alphas[i], 1e-7);
    EXPECT_NEAR(hill(values, starts[i]).distance, distances[i], 1e-7);
  }
  for (std::size_t k = 1; k < values.size(); ++k)
    EXPECT_NEAR(paper_alpha(hill(values, values.size() - 1 - k)),
                1 + 2 / (static_cast<double>(k + 1) * std::numbers::ln2), 1e-9);
}

TEST(Spectrum, C3QuantilesOfAPowerLaw) {
  for (const auto& [alpha, expected] : {std::pair(2.0, 2.00170), std::pair(3.0, 3.00339)}) {
    std::vector<double> values;
    for (int i = 0; i < 1000; ++i) values.push_back(std::pow(1 - (i + 0.5) / 1000, -1 / (alpha - 1)));
    EXPECT_NEAR(tail_exponent(values, TailStart::middle).alpha, expected, 1e-4);
  }
}

TEST(Spectrum, C4ScaleDoesNotMatterButForTheReleasedRule) {
  const auto matrix = random_tensor({60, 90}, 3);
  EXPECT_NEAR(middle_exponent(matrix), middle_exponent(matrix * 37), 1e-6 * middle_exponent(matrix));
  EXPECT_NEAR(peak_exponent(matrix, TailStart::peak), peak_exponent(matrix * 37, TailStart::peak), 1e-5);
  // Its lower bound is a logarithm: below an edge of 1 there is none.
  const auto small = matrix * 1e-3;
  EXPECT_GE(tail_exponent(eigenvalues(small, kWhole, 0), TailStart::peak).start,
            tail_exponent(eigenvalues(small, kWhole, 0), TailStart::peak_log).start);
}

TEST(Spectrum, C5TurningAndTransposingDoNotMatter) {
  const auto matrix = random_tensor({40, 70}, 5);
  const auto turn = std::get<0>(torch::linalg_qr(random_tensor({40, 40}, 6))),
             other = std::get<0>(torch::linalg_qr(random_tensor({70, 70}, 13)));
  const auto order = torch::tensor(std::vector<std::int64_t>{39, 0, 1, 2, 3, 4, 5, 6, 7, 8});
  const auto swapped = matrix.clone();
  swapped.index_copy_(0, order, matrix.index_select(0, order.flip(0)));
  const auto columns = torch::arange(70, torch::kLong).roll(23);
  for (const auto& same : {matrix.t().contiguous(), turn.matmul(matrix), matrix.matmul(other),
                           turn.matmul(matrix).matmul(other), swapped, swapped.index_select(1, columns)})
    EXPECT_NEAR(middle_exponent(same), middle_exponent(matrix), 1e-4);
}

TEST(Spectrum, C6GaussianMatrices) {
  EXPECT_NEAR(middle_exponent(random_tensor({1024, 1024}, 7)), 2.12, 0.03);
  EXPECT_NEAR(middle_exponent(random_tensor({1024, 4096}, 8)), 3.45, 0.05);
}

TEST(Spectrum, LeavesOutWhatIsRoundingAndRefusesWhatHasNoTail) {
  const auto low_rank = random_tensor({30, 5}, 9).matmul(random_tensor({5, 40}, 10));
  EXPECT_EQ(eigenvalues(low_rank, kWhole, 0).size(), 5U);
  EXPECT_ERROR(tail_exponent({4}, TailStart::middle), numeric, "a matrix of rank 1");
  EXPECT_ERROR(tail_exponent({4, 4, 4}, TailStart::peak), numeric, "follows a power law");
  auto broken = random_tensor({3, 3}, 11);
  broken[1][1] = INFINITY;
  EXPECT_ERROR(eigenvalues(broken, kWhole, 0), numeric, "not finite");
  EXPECT_ERROR(parse_tail("head"), usage, "peak, peak-released, middle");
}

// A quarter of a Gaussian matrix has the exponent of all of it.
TEST(Spectrum, SamplesKeepTheProportions) {
  const auto matrix = random_tensor({400, 800}, 12);
  const std::vector<double> part = eigenvalues(matrix, 200, 1);
  EXPECT_EQ(part.size(), 200U);
  EXPECT_EQ(part, eigenvalues(matrix, 200, 1));
  EXPECT_NEAR(tail_exponent(part, TailStart::middle).alpha, middle_exponent(matrix), 0.15);
}

TEST(Spectra, AMeanOfExponentsHasTheErrorOfItsTails) {
  // (3 - 1)² / 4 and (2 - 1)² / 1 of one layer, (5 - 1)² / 16 of the other.
  const std::vector<MatrixSpectrum> found = {{.layer = 0, .exponent = {.alpha = 3, .tail = 4}},
                                             {.layer = 0, .exponent = {.alpha = 2, .tail = 1}},
                                             {.layer = 1, .exponent = {.alpha = 5, .tail = 16}}};
  const std::vector<double> errors = layer_errors(found, 2);
  EXPECT_NEAR(errors[0], std::sqrt(2.0) / 2, 1e-12);
  EXPECT_NEAR(errors[1], 1, 1e-12);
}

TEST(Spectra, OneLayerThatStandsApartDecidesAlone) {
  EXPECT_EQ(doubt_about_exponents({1.6, 4.4, 1.7, 1.8, 1.7, 1.65}, {}),
            "layer 1 alone decides the shares: its exponent is 4.40, those of the others lie between 1.60 and 1.80, so "
            "that it loses more and they nearly the same");
  EXPECT_THAT(doubt_about_exponents({4.4, 4.3, 4.5, 4.35, 1.2}, {}), testing::HasSubstr("layer 4 alone"));
  EXPECT_THAT(doubt_about_exponents({4.4, 4.3, 4.5, 4.35, 1.2}, {}), testing::HasSubstr("loses less"));
  EXPECT_EQ(doubt_about_exponents({1, 2, 3, 4, 5}, {}), "");
  EXPECT_EQ(doubt_about_exponents({1, 1.1, 5}, {}), "") << "of three, some layer always stands apart";
}

TEST(Spectra, ExponentsWithinTheirErrorsAreChance) {
  const std::vector<double> exponents = {2, 2.1, 1.9, 2.05, 1.95};
  EXPECT_THAT(doubt_about_exponents(exponents, std::vector<double>(5, 0.2)), testing::HasSubstr("are chance"));
  EXPECT_EQ(doubt_about_exponents(exponents, std::vector<double>(5, 0.01)), "");
  // Chi squared of 4 is below 9.49 in 95 of 100 cases; here it is 0.025 / e².
  EXPECT_THAT(doubt_about_exponents(exponents, std::vector<double>(5, 0.0520)), testing::HasSubstr("are chance"));
  EXPECT_EQ(doubt_about_exponents(exponents, std::vector<double>(5, 0.0505)), "");
}

TEST(Spectra, AreThoseOfEveryMatrixOfEveryFamily) {
  for (const Family* family : families()) {
    SCOPED_TRACE(family->name);
    const Model model = test::pico_model(*family, {}, {.dtype = torch::kFloat});
    const std::vector<MatrixSpectrum> found = spectra(model, {.tail = TailStart::middle});
    const std::vector<double> means = layer_exponents(found, model.layer_count());
    ASSERT_EQ(std::ssize(means), model.layer_count());
    for (const double mean : means) EXPECT_GT(mean, 1);
    const LayerConfig& last = model.config().layers.back();
    if (!last.mlp->experts) continue;
    EXPECT_EQ(std::ranges::count_if(found,
                                    [&](const auto& s) { return s.layer + 1 == model.layer_count() && s.expert == 3; }),
              last.mlp->experts->stacked ? 2 : 3);
  }
}

}  // namespace
}  // namespace streamline
