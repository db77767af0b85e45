// SPDX-License-Identifier: Apache-2.0
// A merge seen as a model computes what the written one does.
#include "streamline/merge/view.h"

#include "merge/small_models.h"
#include "streamline/merge/write.h"
#include "support/core/temporary_directory.h"

namespace streamline::test {
namespace {

torch::Tensor logits_of(const Model& model) {
  const torch::NoGradGuard no_grad;
  return forward_logits(model, torch::arange(1, 13).unsqueeze(0));
}

void expect_same_as_written(const merge::MergePlan& plan) {
  const TemporaryDirectory directory;
  merge::write_merge(plan, directory.path() / "out", {});
  const Model written = Model::open(Checkpoint::open(directory.path() / "out"), {});
  const Model seen = merge::view(plan, {});
  EXPECT_EQ(seen.layer_count(), written.layer_count());
  EXPECT_EQ(seen.parameters(), written.parameters());
  EXPECT_TRUE(torch::equal(logits_of(seen), logits_of(written)));
}

TEST(MergeView, ComputesWhatTheWrittenModelDoes) {
  for (const char* family : {"llama", "gpt2", "qwen2", "mixtral", "opt"}) {
    SCOPED_TRACE(family);
    const Json config = pico_config(family);
    merge::MergePlan plan = merge::plan_merge(request_on_first(
        "ties", {pico_source("base", config, 1), pico_source("a", config, 2), pico_source("b", config, 3)},
        {0.7, 0.4}));
    scale_by_depth(plan, {.alpha = 0.3, .beta = 0.6});
    expect_same_as_written(plan);
  }
}

TEST(MergeView, ComputesTiedModelsInBfloat16) {
  const Json config = pico_config("llama", {{"tie_word_embeddings", true}, {"torch_dtype", "bfloat16"}});
  expect_same_as_written(merge::plan_merge(request_on_first(
      "sum", {pico_source("base", config, 1, DType::bf16), pico_source("a", config, 2, DType::bf16)}, {0.5})));
}

TEST(MergeView, ComputesSlicesOfSeveralModels) {
  const Json config = pico_config("llama");
  merge::Request request{.rule = &merge::find_rule("passthrough"),
                         .models = {pico_source("one", config, 1), pico_source("two", config, 2)},
                         .slices = {{.count = 3, .operands = {{0, 0}}}, {.count = 2, .operands = {{1, 2}}}}};
  request.parameters = constant(*request.rule);
  expect_same_as_written(merge::plan_merge(std::move(request)));
}

}  // namespace
}  // namespace streamline::test
