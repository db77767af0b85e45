// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/gguf_config.h"
#include "streamline/io/tensor_values.h"
#include "support/core/expect.h"
#include "support/core/pico_gguf.h"
#include "support/core/temporary_directory.h"

namespace streamline {
namespace {

using test::open_pico_gguf;
using test::pico_config;
using test::pico_gguf;
using test::pico_gguf_metadata;
using test::pico_gguf_tensors;

constexpr float kRounding = 3e-7f;  // of 1 + w where norms are stored so; other values are the same bits

std::vector<float> values(const Checkpoint& checkpoint, const TensorInfo& tensor) {
  std::vector<float> numbers(static_cast<std::size_t>(tensor.elements()));
  read_rows(checkpoint, tensor, 0, row_count(tensor), numbers);
  return numbers;
}

TEST(GgufCheckpoint, IsTheTwinOfASafetensorsCheckpointInEachFamily) {
  for (const Family* family : families()) {
    if (!test::has_pico_gguf(*family)) continue;
    SCOPED_TRACE(family->name);
    const Json config = test::gguf_pico_config(*family);
    const auto twin = test::pico_checkpoint(config);
    const auto gguf = open_pico_gguf(pico_gguf(config));
    ASSERT_EQ(gguf->tensors().size(), twin->tensors().size());
    for (const TensorInfo& tensor : twin->tensors()) {
      const TensorInfo& same = gguf->at(tensor.name);
      EXPECT_EQ(same.shape, tensor.shape) << tensor.name;
      EXPECT_THAT(values(*gguf, same), testing::Pointwise(testing::FloatNear(kRounding), values(*twin, tensor)))
          << tensor.name;
    }
    const Config ours = resolve_config(*gguf), theirs = resolve_config(*twin);
    EXPECT_EQ(ours.hidden, theirs.hidden);
    EXPECT_EQ(ours.vocab, theirs.vocab);
    EXPECT_EQ(ours.max_positions, theirs.max_positions);
    EXPECT_EQ(ours.norm_epsilon, theirs.norm_epsilon);
    EXPECT_EQ(ours.tied_embeddings, theirs.tied_embeddings);
    EXPECT_EQ(ours.rope, theirs.rope);
    EXPECT_EQ(ours.local_rope, theirs.local_rope);
    EXPECT_EQ(ours.scale, theirs.scale);
    EXPECT_EQ(ours.layers, theirs.layers);
    EXPECT_EQ(ours.bos, theirs.bos);
    EXPECT_EQ(ours.eos, theirs.eos);
  }
}

TEST(GgufCheckpoint, ReadsRowsFromTheMiddle) {
  const Json config = pico_config("llama");
  const auto twin = test::pico_checkpoint(config);
  const auto gguf = open_pico_gguf(pico_gguf(config));
  const TensorInfo& tensor = gguf->at("model.layers.1.self_attn.q_proj.weight");
  EXPECT_FALSE(tensor.is_plain());
  const std::vector<float> all = values(*twin, twin->at(tensor.name));
  std::vector<float> some(2 * 16);
  read_rows(*gguf, tensor, 5, 2, some);
  EXPECT_EQ(some, std::vector<float>(all.begin() + 5 * 16, all.begin() + 7 * 16));
}

// A file of the config's metadata with more entries; an entry of a key that is there replaces it.
std::shared_ptr<const Checkpoint> open_with(const std::vector<std::string>& entries, const std::string& without = "") {
  const Json config = pico_config("llama");
  std::vector<std::string> metadata = pico_gguf_metadata(config);
  std::erase_if(metadata,
                [&](const std::string& entry) { return !without.empty() && entry.find(without) != std::string::npos; });
  metadata.insert(metadata.end(), entries.begin(), entries.end());
  const test::GgufTensors tensors = pico_gguf_tensors(config);
  return open_pico_gguf(test::gguf_file(metadata, tensors.descriptions, tensors.data));
}

TEST(GgufCheckpoint, SaysWhatItCannotCompute) {
  EXPECT_ERROR(open_with({test::text("general.architecture", "mamba")}, "general.architecture"), unsupported,
               "the architecture 'mamba' (general.architecture) is not supported; supported are llama");
  EXPECT_ERROR(open_with({test::u32("llama.expert_count", 8)}), format, "has no 'llama.expert_used_count'");
  EXPECT_ERROR(open_with({test::text("general.architecture", "granite"), test::u32("granite.expert_count", 8)},
                         "general.architecture"),
               unsupported, "'granite.expert_count' is 8; supported is 0");
  EXPECT_ERROR(open_with({test::f32("llama.logit_scale", 2)}), unsupported,
               "dir/pico.gguf: the key 'llama.logit_scale' is not supported");
  EXPECT_ERROR(open_with({test::u32("llama.rope.dimension_count", 2)}, "rope.dimension_count"), unsupported,
               "'llama.rope.dimension_count' is 2; supported is 4");
  EXPECT_ERROR(open_with({test::text("llama.rope.scaling.type", "longrope")}), unsupported, "RoPE scaling 'longrope'");
  EXPECT_ERROR(open_with({}, "llama.block_count"), format, "has no 'llama.block_count'");
  EXPECT_ERROR(open_with({test::numbers<std::uint32_t>("llama.feed_forward_length", GgufType::u32, {24, 24, 24, 12})},
                         "feed_for"),
               unsupported, "'llama.feed_forward_length' differs from layer to layer");
  EXPECT_ERROR(open_with({test::u32("llama.attention.head_count", 3)}, "head_count"), mismatch,
               "'blk.0.attn_q.weight' has no rows for 3 heads");
}

TEST(GgufCheckpoint, ReadsWhatIsTheSameInEachLayer) {
  const auto opened =
      open_with({test::numbers<std::uint32_t>("llama.feed_forward_length", GgufType::u32, {24, 24, 24, 24}),
                 test::text("llama.rope.scaling.type", "linear"), test::f32("llama.rope.scaling.factor", 4)},
                "feed_for");
  const Config config = resolve_config(*opened);
  EXPECT_EQ(config.layers.front().mlp->intermediate, 24);
  EXPECT_EQ(config.rope.scaling, RopeScaling::linear);
  EXPECT_EQ(config.rope.factor, 4);
}

// One more tensor at the end of a llama file.
std::shared_ptr<const Checkpoint> open_with_tensor(const std::string& name, const std::vector<float>& numbers) {
  const Json config = pico_config("llama");
  test::GgufTensors tensors = pico_gguf_tensors(config);
  std::string bytes;
  for (const float number : numbers) bytes += test::raw(number);
  tensors.add(name, {static_cast<std::int64_t>(numbers.size())}, bytes);
  return open_pico_gguf(test::gguf_file(pico_gguf_metadata(config), tensors.descriptions, tensors.data));
}

// Head size 4 and theta 10000: waves of 2 pi and 200 pi positions, both shorter than 8192 / 4, so that nothing is
// scaled, unless the factors say otherwise.
TEST(GgufCheckpoint, FindsLlama3InTheFactorsOfItsFrequencies) {
  const Config config = resolve_config(*open_with_tensor("rope_freqs.weight", {1, 1}));
  EXPECT_EQ(config.rope.scaling, RopeScaling::llama3);
  EXPECT_EQ(config.rope.original_max_positions, 8192);
  // The slow pair is stretched and the fast one is not: the model was made for fewer positions than 8192.
  EXPECT_EQ(resolve_config(*open_with_tensor("rope_freqs.weight", {1, 8})).rope.factor, 8);
  EXPECT_LT(resolve_config(*open_with_tensor("rope_freqs.weight", {1, 8})).rope.original_max_positions, 8192);
  EXPECT_ERROR(open_with_tensor("rope_freqs.weight", {2, 1}), unsupported, "'rope_freqs.weight' holds 2 at 0");
}

TEST(GgufCheckpoint, NamesATensorThatItsFamilyDoesNotHave) {
  EXPECT_ERROR(open_with_tensor("blk.0.ssm_a", {1}), unsupported,
               "dir/pico.gguf: tensor 'blk.0.ssm_a' is none that a llama model has");
  EXPECT_ERROR(open_with_tensor("blk.0.attn_q_norm.weight", {1}), unsupported, "'blk.0.attn_q_norm.weight' is none");
}

TEST(GgufCheckpoint, IsFoundByItsFileAndAsTheOnlyModelOfADirectory) {
  const test::TemporaryDirectory directory;
  const auto& path = directory.path();
  EXPECT_ERROR(open_checkpoint(path / "none.gguf"), io, "none.gguf: no such file");
  write_text(path / "a.gguf", pico_gguf(pico_config("llama")));
  EXPECT_EQ(open_checkpoint(path / "a.gguf")->label(), (path / "a.gguf").string());
  EXPECT_EQ(open_checkpoint(path)->label(), (path / "a.gguf").string());
  EXPECT_EQ(open_checkpoint(path)->files().names(), std::vector<std::string>{"a.gguf"});
  write_text(path / "b.gguf", pico_gguf(pico_config("llama")));
  EXPECT_ERROR(open_checkpoint(path), usage, "has several GGUF models, 'a.gguf' and 'b.gguf'");
  EXPECT_EQ(open_checkpoint(path / "b.gguf")->tensors().size(), 39u);
}

TEST(GgufNames, AreReadBackInEachFamily) {
  for (const Family* family : families()) {
    if (family->gguf.arch.empty()) continue;
    SCOPED_TRACE(family->name);
    for (int i = 0; i <= static_cast<int>(kLastRole); ++i) {
      const auto role = static_cast<Role>(i);
      const std::int64_t layer = is_layer_role(role) ? 17 : -1;
      const std::string name = gguf_tensor_name(*family, layer, role, Part::bias);
      const bool named = has_role(*family, role) && !is_stack_role(role);  // which is two tensors there, or turned
      EXPECT_EQ(name.empty(), !named) << role_name(role);
      const auto parsed = parse_gguf_tensor(*family, name);
      ASSERT_EQ(parsed.has_value(), named) << role_name(role);
      if (!parsed) continue;
      EXPECT_EQ(parsed->layer, layer);
      EXPECT_EQ(parsed->role, role);
      EXPECT_EQ(parsed->part, Part::bias);
    }
  }
}

TEST(GgufNames, OfExpertsNameTheStackOfTheirMatrices) {
  const Family& family = *find_gguf_family("llama", /*experts=*/true);
  EXPECT_EQ(gguf_tensor_name(family, 3, Role::up, Part::weight, /*experts=*/true), "blk.3.ffn_up_exps.weight");
  const auto parsed = parse_gguf_tensor(family, "blk.3.ffn_up_exps.weight");
  ASSERT_TRUE(parsed);
  EXPECT_TRUE(parsed->experts);
  EXPECT_EQ(parsed->role, Role::up);
  EXPECT_FALSE(parse_gguf_tensor(family, "blk.3.ffn_up.weight"));
}

TEST(GgufNames, OfOtherThingsAreNone) {
  const Family& family = *find_gguf_family("llama", /*experts=*/false);
  for (const char* name :
       {"", "blk.", "blk.1", "blk.1.", "blk.01.attn_q.weight", "blk.-1.attn_q.weight", "blk.99999999999.attn_q.weight",
        "attn_q.weight", "blk.0.output.weight", "blk.0.attn_q", "blk.0.ffn_up_exps.weight"})
    EXPECT_FALSE(parse_gguf_tensor(family, name)) << name;
}

}  // namespace
}  // namespace streamline
