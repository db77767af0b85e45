// SPDX-License-Identifier: Apache-2.0
// Budgets: what is found meets them, and no smaller cut does.
#include "streamline/prune/budget.h"

#include "prune/method_fixture.h"

namespace streamline {
namespace {

class BudgetSearch : public testing::Test {
 protected:
  BudgetTrial trial(const std::string& name) const {
    return {.propose =
                [this, name](const Json& params) {
                  const Method& method = find_method(name);
                  PruneContext context{.model = model, .calibration = calibration};
                  return method.propose(context, resolve_params(method.params, params, "test"));
                },
            .view = [this](const Proposal& proposal) { return model.view(proposal.plan, proposal.replacements); }};
  }
  WithinBudget search(const std::string& name, const std::string& budgets, const Json& params = Json::object()) const {
    return smallest_cut(find_method(name), params, model, parse_budgets(budgets), trial(name));
  }

  Model model = test::pico_model(test::tiny_llama(), 1);
  TokenBatches calibration = test::random_tokens(2, 12, 3);
};

struct Case {
  std::string method;
  Json params = Json::object();
};

TEST_F(BudgetSearch, FindsTheSmallestCutThatMeetsIt) {
  const std::vector<Case> cases = {{"shortgpt"},
                                   {"llm-streamline"},
                                   {"angular"},
                                   {"deepest"},
                                   {"joint-drop"},
                                   {"blockpruner"},
                                   {"laco"},
                                   {"iterative"},
                                   {"beam", {{"units", "both"}}},
                                   {"leave-one-out", {{"units", "both"}}}};
  for (const auto& [method, given] : cases) {
    Json params = Json::object();
    for (const auto& [key, value] : given.items())
      for (const Param& param : find_method(method).params)
        if (param.name == key) params[key] = value;
    for (const char* budget : {"params=0.8x", "bytes=900KB", "params=0.75x,bytes=0.9x"}) {
      const WithinBudget found = search(method, budget, params);
      for (const BudgetFigure& figure : found.figures) EXPECT_TRUE(figure.is_met()) << method << ' ' << budget;
      if (found.size == 1) continue;
      Json less = params;
      less[found.size_name] = found.size - 1;
      const Model larger = trial(method).view(trial(method).propose(less));
      const bool all_met = std::ranges::all_of(found.figures, [&](const BudgetFigure& figure) {
        return amount_of(larger, figure.budget.what) <= figure.limit();
      });
      EXPECT_FALSE(all_met) << method << ' ' << budget << " --" << found.size_name << ' ' << found.size;
    }
  }
}

// 6 layers of 2 KV heads of 16: 2 * 2 * 16 values of 2 bytes a layer; half of them need 3 attentions gone.
TEST_F(BudgetSearch, CountsTheCacheOfAttentionsAlone) {
  EXPECT_EQ(amount_of(model, BudgetOf::kv_cache), 6 * 2 * 2 * 16 * 2);
  const WithinBudget found = search("attention-drop", "kv-cache=0.5x");
  EXPECT_EQ(found.size_name, "halves");
  EXPECT_EQ(found.size, 3);
  EXPECT_EQ(found.figures.front().amount, 3 * 2 * 2 * 16 * 2);
  EXPECT_EQ(search("shortgpt", "kv-cache=513").size, 2);  // 4 layers of 128 bytes
  EXPECT_EQ(search("shortgpt", "kv-cache=512").size, 2);
  EXPECT_EQ(search("shortgpt", "kv-cache=511").size, 3);
}

TEST_F(BudgetSearch, SaysTheClosestWhereItCannotBeMet) {
  EXPECT_ERROR(search("mlp-drop", "kv-cache=0.9x"), usage, "mlp-drop cannot meet it; the closest is --halves 6 with");
  EXPECT_ERROR(search("shortgpt", "params=0.01x"), usage, "shortgpt cannot meet it; the closest is --cut 5 with");
  EXPECT_ERROR(search("shortgpt", "params=0.5x", {{"protect", {0, 1, 2, 3}}}), usage, "the closest is --cut 2");
  EXPECT_ERROR(search("shortgpt", "params=0.8x", {{"layers", 2}}), usage, "so does --layers");
  EXPECT_ERROR(search("shortgpt", "params=0.8x", {{"protect", {0, 1, 2, 3, 4, 5}}}), usage, "");
}

// Any machine prefills 128 tokens and decodes 16 of this model within a quarter of an hour, and none in a nanosecond.
TEST_F(BudgetSearch, MeasuresLatencyHere) {
  const WithinBudget found = search("shortgpt", "latency=900");
  EXPECT_EQ(found.size, 1);
  EXPECT_GT(found.figures.front().source, 0);
  EXPECT_ERROR(search("shortgpt", "latency=1e-9"), usage, "the closest is --cut 5");
}

TEST(Budgets, OfTimeAreMeasured) {
  EXPECT_TRUE(any_measured(parse_budgets("params=0.8x,latency=0.9x")));
  EXPECT_FALSE(any_measured(parse_budgets("params=0.8x,bytes=10MB,kv-cache=0.5x")));
}

TEST(Budgets, ThatAreNoneListWhatExists) {
  for (const char* text : {"", "parameters=0.8x", "params", "0.8x", "params=0.8x,"})
    EXPECT_ERROR(parse_budgets(text), usage, "params=, bytes=, kv-cache= or latency=");
  for (const char* text : {"params=1.2x", "params=0x", "params=x", "latency=nanx"})
    EXPECT_ERROR(parse_budgets(text), usage, "a share lies between 0 and 1");
  EXPECT_ERROR(parse_budgets("params=many"), usage, "neither a share");
  EXPECT_ERROR(parse_budgets("params=M"), usage, "4000000, 4M or 7B");
  EXPECT_ERROR(parse_budgets("latency=2M"), usage, "0.5, in seconds");
  EXPECT_ERROR(parse_budgets("bytes=-4GB"), usage, "is not a size");
}

}  // namespace
}  // namespace streamline
