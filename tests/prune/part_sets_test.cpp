// SPDX-License-Identifier: Apache-2.0
// Many models with some of the parts of one: each value is that of the model by itself, and beginnings are shared.
#include "streamline/prune/part_sets.h"

#include <set>

#include "prune/method_fixture.h"
#include "streamline/prune/unit_search.h"

namespace streamline {
namespace {

using test::pico_model, test::random_tokens;

std::vector<PartSet> random_sets(std::size_t parts, std::size_t count, std::uint64_t seed) {
  Rng rng(seed);
  std::vector<PartSet> sets(count, PartSet(parts));
  for (PartSet& set : sets)
    for (std::size_t i = 0; i < parts; ++i) set[i] = rng.below(4) > 0;
  return sets;
}

// One set by itself, as the plan's view computes it.
double loss_by_view(const Model& model, const std::vector<StackPart>& stack, const PartSet& set,
                    const TokenBatches& text) {
  std::vector<StackPart> out;
  for (std::size_t i = 0; i < stack.size(); ++i)
    if (!set[i]) out.push_back(stack[i]);
  const Model view = model.view(plan_without(model.config(), out), {});
  double sum = 0;
  for (const auto& sequence : text.sequences) {
    const auto ids = torch::tensor(std::vector<std::int64_t>(sequence.begin(), sequence.end()));
    const auto logits = forward_logits(view, ids.slice(0, 0, -1).unsqueeze(0)).squeeze(0).to(torch::kDouble);
    sum -= logits.log_softmax(-1).gather(1, ids.slice(0, 1).unsqueeze(1)).mean().item<double>();
  }
  return sum / static_cast<double>(text.sequences.size());
}

TEST(PartSets, AreWorthWhatTheirViewsAre) {
  const Model model = pico_model(test::tiny_llama(), 1);
  const TokenBatches text = random_tokens(3, 12, 3);
  for (const auto& stack : {half_parts(model), layer_parts(model)}) {
    const std::vector<PartSet> sets = random_sets(stack.size(), 9, 5);
    PartCounter counter;
    const auto values = part_set_values(model, stack, sets, text_batches(model, text, 24), {}, counter);
    for (std::size_t i = 0; i < sets.size(); ++i)
      EXPECT_NEAR(values[i], loss_by_view(model, stack, sets[i], text), 1e-5) << i;
  }
}

// Each distinct beginning once: the nodes of the tree.
TEST(PartSets, ExecuteEveryDistinctBeginningOnce) {
  const Model model = pico_model(test::tiny_llama(), 1);
  const std::vector<StackPart> stack = half_parts(model);
  const std::vector<PartSet> sets = random_sets(stack.size(), 7, 8);
  std::set<std::vector<bool>> beginnings;
  for (const PartSet& set : sets)
    for (std::size_t i = 0; i < set.size(); ++i)
      if (set[i]) beginnings.insert({set.begin(), set.begin() + static_cast<std::ptrdiff_t>(i) + 1});
  PartCounter counter;
  const TokenBatches text = random_tokens(2, 8, 3);
  part_set_values(model, stack, sets, text_batches(model, text, 8), {}, counter);
  EXPECT_EQ(counter.parts, 2 * std::ssize(beginnings));
  EXPECT_EQ(counter.evaluations, 2 * std::ssize(sets));
}

TEST(PartSets, DoNotDependOnEachOtherOrOnTheirOrder) {
  const Model model = pico_model(test::tiny_llama(), 1);
  const std::vector<StackPart> stack = half_parts(model);
  std::vector<PartSet> sets = random_sets(stack.size(), 6, 2);
  sets.push_back(sets.front());
  const auto text = text_batches(model, random_tokens(2, 8, 3), 8);
  for (const TextMeasure measure : {TextMeasure::loss, TextMeasure::kl}) {
    PartCounter counter;
    const auto all = part_set_values(model, stack, sets, text, {.measure = measure}, counter);
    EXPECT_EQ(all.front(), all.back());
    for (std::size_t i = 0; i < sets.size(); ++i)
      EXPECT_EQ(part_set_values(model, stack, std::span(&sets[i], 1), text, {.measure = measure}, counter)[0], all[i]);
  }
}

TEST(PartSets, OfTheWholeModelDifferFromItByNothing) {
  const Model model = pico_model(test::tiny_llama(), 1);
  const std::vector<StackPart> stack = layer_parts(model);
  const PartSet whole(stack.size(), true);
  PartCounter counter;
  const auto text = text_batches(model, random_tokens(2, 8, 3), 0);
  EXPECT_NEAR(part_set_values(model, stack, std::span(&whole, 1), text, {.measure = TextMeasure::kl}, counter)[0], 0,
              1e-7);                                // differences of float32 logits
  EXPECT_EQ(counter.parts, 2 * std::ssize(stack));  // the model it is compared with is its own beginning
}

}  // namespace
}  // namespace streamline
