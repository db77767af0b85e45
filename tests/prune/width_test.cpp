// SPDX-License-Identifier: Apache-2.0
// Methods that take heads and channels: what is dead by construction goes first, and sizes are what was asked for.
#include "streamline/plan/slice.h"
#include "streamline/prune/allocation.h"
#include "streamline/prune/budget.h"
#include "streamline/prune/inside_gradients.h"
#include "streamline/prune/read_scores.h"
#include "streamline/prune/spectra.h"
#include "streamline/prune/taylor_scores.h"
#include "streamline/prune/width_choice.h"

#include "prune/method_fixture.h"
#include "support/core/temporary_directory.h"
#include "support/torch/reference.h"

namespace streamline::test {
namespace {

constexpr std::int64_t kChannels = 176, kHeadDim = 16;

// The tiny model in which the first group of heads and the first half of the channels of every layer are all zeros.
Model with_dead_units() {
  return pico_model(tiny_llama(3), 5, [](const ExpectedTensor& tensor, std::vector<float>& values) {
    const std::int64_t columns = tensor.shape.size() == 2 ? tensor.shape[1] : 1;
    const auto zero_rows = [&](std::int64_t rows) { std::fill_n(values.begin(), rows * columns, 0.0F); };
    const auto zero_columns = [&](std::int64_t count) {
      for (std::size_t row = 0; row * columns < values.size(); ++row)
        std::fill_n(values.begin() + static_cast<std::ptrdiff_t>(row * columns), count, 0.0F);
    };
    if (tensor.role == Role::q) zero_rows(2 * kHeadDim);
    if (tensor.role == Role::k || tensor.role == Role::v) zero_rows(kHeadDim);
    if (tensor.role == Role::o) zero_columns(2 * kHeadDim);
    if (tensor.role == Role::gate || tensor.role == Role::up) zero_rows(kChannels / 2);
    if (tensor.role == Role::down) zero_columns(kChannels / 2);
  });
}

class WidthMethod : public testing::TestWithParam<const char*> {
 protected:
  Proposal propose(Json given) const {
    const Method& method = find_method(GetParam());
    if (method.name == "mini-llm") given["gradient"] = "exact";  // estimates are noise for these few tokens
    PruneContext context{.model = model, .calibration = calibration, .seed = 3};
    return method.propose(context, resolve_params(method.params, given, "test"));
  }
  Model model = with_dead_units();
  TokenBatches calibration = random_tokens(4, 12, 3);
};
INSTANTIATE_TEST_SUITE_P(Prune, WidthMethod,
                         testing::Values("magnitude-structured", "wanda-sp", "flap", "taylor", "mini-llm"));

TEST_P(WidthMethod, TakesDeadUnitsFirst) {
  for (const char* scope : {"local", "global"}) {
    const Plan plan = propose({{"ratio", 0.5}, {"scope", scope}}).plan;
    for (std::int64_t layer = 0; layer < 3; ++layer) {
      const LayerSlice slice = slice_of(plan, layer);
      EXPECT_EQ(slice.kv_heads->kept, std::vector<std::int64_t>{1});
      EXPECT_EQ(index_ranges(slice.channels.at(0).kept), "88..175");
    }
    const torch::NoGradGuard no_grad;
    const auto ids = to_tensor(calibration, {0, 1}, torch::kCPU);
    EXPECT_LT(relative_difference(forward_logits(model.view(plan, {}), ids), forward_logits(model, ids)), 1e-5);
  }
}

// Layers of one shape: the shares are those of the allocation, rounded down to whole channels.
TEST_P(WidthMethod, TakesSharesBySpectra) {
  std::vector<AllocationPart> parts;
  for (const double exponent : layer_exponents(spectra(model, {}), 3)) parts.push_back({.metric = exponent, .size = 1});
  const std::vector<double> shares = allocate(parts, {.ratio = 0.4, .spread = 0.2}).ratios;
  const Plan plan = propose({{"ratio", 0.4}, {"scope", "alpha"}, {"spread", 0.2}, {"inside", "channels"}}).plan;
  for (std::int64_t layer = 0; layer < 3; ++layer)
    EXPECT_EQ(slice_of(plan, layer).channels.at(0).removed(),
              static_cast<std::int64_t>(shares[static_cast<std::size_t>(layer)] * kChannels));
}

// Two layers of one shape share what goes, the one with the lesser exponent 1 - spread and the other 1 + spread times
// the ratio; the protected one has no part in it.
TEST_P(WidthMethod, SharesBySpectraAreOfTheLayersThatMayBeCut) {
  const Json given = {{"ratio", 0.4}, {"scope", "alpha"}, {"spread", 0.2}, {"inside", "channels"}, {"protect", {1}}};
  const Plan plan = propose(given).plan;
  EXPECT_EQ(plan.slices.count(1), 0u);
  std::vector<std::int64_t> gone;
  for (const std::int64_t layer : {0, 2}) gone.push_back(slice_of(plan, layer).channels.at(0).removed());
  EXPECT_THAT(gone, testing::UnorderedElementsAre(56, 84));  // of 176: 0.32 and 0.48
}

TEST_P(WidthMethod, SavesTheShareOfParametersThatWasAskedFor) {
  const Plan plan = propose({{"sparsity", 0.25}}).plan;
  EXPECT_NEAR(plan.scores.at("sparsity").get<double>(), 0.25, 0.02);
  EXPECT_EQ(plan.scores.at("parameters_saved").get<std::int64_t>(),
            model.parameters() - model.view(plan, {}).parameters());
}

TEST_P(WidthMethod, KeepsNumbersOfHeadsAndChannels) {
  const Plan plan = propose({{"keep-heads", 2}, {"keep-channels", 100}, {"protect", {1}}}).plan;
  EXPECT_EQ(plan.slices.count(1), 0u);
  EXPECT_EQ(slice_of(plan, 0).kv_heads->count(), 1);
  EXPECT_EQ(slice_of(plan, 2).channels.at(0).count(), 100);
  EXPECT_ERROR(propose({{"keep-heads", 3}}), usage, "the nearest allowed is 2 or 4");
}

TEST_P(WidthMethod, LeavesOutWhatIsNotAskedFor) {
  EXPECT_TRUE(slice_of(propose({{"ratio", 0.5}, {"inside", "heads"}}).plan, 0).channels.empty());
  EXPECT_FALSE(slice_of(propose({{"ratio", 0.5}, {"inside", "channels"}}).plan, 0).kv_heads);
}

TEST_P(WidthMethod, SaysWhatIsWrongWithASize) {
  EXPECT_ERROR(propose({}), usage, "needs exactly one of --ratio, --sparsity and --keep-heads / --keep-channels; 0");
  EXPECT_ERROR(propose({{"ratio", 0.5}, {"sparsity", 0.5}}), usage, "2 are given");
  EXPECT_ERROR(propose({{"ratio", 0.001}, {"scope", "local"}}), usage, "takes no head and no channel");
  EXPECT_ERROR(propose({{"sparsity", 0.99}}), usage, "heads and channels are");
  EXPECT_ERROR(propose({{"ratio", 1}}), usage, "--ratio 1 takes everything");
  EXPECT_ERROR(propose({{"ratio", 1}, {"inside", "heads"}, {"scope", "alpha"}}), usage, "takes all of every one");
  EXPECT_ERROR(propose({{"keep-channels", kChannels}}), usage, "so that nothing would go");
  EXPECT_ERROR(propose({{"keep-heads", 6}, {"keep-channels", 8}}), usage, "--keep-heads 6: no layer has more than 4");
  EXPECT_ERROR(propose({{"keep-heads", 4}}), usage, "--keep-heads 4: no layer has more than 4");
  EXPECT_ERROR(propose({{"keep-heads", 2}, {"inside", "channels"}}), usage, "no head may go");
  EXPECT_ERROR(propose({{"keep-channels", 8}, {"inside", "heads"}}), usage, "no channel may go");
  EXPECT_ERROR(propose({{"keep-channels", 8}, {"scope", "global"}}), usage, "--scope goes with --ratio, or --sparsity");
  EXPECT_ERROR(propose({{"ratio", 0.5}, {"scope", "local"}, {"spread", 0.2}}), usage,
               "--spread goes with --scope alpha");
}

TEST_P(WidthMethod, DropsHalvesOfWhichNothingIsLeftAndSaysSo) {
  const Proposal all = propose({{"ratio", 1}, {"inside", "channels"}});
  EXPECT_EQ(all.plan.segments.at(0).action, Action::drop_mlp);
  EXPECT_THAT(all.warnings, testing::Contains("no channel of layer 0 would be left: its MLP is dropped"));
}

// Groups are those of each layer, and one that is narrow already stays as it is.
TEST(KeptHeads, AreWholeGroupsOfEachLayerThatLosesAny) {
  Json json = tiny_llama(3);
  json.update({{"num_attention_heads", 8}, {"num_key_value_heads", 4}, {"head_dim", 8}});
  Plan narrow = keep_all(3);
  narrow.slices[2].kv_heads = KeptUnits{4, {1}};
  const Model model = pico_model(json, 5).view(narrow, {});
  const TokenBatches calibration = random_tokens(2, 12, 3);
  const Method& method = find_method("magnitude-structured");
  const auto propose = [&](const Json& given) {
    PruneContext context{.model = model, .calibration = calibration};
    return method.propose(context, resolve_params(method.params, given, "test")).plan;
  };
  const Plan plan = propose({{"keep-heads", 4}});
  for (const std::int64_t layer : {0, 1}) EXPECT_EQ(slice_of(plan, layer).kv_heads->count(), 2);
  EXPECT_EQ(plan.slices.count(2), 0u);
  EXPECT_ERROR(propose({{"keep-heads", 5}}), usage, "the nearest allowed is 4 or 6");
  EXPECT_ERROR(propose({{"keep-heads", 8}}), usage, "no layer has more than 8");
}

TEST(KeptHeads, AreAsManyOfEachLayerAsItIsToldTo) {
  const Config config = config_from_json(tiny_llama(2), "config.json");
  UnitScores scores = {no_scores(config.layers[0]), no_scores(config.layers[1])};
  scores[0].heads = {3, 1, 2, 4};
  scores[1].heads = {2, 1};
  const auto kept = kept_units(config, scores, {.kv_heads = {2, 1}, .mlps = false}, 0);
  EXPECT_EQ(kept.at(0).kv_heads->kept, (std::vector<std::int64_t>{0, 3}));
  EXPECT_EQ(kept.at(1).kv_heads->kept, std::vector<std::int64_t>{0});
}

TEST(WidthBudget, IsMetByTheSmallestRatio) {
  const Model model = with_dead_units();
  const TokenBatches calibration = random_tokens(2, 12, 3);
  const Method& method = find_method("wanda-sp");
  SearchMemory memory;
  const BudgetTrial trial{.propose =
                              [&](const Json& params) {
                                PruneContext context{.model = model, .calibration = calibration, .memory = &memory};
                                return method.propose(context, resolve_params(method.params, params, "test"));
                              },
                          .view = [&](const Proposal& proposal) { return model.view(proposal.plan, {}); }};
  const WithinBudget found = smallest_cut(method, Json::object(), model, parse_budgets("params=0.8x"), trial);
  EXPECT_EQ(found.size_name, "ratio");
  EXPECT_TRUE(found.figures.at(0).is_met());
  EXPECT_GT(found.figures.at(0).amount, 0.75 * found.figures.at(0).source);
  EXPECT_ERROR(smallest_cut(method, {{"ratio", 0.5}}, model, parse_budgets("params=0.8x"), trial), usage, "--ratio");
}

TEST(WidthBudget, IsNotLookedForWithTheStateOfAnotherSearch) {
  const TemporaryDirectory directory;
  const Model model = with_dead_units();
  const TokenBatches calibration = random_tokens(2, 12, 3);
  const Method& method = find_method("wanda-sp");
  const auto propose = [&](const Json& params, std::uint64_t seed) {
    SearchMemory memory(directory.path() / "state.json");
    PruneContext context{.model = model, .calibration = calibration, .seed = seed, .memory = &memory};
    return method.propose(context, resolve_params(method.params, params, "test"));
  };
  propose({{"ratio", 0.5}}, 1);
  int tried = 0;
  const BudgetTrial trial{.propose = [&](const Json& params) { return ++tried, propose(params, 2); },
                          .view = [&](const Proposal& proposal) { return model.view(proposal.plan, {}); }};
  EXPECT_ERROR(smallest_cut(method, Json::object(), model, parse_budgets("params=0.8x"), trial), format,
               "the state of another search");
  EXPECT_EQ(tried, 1);
}

// A budget asks for many sizes: exponents that are remembered already decide, others are not computed again.
TEST(WidthBudget, AsksForSpectraOnce) {
  const Model model = with_dead_units();
  const TokenBatches calibration = random_tokens(2, 12, 3);
  const Method& method = find_method("magnitude-structured");
  SearchMemory memory;
  int made = 0;
  for (int i = 0; i < 2; ++i) memory.fact(kExponentsFact, [&] { return ++made, Json({3.0, 2.0, 4.0}); });
  EXPECT_EQ(made, 1);
  PruneContext context{.model = model, .calibration = calibration, .memory = &memory};
  const Json params = {{"ratio", 0.5}, {"scope", "alpha"}, {"spread", 0.3}, {"inside", "channels"}};
  const Plan plan = method.propose(context, resolve_params(method.params, params, "test")).plan;
  const auto gone = [&](std::int64_t layer) { return slice_of(plan, layer).channels.at(0).removed(); };
  EXPECT_LT(gone(1), gone(0));
  EXPECT_LT(gone(0), gone(2));

  SearchMemory empty;
  context.memory = &empty;
  method.propose(context, resolve_params(method.params, params, "test"));
  EXPECT_EQ(empty.fact(kExponentsFact, [] { return Json(); }).size(), 3u);
}

TEST(ReadScores, AreThoseOfTheFormulas) {
  const Model model = pico_model(tiny_llama(2), 5, {}, {.dtype = torch::kFloat64});
  const TokenBatches text = random_tokens(2, 9, 4);
  const auto reads = read_moments(model, text, {});
  // Of the MLP of layer 1, by hand.
  std::vector<torch::Tensor> rows;
  sweep(model, text, {},
        {.inner = [&](const SweepBatch&, std::int64_t layer, Role role, std::int64_t, const torch::Tensor& inner) {
          if (layer == 1 && role == Role::down) rows.push_back(inner.flatten(0, 1).clone());
        }});
  const auto x = torch::cat(rows);
  const auto down = model.layer(1).at(Role::down).weight;
  const auto wanda = wanda_scores(model, reads)[1].channels[0], flap = fluctuation_scores(model, reads)[1].channels[0];
  for (const std::int64_t j : {0, 7, 175}) {
    const auto column = down.select(1, j), input = x.select(1, j);
    const auto at = static_cast<std::size_t>(j);
    EXPECT_NEAR(wanda[at], (column.abs().mean() * input.norm()).item<double>(), 1e-5 * wanda[at]);
    EXPECT_NEAR(flap[at], (column.square().sum() * input.var(false)).item<double>(), 1e-4 * flap[at]);
  }
}

TEST(Taylor, GradientsAreThoseOfTheWholeGraph) {
  const Model model = pico_model(tiny_llama(2), 5, {}, {.dtype = torch::kFloat64});
  const auto ids = first_sequences(random_tokens(10, 64, 4), 10, 64, torch::kCPU);  // more than run together
  // The whole graph at once.
  std::vector<LayerWeights> layers;
  for (std::int64_t i = 0; i < 2; ++i)
    layers.push_back(
        transformed(model.layer(i), [](const torch::Tensor& t) { return t.detach().clone().requires_grad_(); }));
  auto x = model.embed(ids);
  const Positions positions = rope_positions(model.config(), 0, 64, torch::kCPU);
  for (const LayerWeights& layer : layers) x = block_forward(model.config(), layer, x, positions);
  const auto logits = model.logits(x).narrow(1, 0, 63).flatten(0, 1);
  const auto loss = torch::cross_entropy_loss(logits, ids.narrow(1, 1, 63).flatten());
  loss.backward();
  const double mine = inside_gradients(model, ids, GradientOf::weights, [&](std::int64_t i, const LayerGradients& got) {
    for (const PlacedTensor& tensor : placed_tensors(got.tensors)) {
      const auto& whole = layers[static_cast<std::size_t>(i)].at(tensor.role).weight;
      EXPECT_LT(relative_difference(tensor.value, whole.grad()), 1e-9);
    }
  });
  EXPECT_NEAR(mine, loss.item<double>(), 1e-9);
  const auto down = layers[1].at(Role::down).weight;
  const auto gate = taylor_scores(model, ids, TaylorForm::gate)[1].channels[0];
  EXPECT_NEAR(gate[3], std::abs((down * down.grad()).select(1, 3).sum().item<double>()), 1e-9);
}

TEST(UnitOwners, NameTheUnitOfEveryRowOfAFusedMatrix) {
  LayerConfig layer;
  layer.attention = AttentionConfig{.heads = 4, .kv_heads = 2, .head_dim = 1, .layout = QkvLayout::stacked};
  const auto owners = [&] {
    const auto found = unit_owners(layer, Role::qkv, Part::weight, -1)->owners;
    return std::vector<std::int64_t>(found.data_ptr<std::int64_t>(), found.data_ptr<std::int64_t>() + found.numel());
  };
  EXPECT_EQ(owners(), (std::vector<std::int64_t>{0, 0, 1, 1, 0, 1, 0, 1}));
  layer.attention->layout = QkvLayout::grouped;
  EXPECT_EQ(owners(), (std::vector<std::int64_t>{0, 0, 0, 0, 1, 1, 1, 1}));
}

TEST(Spearman, IsTheCorrelationOfRanks) {
  EXPECT_DOUBLE_EQ(spearman({1, 2, 3}, {10, 100, 1000}), 1);
  EXPECT_DOUBLE_EQ(spearman({1, 2, 3}, {3, 2, 1}), -1);
  EXPECT_NEAR(spearman({1, 2, 2, 3}, {1, 2, 3, 4}), 0.9486833, 1e-7);
  EXPECT_EQ(spearman({1, 1}, {1, 2}), 0);
}

TEST(GlobalScope, TakesWhatIsWorthLeastOverTheMeanOfItsLayer) {
  const Config config = config_from_json(tiny_llama(2), "config.json");
  UnitScores scores = {no_scores(config.layers[0]), no_scores(config.layers[1])};
  scores[0].heads = {10, 30};  // over their mean: 0.5, 1.5
  scores[1].heads = {3, 1};    // 1.5, 0.5
  WidthRequest request{.mlps = false, .scope = Scope::global};
  const auto half = kept_units(config, scores, request, 0.5);
  EXPECT_EQ(half.at(0).kv_heads->kept, std::vector<std::int64_t>{1});
  EXPECT_EQ(half.at(1).kv_heads->kept, std::vector<std::int64_t>{0});
  EXPECT_EQ(kept_units(config, scores, request, 0.25).size(), 1u);
}

}  // namespace
}  // namespace streamline::test
