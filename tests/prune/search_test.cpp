// SPDX-License-Identifier: Apache-2.0
// The searches of several rounds: against brute force, against each other, and resumed where they were.
#include <filesystem>
#include <set>

#include "prune/method_fixture.h"
#include "streamline/base/file.h"
#include "streamline/prune/rescoring.h"
#include "streamline/prune/unit_search.h"
#include "support/core/temporary_directory.h"

namespace streamline {
namespace {

using test::pico_model, test::random_tokens;

class Search : public testing::Test {
 protected:
  Proposal propose(const std::string& name, const Json& given, SearchMemory* memory = nullptr) const {
    const Method& method = find_method(name);
    PruneContext context{.model = model, .calibration = calibration, .seed = seed, .memory = memory};
    return method.propose(context, resolve_params(method.params, given, "test"));
  }
  std::string plan(const std::string& name, const Json& given) const { return summary(propose(name, given).plan); }

  double value(const Plan& plan, TextMeasure measure = TextMeasure::loss) const {
    const std::vector<StackPart> stack = half_parts(model);
    PartSet set(stack.size(), true);
    for (std::size_t i = 0; i < stack.size(); ++i)
      for (const Segment& segment : plan.segments)
        if (segment.first <= stack[i].layer && stack[i].layer <= segment.last)
          set[i] = segment.action == Action::keep ||
                   segment.action == (stack[i].attention ? Action::drop_mlp : Action::drop_attention);
    PartCounter counter;
    return part_set_values(model, stack, std::span(&set, 1), text_batches(model, calibration, 0), {.measure = measure},
                           counter)[0];
  }

  // The lowest value of all cuts of so many layers.
  double best_of_all(std::int64_t layers, TextMeasure measure) const {
    double best = std::numeric_limits<double>::infinity();
    std::vector<bool> out(static_cast<std::size_t>(model.layer_count()));
    std::fill(out.end() - layers, out.end(), true);
    do {
      std::vector<std::int64_t> dropped;
      for (std::size_t i = 0; i < out.size(); ++i)
        if (out[i]) dropped.push_back(static_cast<std::int64_t>(i));
      best = std::min(best, value(drop_layers(model.layer_count(), dropped), measure));
    } while (std::next_permutation(out.begin(), out.end()));
    return best;
  }

