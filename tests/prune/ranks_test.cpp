// SPDX-License-Identifier: Apache-2.0
// What methods choose in ranks that share the text is what they choose in one process.
#include "heal/pico.h"
#include "streamline/prune/method.h"
#include "support/torch/rank_threads.h"

namespace streamline {
namespace {

using test::pico_model;
using test::random_tokens;

void expect_same_plan(const Json& a, const Json& b, const std::string& where) {
  if (a.is_structured()) {
    ASSERT_EQ(a.size(), b.size()) << where;
    for (const auto& [key, value] : a.items())
      expect_same_plan(value, a.is_object() ? b.at(key) : b.at(std::stoul(key)), where + "/" + key);
  } else if (a.is_number_float()) {
    EXPECT_NEAR(a.get<double>(), b.get<double>(), 1e-9) << where;
  } else {
    EXPECT_EQ(a, b) << where;
  }
}

Json proposed_plan(const Method& method, const Json& given, const Placement& placement) {
  const Model model = pico_model(test::tiny_llama(), 1, {}, placement);
  const TokenBatches text = random_tokens(5, 12, 3);
  PruneContext context{.model = model, .calibration = text};
  context.sweep.batch_tokens = 24;
  return to_json(method.propose(context, resolve_params(method.params, given, "test")).plan);
}

class MethodInRanks : public testing::TestWithParam<const Method*> {};

TEST_P(MethodInRanks, ChoosesWhatOneProcessDoes) {
  const Method& method = *GetParam();
  const Json alone = proposed_plan(method, {{"layers", 2}}, {});
  test::in_ranks(2, [&](const Ranks& ranks) {
    expect_same_plan(proposed_plan(method, {{"layers", 2}}, {.ranks = ranks}), alone, std::string(method.name));
    ranks.finish(0);
  });
}

TEST(MethodsInRanks, GiveUpHopelessCandidatesWithoutAnotherChoice) {
  const Method& method = find_method("blockpruner");
  const Json alone = proposed_plan(method, {{"layers", 2}}, {});
  test::in_ranks(3, [&](const Ranks& ranks) {
    const Json early = proposed_plan(method, {{"layers", 2}, {"early-stop", true}}, {.ranks = ranks});
    EXPECT_EQ(early.at("segments"), alone.at("segments"));
    ranks.finish(0);
  });
}

std::vector<const Method*> methods_in_ranks() {
  std::vector<const Method*> able;
  for (const Method* method : methods())
    if (method->in_ranks) able.push_back(method);
  return able;
}

INSTANTIATE_TEST_SUITE_P(All, MethodInRanks, testing::ValuesIn(methods_in_ranks()), [](const auto& info) {
  std::string name(info.param->name);
  std::ranges::replace(name, '-', '_');
  return name;
});

}  // namespace
}  // namespace streamline
