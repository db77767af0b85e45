// SPDX-License-Identifier: Apache-2.0
// Merges as directories: what lies in them, and what is left when they fail.
#include "streamline/merge/write.h"

#include "merge/small_models.h"
#include "streamline/engine/model.h"
#include "support/core/temporary_directory.h"

namespace streamline::test {
namespace {

using merge::MergePlan;
using merge::Source;

MergePlan two_models(DType dtype = DType::f32) {
  const char* name = dtype == DType::bf16 ? "bfloat16" : "float32";
  const Json config = pico_config("llama", {{"torch_dtype", name}});
  return merge::plan_merge(request_on_first(
      "mean",
      {pico_source("base", config, 1, dtype), pico_source("a", config, 2, dtype), pico_source("b", config, 3, dtype)}));
}

TEST(WriteMerge, GivesTheMeanOfTheModels) {
  const TemporaryDirectory directory;
  const MergePlan plan = two_models();
  const merge::Written written = merge::write_merge(plan, directory.path() / "out", {.max_shard_size = 4000});
  EXPECT_EQ(written.layers, 4);
  EXPECT_TRUE(std::filesystem::exists(directory.path() / "out/model.safetensors.index.json"));
  const auto result = Checkpoint::open(directory.path() / "out");
  ASSERT_EQ(result->tensors().size(), plan.request.models[0].checkpoint->tensors().size());
  for (const TensorInfo& tensor : result->tensors()) {
    const auto value = [&](const Checkpoint& checkpoint, std::int64_t i) {
      const TensorInfo& info = checkpoint.at(tensor.name);
      return load_float(info.dtype, checkpoint.bytes(info).data() + 4 * i);
    };
    for (std::int64_t i = 0; i < tensor.elements(); ++i) {
      const float a = value(*plan.request.models[1].checkpoint, i), b = value(*plan.request.models[2].checkpoint, i);
      ASSERT_NEAR(value(*result, i), (a + b) / 2, 1e-6) << tensor.name;
    }
  }
  EXPECT_EQ(Model::open(result, {}).layer_count(), 4);
}

TEST(WriteMerge, WritesTheTypeThatIsAskedFor) {
  const TemporaryDirectory directory;
  MergePlan plan = two_models();
  plan.request.dtype = DType::bf16;
  plan = merge::plan_merge(plan.request);
  merge::write_merge(plan, directory.path() / "out", {});
  const auto result = Checkpoint::open(directory.path() / "out");
  for (const TensorInfo& tensor : result->tensors()) EXPECT_EQ(tensor.dtype, DType::bf16);
  EXPECT_EQ(result->config()["torch_dtype"], "bfloat16");
}

TEST(WriteMerge, GrowsTheConfigurationWithTheLayers) {
  const TemporaryDirectory directory;
  const Json config = pico_config("llama");
  merge::Request request{.rule = &merge::find_rule("passthrough"),
                         .models = {pico_source("one", config, 1)},
                         .slices = {{.count = 3, .operands = {{0, 0}}}, {.count = 3, .operands = {{0, 1}}}}};
  request.parameters = constant(*request.rule);
  merge::write_merge(merge::plan_merge(std::move(request)), directory.path() / "out", {});
  const auto result = Checkpoint::open(directory.path() / "out");
  EXPECT_EQ(result->config()["num_hidden_layers"], 6);
  EXPECT_EQ(Model::open(result, {}).layer_count(), 6);
}

TEST(WriteMerge, SaysWhereItComesFrom) {
  const TemporaryDirectory directory;
  merge::write_merge(two_models(), directory.path() / "out",
                     {.recipe = {{"rule", "mean"}}, .configuration = "merge_method: linear\n"});
  const Json config = parse_json(read_text(directory.path() / "out/config.json"), "config.json");
  const Json& provenance = config["streamline"]["provenance"];
  EXPECT_EQ(provenance["method"], "merge");
  EXPECT_EQ(provenance["models"].size(), 3U);
  EXPECT_EQ(provenance["recipe"]["rule"], "mean");
  const std::string card = read_text(directory.path() / "out/README.md");
  EXPECT_THAT(card, testing::HasSubstr("base_model:\n- \"base\"\n- \"a\"\n- \"b\"\n"));
  EXPECT_THAT(card, testing::HasSubstr("tags:\n- merge\n"));
  EXPECT_EQ(read_text(directory.path() / "out/mergekit_config.yml"), "merge_method: linear\n");
}

TEST(WriteMerge, LeavesNothingBehindWhenItFails) {
  const TemporaryDirectory directory;
  MergePlan plan = two_models();
  plan.tensors.back().parameters.scale = 1e39;
  EXPECT_ERROR(merge::write_merge(plan, directory.path() / "out", {}), numeric, "NaN or infinity");
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
  std::filesystem::create_directory(directory.path() / "out");
  write_text(directory.path() / "out" / "mine.txt", "mine");
  EXPECT_ERROR(merge::write_merge(two_models(), directory.path() / "out", {}), io, "already exists");
  EXPECT_EQ(read_text(directory.path() / "out" / "mine.txt"), "mine");
}

}  // namespace
}  // namespace streamline::test
