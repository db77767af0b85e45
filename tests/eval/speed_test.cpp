// SPDX-License-Identifier: Apache-2.0
#include "streamline/eval/speed.h"

#include "heal/pico.h"
#include "support/core/expect.h"

namespace streamline {
namespace {

TEST(MeasureSpeed, GivesEveryRateThatWasAskedFor) {
  const Model model = test::pico_model(test::tiny_llama(2), 1);
  const SpeedOptions options{.prompt = 16, .decode = 4, .repetitions = 1, .batch = 2};
  const SpeedResult result = measure_speed(model, options, true);
  EXPECT_GT(result.prefill_tokens_per_second, 0);
  EXPECT_GT(result.decode_tokens_per_second, 0);
  EXPECT_GT(result.gemm_tokens_per_second, 0);
  EXPECT_GT(result.peak_memory, 0U);
  const Json json = to_json(result, options);
  EXPECT_EQ(json.at("prompt"), 16);
  EXPECT_TRUE(json.contains("share_of_gemm_rate"));
  EXPECT_GT(result.memory_tokens_per_second, 0);
  EXPECT_TRUE(json.contains("share_of_memory_rate"));

  const SpeedResult less = measure_speed(model, {.prompt = 16, .decode = 0, .repetitions = 1}, false);
  EXPECT_EQ(less.decode_tokens_per_second, 0);
  EXPECT_EQ(less.gemm_tokens_per_second, 0);
  EXPECT_FALSE(to_json(less, options).contains("gemm_tokens_per_second"));
}

TEST(MeasureSpeed, DecodesInsideTheModelsPositions) {
  Json json = test::tiny_opt();  // learned positions: beyond the table there is nothing
  json["max_position_embeddings"] = 16;
  const Model model = test::pico_model(json, 2);
  EXPECT_GT(measure_speed(model, {.prompt = 16, .decode = 4, .repetitions = 1}, false).decode_tokens_per_second, 0);
  EXPECT_ERROR(measure_speed(model, {.prompt = 17, .decode = 4}, false), mismatch, "16 positions");
  EXPECT_ERROR(measure_speed(model, {.prompt = 8, .decode = 16}, false), mismatch, "16 positions");
  EXPECT_ERROR(measure_speed(model, {.prompt = 0}, false), usage, "at least one token");
}

}  // namespace
}  // namespace streamline
