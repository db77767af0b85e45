// SPDX-License-Identifier: Apache-2.0
// What searches keep of what their candidates share: in memory, in a file or not at all, the answers are the same bits.
#include "streamline/prune/prefix_states.h"

#include <limits>

#include "prune/method_fixture.h"
#include "streamline/prune/half_losses.h"
#include "streamline/prune/rescoring.h"
#include "support/core/scratch_goes_to.h"
#include "support/core/temporary_directory.h"

namespace streamline {
namespace {

using test::pico_model, test::random_tokens;

constexpr std::uint64_t kPlenty = std::numeric_limits<std::int64_t>::max();
const PrefixLimits kInMemory{.memory = kPlenty, .file = 0}, kInFile{.memory = 0, .file = kPlenty},
    kNowhere{.memory = 0, .file = 0};

class Prefixes : public testing::Test {
 protected:
  // Of a batch of 2 sequences of 12 tokens.
  std::uint64_t state() const { return state_bytes(model, {.sequences = 2, .tokens = 12}); }
  // So few states that some are computed anew, in a file.
  PrefixLimits some() const { return {.memory = 0, .file = 3 * state()}; }

  // Nothing may have a name there, at any time.
  void TearDown() override { EXPECT_TRUE(std::filesystem::is_empty(directory.path())); }

