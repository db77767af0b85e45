// SPDX-License-Identifier: Apache-2.0
#include "prune/score_samples.h"
#include "support/core/expect.h"

namespace streamline {
namespace {

using test::pico_model;
using test::random_tokens;
using test::tiny_llama;

TEST(ScoresJson, RoundTrips) {
  Scores scores = score_layers(pico_model(tiny_llama(), 9), random_tokens(2, 10, 14), {});
  scores.calibration_digest = "abc";
  const Scores read = scores_from_json(parse_json(dump_json(to_json(scores)), "scores"), "scores");
  EXPECT_EQ(read.layers, scores.layers);
  EXPECT_EQ(read.cosine, scores.cosine);
  EXPECT_EQ(read.relative_l2, scores.relative_l2);
  EXPECT_EQ(read.angular_last, scores.angular_last);
  EXPECT_EQ(read.angular_all, scores.angular_all);
  EXPECT_EQ(read.normed_last_cosine, scores.normed_last_cosine);
  EXPECT_EQ(to_json(read), to_json(scores));
  EXPECT_EQ(read.mlp_updates.size(), 6U);
  EXPECT_EQ(read.sequences, 2);
  EXPECT_EQ(read.tokens, 20);
  EXPECT_EQ(read.calibration_digest, "abc");
  for (std::size_t i = 0; i < scores.states.size(); ++i) {
    EXPECT_EQ(read.states[i].mean, scores.states[i].mean);
    EXPECT_EQ(read.states[i].largest_over_median, scores.states[i].largest_over_median);
  }
}

TEST(ScoresJson, RefusesWhatItDidNotWrite) {
  const Json good = to_json(test::scores_with(6, 1, {}));
  Json bad = good;
  bad["version"] = 1;
  EXPECT_ERROR(scores_from_json(bad, "s.json"), format, "s.json: scores of version 1; this reads 2");
  bad = good;
  bad["cosine"][3].erase(0);
  EXPECT_ERROR(scores_from_json(bad, "s.json"), format, "'cosine' must be 7 rows of 7 numbers");
  bad = good;
  bad["states"].erase(0);
  EXPECT_ERROR(scores_from_json(bad, "s.json"), format, "'states' must have 7 entries");
  bad = good;
  bad["updates"]["mlp"] = {nullptr};
  EXPECT_ERROR(scores_from_json(bad, "s.json"), format, "'mlp' must have no entry or 6");
  bad = good;
  bad["layers"] = 1'000'000'000;
  EXPECT_ERROR(scores_from_json(bad, "s.json"), format, "1000000000 layers");
}

TEST(ScoresJson, TellsOfEachLengthHowFarTheBestIsAhead) {
  const Json json = to_json(test::scores_with(4, 2, {0.25, 0.75, 0.5}));
  const Json& pairs = json.at("windows").at(1);
  EXPECT_EQ(pairs.at("count"), 2);
  EXPECT_DOUBLE_EQ(pairs.at("margin").get<double>(), 0.25);
  EXPECT_EQ(pairs.at("best_first").at(0).at("start"), 1);
  EXPECT_EQ(pairs.at("best_first").at(0).at("last"), 2);
  EXPECT_FALSE(json.at("windows").at(3).contains("margin"));  // one window only
}

}  // namespace
}  // namespace streamline
