// SPDX-License-Identifier: Apache-2.0
// Importance of tiny reference checkpoints, computed in float64 by an independent implementation.
#include <cstdlib>

#include "prune/score_samples.h"
#include "streamline/text/tokenizer.h"
#include "support/core/expect.h"

namespace streamline {
namespace {

constexpr double kGoldenCosine = 1e-6;  // a cosine computed in fp32

// input_ids of a golden file, [sequences, tokens] int64.
TokenBatches golden_tokens(const std::filesystem::path& file) {
  const Blob blob = map_file(file);
  TokenBatches batches;
  for (const TensorInfo& tensor : parse_safetensors(blob.bytes, file.string())) {
    if (tensor.name != "input_ids") continue;
    const auto* ids = reinterpret_cast<const std::int64_t*>(blob.bytes.data() + tensor.offset);
    for (std::int64_t row = 0; row < tensor.shape[0]; ++row) {
      batches.sequences.emplace_back(ids + row * tensor.shape[1], ids + (row + 1) * tensor.shape[1]);
    }
  }
  return batches;
}

class GoldenImportance : public testing::TestWithParam<std::string> {};

TEST_P(GoldenImportance, IsReproduced) {
  REQUIRE_SHARED("golden/" + GetParam() + "/importance.json");
  const auto folder = test::shared_folder() / "golden" / GetParam();
  const Scores scores =
      score_layers(Model::open(Checkpoint::open(folder), {}), golden_tokens(folder / "golden.safetensors"), {});
  const Json expected = parse_json(read_text(folder / "importance.json"), "importance.json");
  const auto states = static_cast<std::size_t>(scores.layers + 1);
  for (std::size_t i = 0; i < states; ++i) {
    for (std::size_t j = 0; j < states; ++j) {
      const double cosine = scores.cosine[i * states + j];
      EXPECT_NEAR(cosine, expected["cos"][i][j].get<double>(), kGoldenCosine) << i << " " << j;
      EXPECT_NEAR(0.5 + 0.5 * cosine, expected["cos_half"][i][j].get<double>(), kGoldenCosine) << i << " " << j;
      const auto last = expected["angular_last_token"][i][j].get<double>();
      EXPECT_NEAR(scores.angular_last[i * states + j], last, kGoldenCosine) << i << " " << j;
      const auto all = expected["angular_all_tokens"][i][j].get<double>();
      EXPECT_NEAR(scores.angular_all[i * states + j], all, kGoldenCosine) << i << " " << j;
    }
  }
  // (1 + cosine) / 2 of the state before the last layer and the final norm of the state after it.
  ASSERT_TRUE(scores.normed_last_cosine);
  EXPECT_NEAR(0.5 + 0.5 * *scores.normed_last_cosine,
              expected["cos_half_final_norm"][states - 2][states - 1].get<double>(), kGoldenCosine);
  const Json table = to_json(scores).at("per_layer");
  for (std::size_t layer = 0; layer + 1 < states; ++layer) {
    EXPECT_NEAR(table[layer]["block_influence"].get<double>(), expected["block_influence"][layer].get<double>(),
                kGoldenCosine);
  }
  std::vector<std::int64_t> order;
  for (const Window& window : ranked_windows(scores, 1, {})) order.push_back(window.start);
  EXPECT_EQ(Json(order), expected["order"]);
  for (const auto& [count, start] : expected["best_start"]["cos"].items()) {
    EXPECT_EQ(ranked_windows(scores, std::stoll(count), {}).front().start, start.get<std::int64_t>()) << count;
  }
}

INSTANTIATE_TEST_SUITE_P(Families, GoldenImportance, testing::Values("llama2", "opt"));

std::vector<std::int64_t> starts_by(const Scores& scores, std::int64_t count) {
  std::vector<std::int64_t> starts;
  for (const Window& window : ranked_windows(scores, count, {})) starts.push_back(window.start);
  return starts;
}

// Importance of a real model, computed by transformers in float32 (../shared/yardsticks). Its weights are not part of
// that folder: STREAMLINE_SMOLLM2 says where they lie.
TEST(Yardstick, ImportanceIsReproduced) {
  REQUIRE_SHARED("yardsticks/smollm2-135m/yardstick.json");
  const char* folder = std::getenv("STREAMLINE_SMOLLM2");
  if (folder == nullptr) GTEST_SKIP() << "STREAMLINE_SMOLLM2 does not name the folder of SmolLM2-135M-Instruct";
  const Json yardstick =
      parse_json(read_text(test::shared_folder() / "yardsticks/smollm2-135m/yardstick.json"), "yardstick.json");
  const auto tokens =
      load_sequences(test::shared_folder() / "data" / yardstick["calibration"]["file"].get<std::string>(), {},
                     *open_tokenizer(*open_directory(folder)), {.seq_len = 512, .samples = 32});
  const Scores scores = score_layers(Model::open(Checkpoint::open(folder), {}), tokens, {});
  for (std::int64_t count = 1; count <= scores.layers; ++count)
    for (std::int64_t start = 0; start + count <= scores.layers; ++start) {
      const double expected =
          yardstick["importance"][static_cast<std::size_t>(count - 1)][static_cast<std::size_t>(start)].get<double>();
      EXPECT_NEAR(scores.window_cosine(start, count), expected, 2e-5) << start << " " << count;
    }
  EXPECT_EQ(Json(starts_by(scores, 1)), yardstick["bi_order"]);
  for (const Json& best : yardstick["best"])
    EXPECT_EQ(starts_by(scores, best["n"].get<std::int64_t>()).front(), best["first"].get<std::int64_t>());
}

}  // namespace
}  // namespace streamline