  test::TemporaryDirectory directory;
  test::ScratchGoesTo there{directory.path()};
  Model model = pico_model(test::tiny_llama(), 1, {}, {}, 0.3);
  TokenBatches text = random_tokens(6, 12, 3);
};

TEST_F(Prefixes, AreWhatWasPut) {
  for (const PrefixLimits& limits : {kInMemory, kInFile}) {
    PrefixStates states(model, 4, limits);
    states.begin({{.sequences = 2, .tokens = 12}, {}, {.sequences = 1, .tokens = 5}});
    EXPECT_EQ(states.in_file(), limits.file > 0);
    std::vector<torch::Tensor> put;
    for (const std::size_t batch : {0U, 2U})
      for (std::size_t part = 0; part < 4; ++part) {
        put.push_back(batch == 0 ? torch::randn({2, 12, model.config().hidden})
                                 : torch::randn({1, 5, model.config().hidden}));
        states.put(batch, part, put.back());
      }
    for (const std::size_t batch : {0U, 2U}) {
      for (std::size_t part = 1; part < 4; ++part) {
        EXPECT_EQ(states.nearest(part), part);
        EXPECT_TRUE(states.get(batch, part).equal(put[(batch == 0 ? 0 : 4) + part]));
      }
      states.rest(batch);
      EXPECT_TRUE(states.get(batch, 3).equal(put[(batch == 0 ? 0 : 4) + 3]));
    }
    EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
  }
}

TEST_F(Prefixes, AreEvenlySpacedWhereNotAllFit) {
  const auto kept = [&](const PrefixLimits& limits) {
    PrefixStates states(model, 9, limits);
    states.begin({{.sequences = 2, .tokens = 12}});
    std::vector<std::size_t> parts;
    for (std::size_t part = 1; part < 9; ++part)
      if (states.nearest(part) == part) parts.push_back(part);
    return std::pair(parts, states.in_file());
  };
  using Parts = std::vector<std::size_t>;
  const std::uint64_t one = state();
  EXPECT_EQ(kept({.memory = 8 * one, .file = 0}), std::pair(Parts({1, 2, 3, 4, 5, 6, 7, 8}), false));
  EXPECT_EQ(kept({.memory = 8 * one - 1, .file = 8 * one}), std::pair(Parts({1, 2, 3, 4, 5, 6, 7, 8}), true));
  EXPECT_EQ(kept({.memory = one, .file = 8 * one - 1}), std::pair(Parts({2, 4, 6, 8}), true));
  EXPECT_EQ(kept({.memory = 3 * one, .file = one}), std::pair(Parts({3, 6}), false));  // what holds more of the two
  EXPECT_EQ(kept({.memory = 0, .file = one}), std::pair(Parts({5}), true));
  EXPECT_EQ(kept(kNowhere), std::pair(Parts(), false));
}

TEST_F(Prefixes, WithoutADirectoryForTheFileAreComputedAnew) {
  const test::ScratchGoesTo nowhere("/nowhere");
  PrefixStates states(model, 4, kInFile);
  states.begin({{.sequences = 2, .tokens = 12}});
  EXPECT_FALSE(states.in_file());
  EXPECT_EQ(states.nearest(3), 0U);
}

TEST_F(Prefixes, OfHalvesGiveTheSameLosses) {
  text.sequences[1].resize(7);  // batches of two shapes
  const std::vector<Half> all = all_halves(model);
  const auto losses = [&](const PrefixLimits& limits) {
    HalfCounter counter;
    const HalfLosses found =
        half_losses(model, all, all, text, {.batch_tokens = 24, .label = {}, .prefixes = limits}, counter);
    return std::tuple(found.whole, found.without, counter.halves);
  };
  const auto [whole, without, halves] = losses(kInMemory);
  EXPECT_EQ(losses(kInFile), std::tuple(whole, without, halves));
  for (const PrefixLimits& limits : {some(), kNowhere}) {
    const auto [other_whole, other_without, more] = losses(limits);
    EXPECT_EQ(other_whole, whole);
    EXPECT_EQ(other_without, without);
    EXPECT_GT(more, halves);
  }
}

TEST_F(Prefixes, OfSetsGiveTheSameValues) {
  const std::vector<StackPart> stack = half_parts(model);
  const auto batches = text_batches(model, text, 24);
  Rng rng(5);
  std::vector<PartSet> sets(12, PartSet(stack.size()));
  for (PartSet& set : sets)
    for (std::size_t i = 0; i < set.size(); ++i) set[i] = rng.below(3) > 0;
  sets.push_back(sets.front());
  sets.emplace_back(stack.size(), false);
  for (const TextMeasure measure : {TextMeasure::loss, TextMeasure::kl, TextMeasure::logits}) {
    const auto values = [&](const PrefixLimits& limits) {
      PartCounter counter;
      const auto found =
          part_set_values(model, stack, sets, batches, {.measure = measure, .label = {}, .prefixes = limits}, counter);
      return std::pair(found, counter.parts);
    };
    const auto [kept, parts] = values(kInMemory);
    EXPECT_EQ(values(kInFile), std::pair(kept, parts));
    for (const PrefixLimits& limits : {some(), kNowhere}) {
      const auto [anew, more] = values(limits);
      EXPECT_EQ(anew, kept);
      EXPECT_GT(more, parts);
    }
  }
}

TEST_F(Prefixes, OfRescoredTextGiveTheSameScores) {
  const std::vector<StackPart> stack = half_parts(model);
  const auto scores = [&](const PrefixLimits& limits) {
    PartCounter counter;
    Rescoring scored(model, stack, text, {.batch_tokens = 24, .prefixes = limits}, counter);
    PartSet parts(stack.size(), true);
    std::vector<double> found;
    for (const std::size_t gone : {7U, 3U, 10U, 2U}) {
      parts[gone] = false;
      scored.run(parts);
      for (std::size_t i = 0; i < stack.size(); ++i) {
        found.push_back(scored.update(i).cosine);
        found.push_back(scored.update(i).l2);
      }
    }
    return std::pair(found, counter.parts);
  };
  const auto [kept, parts] = scores(kInMemory);
  EXPECT_EQ(scores(kInFile), std::pair(kept, parts));
  for (const PrefixLimits& limits : {PrefixLimits{.memory = 0, .file = 9 * state()}, kNowhere}) {  // three batches
    const auto [anew, more] = scores(limits);
    EXPECT_EQ(anew, kept);
    EXPECT_GT(more, parts);
  }
}

class SearchInAFile : public Prefixes, public testing::WithParamInterface<const char*> {};

TEST_P(SearchInAFile, ChoosesTheSame) {
  const Method& method = find_method(GetParam());
  EXPECT_TRUE(method.keeps_prefixes);
  const auto choice = [&](const PrefixLimits& limits) {
    PruneContext context{
        .model = model, .calibration = text, .seed = 4, .sweep = {.batch_tokens = 24}, .prefixes = limits};
    Json plan = to_json(method.propose(context, resolve_params(method.params, {{"layers", 3}}, "test")).plan);
    for (const char* count : {"parts_executed", "halves_executed"}) plan.at("scores").erase(count);
    return plan;
  };
  const Json kept = choice(kInMemory);
  for (const PrefixLimits& limits : {kInFile, some(), kNowhere}) EXPECT_EQ(choice(limits), kept);
}

INSTANTIATE_TEST_SUITE_P(Methods, SearchInAFile, testing::Values("blockpruner", "beam", "evolve", "iterative"));

}  // namespace
}  // namespace streamline
