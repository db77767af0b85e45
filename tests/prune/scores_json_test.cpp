// SPDX-License-Identifier: Apache-2.0
#include "prune/score_samples.h"
#include "support/core/expect.h"

namespace streamline {
namespace {

using test::pico_model;
using test::random_tokens;
using test::tiny_llama;

TEST(ScoresJson, SaysAllThatScoresHold) {
  Scores scores = score_layers(pico_model(tiny_llama(), 9), random_tokens(2, 10, 14), {});
  scores.calibration_digest = "abc";
  const Json json = parse_json(dump_json(to_json(scores)), "scores");
  for (const auto& [name, matrix] : {std::pair("cosine", &scores.cosine),
                                     {"relative_l2", &scores.relative_l2},
                                     {"angular_last", &scores.angular_last},
                                     {"angular_all", &scores.angular_all}}) {
    std::vector<double> values;
    for (const Json& row : json.at(name))
      for (const Json& value : row) values.push_back(value.get<double>());
    EXPECT_EQ(values, *matrix) << name;
  }
  const Json& updates = json.at("updates");
  for (std::size_t layer = 0; layer < 6; ++layer)
    for (const auto& [name, value] : kUpdateFields) {
      EXPECT_EQ(updates.at("layers")[layer].at(name), scores.layer_updates[layer].*value) << name;
      EXPECT_EQ(updates.at("attention")[layer].at(name), (*scores.attention_updates[layer]).*value) << name;
      EXPECT_EQ(updates.at("mlp")[layer].at(name), (*scores.mlp_updates[layer]).*value) << name;
    }
  for (std::size_t i = 0; i < scores.states.size(); ++i) {
    EXPECT_EQ(json.at("states")[i].at("mean_norm"), scores.states[i].mean);
    EXPECT_EQ(json.at("states")[i].at("largest_over_median"), scores.states[i].largest_over_median);
  }
  EXPECT_EQ(json.at("normed_last_cosine"), scores.normed_last_cosine.value());
  EXPECT_EQ(json.at("layers"), 6);
  EXPECT_EQ(json.at("sequences"), 2);
  EXPECT_EQ(json.at("tokens"), 20);
  EXPECT_EQ(json.at("calibration_digest"), "abc");
}

TEST(ScoresJson, HasNothingForHalvesThatCannotGoAlone) {
  Scores scores = test::scores_with(2, 1, {});
  scores.mlp_updates = {UpdateStatistics{.cosine = 0.5}, std::nullopt};
  const Json mlp = to_json(scores).at("updates").at("mlp");
  EXPECT_EQ(mlp[0].at("cosine"), 0.5);
  EXPECT_TRUE(mlp[1].is_null());
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
