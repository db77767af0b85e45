// SPDX-License-Identifier: Apache-2.0
// Matrices fitted after slicing: what others can give for what went comes back, and what cannot be is said.
#include "streamline/heal/refit.h"

#include "heal/pico.h"
#include "streamline/engine/sweep.h"
#include "streamline/surgery/apply.h"
#include "support/core/expect.h"
#include "support/core/temporary_directory.h"
#include "support/torch/reference.h"

namespace streamline {
namespace {

using namespace test;

constexpr std::int64_t kWidth = 24;

// Channel 7 of each MLP does what channel 3 does.
Model with_a_double() {
  Json json = tiny_llama(3);
  json["intermediate_size"] = kWidth;
  return pico_model(json, 5, [](const ExpectedTensor& tensor, std::vector<float>& values) {
    if (tensor.role != Role::gate && tensor.role != Role::up) return;
    const auto columns = static_cast<std::ptrdiff_t>(tensor.shape[1]);
    std::copy_n(values.begin() + 3 * columns, columns, values.begin() + 7 * columns);
  });
}

Plan without_channels(const std::vector<std::int64_t>& gone) {
  Plan plan = keep_all(3);
  for (const std::int64_t layer : {0, 2}) {
    KeptUnits units{.of = kWidth};
    for (std::int64_t i = 0; i < kWidth; ++i)
      if (std::find(gone.begin(), gone.end(), i) == gone.end()) units.kept.push_back(i);
    plan.slices[layer].channels = {units};
  }
  return plan;
}

TEST(Refit, GivesBackWhatAnotherChannelCanDo) {
  const torch::NoGradGuard no_grad;
  const Model model = with_a_double();
  const Plan plan = without_channels({7});
  const Refit refit = refit_slices(model, plan, random_tokens(24, 16, 3));
  ASSERT_EQ(refit.matrices.size(), 2u);
  for (const auto& [place, fit] : refit.matrices) {
    EXPECT_EQ(place.second, Role::down);
    EXPECT_LT(fit.after, 1e-4 * fit.before);
  }
  const auto ids = to_tensor(random_tokens(2, 9, 8), {0, 1}, torch::kCPU);
  const auto whole = forward_logits(model, ids);
  const double fitted = relative_difference(forward_logits(model.changed(refit.change).view(plan, {}), ids), whole),
               plain = relative_difference(forward_logits(model.view(plan, {}), ids), whole);
  EXPECT_LT(fitted, 1e-3);
  EXPECT_GT(plain, 10 * fitted);
}

TEST(Refit, LeavesLessMissingThanSlicesDo) {
  const Model model = with_a_double();
  Plan plan = without_channels({1, 2, 5, 9, 11, 20});
  plan.slices[1].kv_heads = KeptUnits{2, {1}};
  const Refit refit = refit_slices(model, plan, random_tokens(40, 16, 3));
  EXPECT_EQ(refit.matrices.count({1, Role::o}), 1u);
  for (const auto& [place, fit] : refit.matrices) EXPECT_LE(fit.after, fit.before);
  EXPECT_LT((refit.matrices.at({0, Role::down}).after), 0.999 * (refit.matrices.at({0, Role::down}).before));
}

TEST(Refit, IsWrittenWithTheSlices) {
  const torch::NoGradGuard no_grad;
  const TemporaryDirectory directory;
  const Model model = with_a_double();
  const Plan plan = without_channels({7, 8});
  const Model fitted = model.changed(refit_slices(model, plan, random_tokens(24, 16, 3)).change);
  apply_plan(fitted, plan, {}, directory.path() / "out", {.repeatable = false});
  const Model written = Model::open(Checkpoint::open(directory.path() / "out"), {});
  const auto ids = to_tensor(random_tokens(2, 9, 8), {0, 1}, torch::kCPU);
  EXPECT_LT(relative_difference(forward_logits(written, ids), forward_logits(fitted.view(plan, {}), ids)), 1e-5);
}

TEST(Refit, SaysWhatItNeeds) {
  const Model model = with_a_double();
  EXPECT_ERROR(refit_slices(model, keep_all(3), random_tokens(4, 16, 3)), usage, "slices nothing");
  EXPECT_ERROR(refit_slices(model, without_channels({7}), random_tokens(1, 16, 3)), resource, "two sequences");
  EXPECT_ERROR(refit_slices(model, without_channels({7}), random_tokens(2, 16, 3)), resource,
               "down of layer 0 has 23 columns to fit and the text has 16 tokens for it; give at least 23");
}

}  // namespace
}  // namespace streamline
