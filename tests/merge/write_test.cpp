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

// Rows that the base lacks start as the mean of those who have them; who lacks a row changes nothing of it.
TEST(WriteMerge, TakesTheRowsOfAllVocabularies) {
  const TemporaryDirectory directory;
  const Json small = pico_config("llama"), large = pico_config("llama", {{"vocab_size", 35}});
  merge::Request request = request_on_first(
      "mean", {pico_source("base", small, 1), pico_source("a", small, 2), pico_source("b", large, 3)}, {1, 3});
  EXPECT_ERROR(merge::plan_merge(request), mismatch, "--union-vocabulary takes the rows of both");
  request.union_vocabulary = true;
  merge::write_merge(merge::plan_merge(request), directory.path() / "out", {});
  const auto result = Checkpoint::open(directory.path() / "out");
  EXPECT_EQ(result->config()["vocab_size"], 35);
  EXPECT_EQ(Model::open(result, {}).config().vocab, 35);
  for (const char* name : {"model.embed_tokens.weight", "lm_head.weight"}) {
    const auto value = [&](const Checkpoint& checkpoint, std::int64_t row, std::int64_t column) {
      return load_float(DType::f32, checkpoint.bytes(checkpoint.at(name)).data() + 4 * (16 * row + column));
    };
    ASSERT_EQ(result->at(name).shape, (std::vector<std::int64_t>{35, 16}));
    for (std::int64_t row = 0; row < 35; ++row)
      for (std::int64_t column = 0; column < 16; ++column) {
        const float b = value(*request.models[2].checkpoint, row, column);
        const float a = row < 32 ? value(*request.models[1].checkpoint, row, column) : b;
        ASSERT_NEAR(value(*result, row, column), (a + 3 * b) / 4, 1e-6) << name << " " << row;
      }
  }
}

TEST(WriteMerge, KeepsRowsOfTheBaseThatAModelLacks) {
  const TemporaryDirectory directory;
  merge::Request request = request_on_first("sum", {pico_source("base", pico_config("llama", {{"vocab_size", 35}}), 1),
                                                    pico_source("a", pico_config("llama"), 2)});
  request.union_vocabulary = true;
  merge::write_merge(merge::plan_merge(request), directory.path() / "out", {});
  const auto result = Checkpoint::open(directory.path() / "out");
  const auto rows = [](const Checkpoint& checkpoint, std::size_t first, std::size_t count) {
    return checkpoint.bytes(checkpoint.at("lm_head.weight")).subspan(first * 64, count * 64);
  };
  EXPECT_TRUE(std::ranges::equal(rows(*result, 32, 3), rows(*request.models[0].checkpoint, 32, 3)));
  EXPECT_FALSE(std::ranges::equal(rows(*result, 0, 32), rows(*request.models[0].checkpoint, 0, 32)));
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