  Model model = pico_model(test::tiny_llama(), 1, {}, {}, 0.3);
  TokenBatches calibration = random_tokens(8, 12, 3);
  std::uint64_t seed = 0;
};

TEST_F(Search, ABeamOfWidthOneIsBlockPruner) {
  for (const int halves : {1, 3, 5}) {
    const Json given = {{"halves", halves}, {"units", "both"}, {"width", 1}};
    EXPECT_EQ(plan("beam", given), plan("blockpruner", {{"halves", halves}}));
  }
  EXPECT_EQ(plan("beam", {{"sparsity", 0.1}, {"units", "both"}, {"width", 1}}),
            plan("blockpruner", {{"sparsity", 0.1}}));
}

TEST_F(Search, AWideBeamFindsTheBestOfAllSets) {
  for (const auto& [name, measure] : {std::pair("loss", TextMeasure::loss), std::pair("kl", TextMeasure::kl)}) {
    const Plan found = propose("beam", {{"layers", 3}, {"width", 1000}, {"measure", name}}).plan;
    EXPECT_NEAR(value(found, measure), best_of_all(3, measure), 1e-6) << name;
  }
}

TEST_F(Search, AWiderBeamIsNotWorse) {
  const auto at = [&](int width) {
    return value(propose("beam", {{"halves", 4}, {"units", "both"}, {"width", width}}).plan);
  };
  EXPECT_LE(at(3), at(1) + 1e-6);
  EXPECT_LE(at(1000), at(3) + 1e-6);
}

TEST_F(Search, IterativeTakesFirstWhatTheOneSweepMethodTakes) {
  EXPECT_EQ(plan("iterative", {{"layers", 1}}), plan("shortgpt", {{"layers", 1}}));
  EXPECT_EQ(plan("iterative", {{"halves", 1}, {"units", "both"}}), plan("joint-drop", {{"halves", 1}}));
  EXPECT_EQ(plan("iterative", {{"layers", 1}, {"score", "relative-l2"}}), plan("depth-metrics", {{"layers", 1}}));
}

TEST_F(Search, IterativeLeavesBosOutAsTheSweepDoes) {
  calibration.skip_first = 1;
  const Scores scores = score_layers(model, calibration, {});
  const std::vector<StackPart> stack = layer_parts(model);
  PartCounter counter;
  Rescoring rescoring(model, stack, calibration, {}, counter);
  rescoring.run(PartSet(stack.size(), true));
  for (std::size_t layer = 0; layer < stack.size(); ++layer)
    for (const auto& [name, value] : kUpdateFields) {
      const double expected = scores.layer_updates[layer].*value;
      EXPECT_NEAR(rescoring.update(layer).*value, expected, 1e-6 * std::abs(expected)) << name << ' ' << layer;
    }
  for (const char* score : {"l1", "relative-l2"})
    EXPECT_EQ(plan("iterative", {{"layers", 1}, {"score", score}}),
              plan("depth-metrics", {{"layers", 1}, {"metric", score}}));
}

TEST_F(Search, IterativeRemembersWhatItHasExecuted) {
  const test::TemporaryDirectory folder;
  const auto executed = [&](int layers) {
    SearchMemory memory(folder.path() / "search.json");  // a new run of the program each time
    return propose("iterative", {{"layers", layers}}, &memory).plan.scores.at("parts_executed").get<std::int64_t>();
  };
  const std::int64_t first = executed(2);
  EXPECT_GT(first, 0);
  EXPECT_EQ(executed(2), first);
  EXPECT_GT(executed(3), first);
}

TEST_F(Search, WhatNoSizeChangesIsMadeOnce) {
  SearchMemory memory;
  PruneContext context{.model = model, .calibration = calibration, .memory = &memory};
  int times = 0;
  const auto made = [&](const char* units, const Json& layers, const Json& cut, const Json& protect) {
    const Json params = {{"units", units}, {"layers", layers}, {"cut", cut}, {"protect", protect}};
    return made_once(context, "a method", params, [&] { return Json(++times); }).get<int>();
  };
  EXPECT_EQ(made("mlp", 2, nullptr, Json::array()), 1);
  EXPECT_EQ(made("mlp", nullptr, 3, {0}), 1);
  EXPECT_EQ(made("both", 2, nullptr, Json::array()), 2);
  context.memory = nullptr;
  EXPECT_EQ(made("mlp", 2, nullptr, Json::array()), 3);
}

TEST_F(Search, MeasuresOfEveryUnitServeAllSizes) {
  const Scores scores = score_layers(model, calibration, {});
  for (const char* name : {"leave-one-out", "shapley"}) {
    TokenBatches text = calibration;
    SearchMemory memory;
    PruneContext context{.model = model, .calibration = text, .scores = &scores, .memory = &memory};
    const Method& method = find_method(name);
    const auto found = [&](const Json& given) {
      return method.propose(context, resolve_params(method.params, given, "test")).plan;
    };
    const Plan first = found({{"layers", 2}});
    EXPECT_EQ(to_json(first), to_json(propose(name, {{"layers", 2}}).plan)) << name;
    text.sequences.clear();  // whoever reads it again fails
    const Plan second = found({{"cut", 3}, {"protect", {0}}});
    EXPECT_EQ(second.scores.at("estimates"), first.scores.at("estimates")) << name;
    EXPECT_EQ(test::dropped(second).size(), 3U) << name;
    EXPECT_ERROR(found({{"layers", 2}, {"units", "mlp"}}), resource, "no sequence of two tokens or more");
  }
}

// By definition: the view of each round is swept anew by the one-shot method, and its layers are those still there.
TEST_F(Search, IterativeIsTheOneSweepMethodOnWhatIsLeft) {
  std::vector<std::int64_t> left = {0, 1, 2, 3, 4, 5};
  for (std::int64_t round = 1; round <= 4; ++round) {
    std::vector<std::int64_t> gone;
    for (std::int64_t layer = 0; layer < 6; ++layer)
      if (std::ranges::find(left, layer) == left.end()) gone.push_back(layer);
    const Model view = gone.empty() ? model : model.view(drop_layers(6, gone), {});
    const Scores scores = score_layers(view, calibration, {});
    std::size_t least = 0;
    for (std::size_t i = 0; i < left.size(); ++i)
      if (scores.block_influence(static_cast<std::int64_t>(i)) <
          scores.block_influence(static_cast<std::int64_t>(least)))
        least = i;
    left.erase(left.begin() + static_cast<std::ptrdiff_t>(least));
    const std::vector<std::int64_t> dropped = test::dropped(propose("iterative", {{"layers", round}}).plan);
    EXPECT_EQ(dropped.size(), static_cast<std::size_t>(round));
    for (const std::int64_t layer : dropped) EXPECT_EQ(std::ranges::count(left, layer), 0) << layer;
  }
}

TEST_F(Search, RescoringKeepsWhatLiesBeforeTheChange) {
  const std::vector<StackPart> stack = layer_parts(model);
  PartCounter whole, limited;
  Rescoring all(model, stack, calibration, {}, whole),
      some(model, stack, calibration, {.prefixes = {.memory = 1, .file = 0}}, limited);
  PartSet parts(stack.size(), true);
  for (const std::size_t gone : {6U, 4U, 1U}) {
    if (gone < parts.size()) parts[gone] = false;
    all.run(parts);
    some.run(parts);
    for (std::size_t i = 0; i < stack.size(); ++i) {
      EXPECT_EQ(all.update(i).cosine, some.update(i).cosine);
      EXPECT_EQ(all.update(i).angle, some.update(i).angle);
    }
  }
  EXPECT_EQ(whole.parts, 8 * (6 + 1 + 3));    // all; behind 4: 5; behind 1: 2, 3, 5
  EXPECT_EQ(limited.parts, 8 * (6 + 5 + 4));  // from the beginning each time
}

TEST_F(Search, EvolveKeepsItsBudgetAndNeverGetsWorse) {
  const Json given = {{"halves", 5}, {"units", "both"}, {"generations", 6}, {"offspring", 5}};
  const Plan found = propose("evolve", given).plan;
  std::int64_t attention = 0, mlp = 0;
  for (const Segment& segment : found.segments) {
    if (segment.action == Action::drop || segment.action == Action::drop_attention) attention += segment.count();
    if (segment.action == Action::drop || segment.action == Action::drop_mlp) mlp += segment.count();
  }
  EXPECT_EQ(attention, 3);
  EXPECT_EQ(mlp, 2);
  const auto values = found.scores.at("best_of_generations").get<std::vector<double>>();
  EXPECT_EQ(values.size(), 7U);
  EXPECT_TRUE(std::ranges::is_sorted(values, std::greater<>()));
  EXPECT_NEAR(values.back(), value(found, TextMeasure::kl), 1e-6);
}

TEST_F(Search, EvolveFindsTheBestOfFewSets) {
  const Plan found =
      propose("evolve", {{"layers", 2}, {"generations", 20}, {"measure", "loss"}, {"offspring", 12}, {"survivors", 12}})
          .plan;
  EXPECT_NEAR(value(found), best_of_all(2, TextMeasure::loss), 1e-6);
}

TEST_F(Search, ProtectedLayersStay) {
  for (const char* method : {"iterative", "beam", "evolve"}) {
    const Json given = {{"layers", 4}, {"protect", {0, 5}}};
    EXPECT_EQ(plan(method, given), "dropped layers 1..4 (of 6)") << method;
    EXPECT_ERROR(propose(method, {{"layers", 5}, {"protect", {0, 5}}}), usage, "1 to 4 can go");
    EXPECT_ERROR(propose(method, {{"layers", 1}, {"protect", {0, 1, 2, 3, 4, 5}}}), usage, "protect fewer layers");
    EXPECT_ERROR(propose(method, {{"layers", 2}, {"protect", {6}}}), usage, "layers 0..5");
  }
}

TEST_F(Search, BadSizesAreSaid) {
  for (const char* method : {"iterative", "beam", "evolve"}) {
    EXPECT_ERROR(propose(method, {{"layers", 6}}), usage, "1 to 5 can go");
    EXPECT_ERROR(propose(method, {{"halves", 12}, {"units", "both"}}), usage, "1 to 11 can go");
    EXPECT_ERROR(propose(method, {{"halves", 2}}), usage, "--units layers");
    EXPECT_ERROR(propose(method, Json::object()), usage, "exactly one of");
    EXPECT_ERROR(propose(method, {{"sparsity", 1e-6}}), usage, "nothing would be taken out");
    EXPECT_ERROR(propose(method, {{"layers", 1}, {"units", "thirds"}}), usage, "layers, attention, mlp");
  }
}

TEST_F(Search, NormsToDivideByAreOfRelativeScores) {
  EXPECT_ERROR(propose("iterative", {{"layers", 1}, {"relative-to", "in"}}), usage,
               "--relative-to goes with --score relative-l1 or relative-l2");
}

class ResumedSearch : public Search, public testing::WithParamInterface<const char*> {};

// A search that is stopped after any round comes to what it would have come to; a longer one goes on from a shorter.
TEST_P(ResumedSearch, ComesToTheSame) {
  const std::string method = GetParam();
  const test::TemporaryDirectory folder;
  const std::filesystem::path file = folder.path() / "search.json";
  const bool evolves = method == "evolve";
  const auto given = [&](int rounds) {
    return evolves ? Json{{"layers", 2}, {"generations", rounds}, {"offspring", 4}} : Json{{"layers", rounds}};
  };
  const Proposal uninterrupted = propose(method, given(4));
  for (const int rounds : {2, 4}) {
    SearchMemory memory(file);  // a new run of the program each time
    const Proposal found = propose(method, given(rounds), &memory);
    if (rounds == 4) {
      EXPECT_EQ(to_json(found.plan).at("segments"), to_json(uninterrupted.plan).at("segments"));
      Json with = found.plan.scores, without = uninterrupted.plan.scores;
      for (Json* scores : {&with, &without})
        if (method == "iterative") scores->erase("parts_executed");  // what is left is computed once more
      EXPECT_EQ(with, without);
    }
  }
  SearchMemory again(file);
  EXPECT_EQ(to_json(propose(method, given(2), &again).plan).at("segments"),
            to_json(propose(method, given(2)).plan).at("segments"));
}

TEST_P(ResumedSearch, RefusesTheStateOfAnotherAndBrokenOnes) {
  const std::string method = GetParam();
  const test::TemporaryDirectory folder;
  const std::filesystem::path file = folder.path() / "search.json";
  const Json given = method == "evolve" ? Json{{"layers", 2}, {"generations", 1}} : Json{{"layers", 2}};
  {
    SearchMemory memory(file);
    propose(method, given, &memory);
  }
  Json other = given;
  other["protect"] = {0};
  SearchMemory memory(file);
  EXPECT_ERROR(propose(method, other, &memory), format, "the state of another search");
  Json state = parse_json(read_text(file), "state");
  Json broken = state;
  broken["state"].erase(method == "evolve" ? "parents" : "rounds");
  write_text(file, broken.dump());
  SearchMemory second(file);
  EXPECT_ERROR(propose(method, given, &second), format, "broken");
  broken = state;
  Json& first = broken["state"][method == "evolve" ? "parents" : "rounds"][0];
  if (method == "beam")
    first[0]["out"] = {99};
  else if (method == "evolve")
    first["out"] = {0, 99};
  else
    first[method == "iterative" ? "unit" : "layer"] = 99;
  write_text(file, broken.dump());
  SearchMemory third(file);
  EXPECT_ERROR(propose(method, given, &third), format, "broken");
  write_text(file, "[]");
  SearchMemory fourth(file);
  EXPECT_ERROR(propose(method, given, &fourth), format, "is not the state of a search");
}

INSTANTIATE_TEST_SUITE_P(Methods, ResumedSearch, testing::Values("iterative", "beam", "evolve", "blockpruner"));

}  // namespace
}  // namespace streamline
