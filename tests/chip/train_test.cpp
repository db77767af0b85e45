// SPDX-License-Identifier: Apache-2.0
// The acceptance checks H1 … H10 of the specification of Chip-Tuning, by their numbers, and the closed forms.
#include "streamline/chip/train.h"

#include <cmath>

#include "streamline/heal/adamw.h"
#include "tests/chip/chips.h"
#include "tests/support/core/expect.h"

namespace streamline::chip {
namespace {

Chip chip_for(Kind kind, std::int64_t hidden, std::int64_t classes, std::int64_t layer = 0) {
  return initial_chip(kind, layer, hidden, classes, {});
}

// h = +e1 of class 0, -e1 of class 1, in turn.
struct Toy {
  torch::Tensor features, labels;
};
Toy separable(std::int64_t texts, std::int64_t hidden) {
  Toy toy{torch::zeros({texts, hidden}), torch::arange(texts, torch::kLong) % 2};
  toy.features.select(1, 0).copy_(1 - 2 * toy.labels.to(torch::kFloat32));
  return toy;
}

// Texts of two classes that overlap.
Toy overlapping(std::int64_t texts, std::int64_t hidden, std::int64_t classes, std::uint64_t seed) {
  torch::manual_seed(seed);
  const auto labels = torch::randint(classes, {texts}, torch::kLong);
  const auto centres = torch::randn({classes, hidden});
  return {centres.index_select(0, labels) + 2 * torch::randn({texts, hidden}), labels};
}

TEST(Chips, H1HaveAsManyParametersAsTheFormulasSay) {
  EXPECT_EQ(parameters(chip_for(Kind::linear, 4096, 4)), 16388);
  EXPECT_EQ(parameters(chip_for(Kind::linear, 4096, 2)), 8194);
  EXPECT_EQ(parameters(chip_for(Kind::mlp, 4096, 4)), 1049860);
  EXPECT_EQ(parameters(chip_for(Kind::mlp, 4096, 2)), 1049346);
  for (const auto& [classes, all] : {std::pair{4, 34119936}, std::pair{2, 33841280}})
    EXPECT_EQ(32 * (parameters(chip_for(Kind::linear, 4096, classes)) + parameters(chip_for(Kind::mlp, 4096, classes))),
              all);
}

TEST(Chips, H2AreTheSameTrainedTogetherOrAlone) {
  const streamline::test::TemporaryDirectory folder;
  const Model model = pico_model(streamline::test::tiny_llama(3), 1);
  const auto prompts = test::random_prompts(test::kTexts, 2);
  const auto features =
      test::make_features(model, test::random_labels(test::kTexts, 3, 4), prompts, folder.path() / "toy.features");
  TrainOptions options;
  options.learning_rate = 1e-2;
  const auto together = train_chips(features, options);
  ASSERT_EQ(together.size(), 6U);
  const Split split = split_texts(features.count(), options);
  for (std::size_t i = 0; i < together.size(); ++i) {
    TrainOptions alone = options;
    alone.kinds = {together[i].chip.kind};
    const std::int64_t layer = together[i].chip.layer;
    const auto one = train_layer(layer, features.layer(static_cast<std::size_t>(layer)), features.labels(), 3,
                                 model.config().norm_epsilon, split, alone);
    EXPECT_TRUE(test::same_chip(one[0].chip, together[i].chip)) << i;
    EXPECT_FALSE(test::same_chip(one[0].chip, initial_chip(alone.kinds[0], layer, 64, 3, options))) << i;
  }
}

// One loss, the sum over all chips, with torch's own gradients.
TEST(Chips, H2FollowTheSumOfTheirLosses) {
  const Toy toy = overlapping(40, 6, 3, 5);
  TrainOptions options;
  options.width = 8;
  options.learning_rate = 1e-2;
  std::vector<Chip> ours, theirs;
  std::vector<torch::Tensor> parameters;
  for (const Kind kind : {Kind::linear, Kind::mlp})
    for (std::int64_t layer = 0; layer < 2; ++layer) {
      ours.push_back(initial_chip(kind, layer, 6, 3, options));
      theirs.push_back(initial_chip(kind, layer, 6, 3, options));
      for (auto& tensor : trainable(theirs.back())) parameters.push_back(tensor.requires_grad_());
    }
  AdamW optimizer(parameters, {.beta1 = 0.9, .beta2 = 0.99, .epsilon = 1e-8, .weight_decay = 0.01});
  for (std::int64_t i = 0; i < 40; ++i) {
    auto loss = torch::zeros({});
    for (const Chip& chip : theirs)
      loss = loss + torch::cross_entropy_loss(logits(chip, toy.features.narrow(0, i, 1)), toy.labels.narrow(0, i, 1));
    loss.backward();
    optimizer.step(1e-2);
  }
  for (std::size_t c = 0; c < ours.size(); ++c) {
    train_adamw(ours[c], toy.features, toy.labels, options);
    const auto left = trainable(ours[c]), right = trainable(theirs[c]);
    for (std::size_t i = 0; i < left.size(); ++i)
      EXPECT_TRUE(torch::allclose(left[i], right[i].detach(), 1e-4, 1e-6)) << c << " " << i;
  }
}

TEST(Chips, H3NeverFormAGradientOfTheFeatures) {
  const Toy toy = overlapping(30, 6, 3, 5);
  const auto features = toy.features.clone().requires_grad_();
  for (const Kind kind : {Kind::linear, Kind::mlp}) {
    Chip chip = chip_for(kind, 6, 3);
    train_adamw(chip, features, toy.labels, {});
    EXPECT_FALSE(features.grad().defined());
    EXPECT_TRUE(torch::equal(features, toy.features));
  }
}

TEST(Chips, H4StartAtChanceWhereAllIsZero) {
  for (const auto& [classes, expected] : {std::pair{4, 1.386294}, std::pair{2, 0.693147}}) {
    double total = 0;
    const auto states = torch::randn({5, 16});
    for (const Kind kind : {Kind::linear, Kind::mlp}) {
      const Score found = score(test::zero_chip(kind, 16, classes), states, torch::zeros({5}, torch::kLong));
      EXPECT_NEAR(found.loss, expected, 1e-6);
      total += 32 * found.loss;
    }
    EXPECT_NEAR(total, 64 * std::log(classes), 1e-5);
    EXPECT_NEAR(total, classes == 4 ? 88.72 : 44.36, 5e-3);
  }
}

TEST(Chips, H7TakeTheFirstStepThatIsComputedByHand) {
  Chip chip = test::zero_chip(Kind::linear, 2, 2);
  TrainOptions options;
  options.learning_rate = 1e-5;
  train_adamw(chip, torch::tensor({{1.F, 2.F}}), torch::zeros({1}, torch::kLong), options);
  // p = (.5, .5): dA = [[-.5, -1], [.5, 1]], db = (-.5, .5); Adam's first step is lr * sign.
  EXPECT_TRUE(torch::allclose(chip.weight, torch::tensor({{1e-5F, 1e-5F}, {-1e-5F, -1e-5F}}), 1e-6, 0));
  EXPECT_TRUE(torch::allclose(chip.bias, torch::tensor({1e-5F, -1e-5F}), 1e-6, 0));
}

TEST(Chips, H8SeparateWhatIsSeparable) {
  const Toy toy = separable(500, 8);
  TrainOptions options;
  options.learning_rate = 1e-2;
  for (const Kind kind : {Kind::linear, Kind::mlp}) {
    Chip chip = chip_for(kind, 8, 2);
    train_adamw(chip, toy.features, toy.labels, options);
    EXPECT_EQ(score(chip, toy.features, toy.labels).accuracy(), 1.0) << name(kind);
  }
}

TEST(Chips, H9LearnNothingFromRandomLabels) {
  const streamline::test::TemporaryDirectory folder;
  const Model model = pico_model(streamline::test::tiny_llama(4), 1);
  const std::int64_t texts = 600, classes = 3;
  const auto features = test::make_features(model, test::random_labels(texts, classes, 9),
                                            test::random_prompts(texts, 8), folder.path() / "random.features");
  for (const Method method : {Method::adamw, Method::ridge, Method::newton}) {
    TrainOptions options;
    options.method = method;
    options.learning_rate = 1e-3;
    options.norm = FeatureNorm::standardise;
    options.validation = 0.1;
    options.test = 0.4;
    if (method != Method::adamw) options.kinds = {Kind::linear};
    const double chance = 1.0 / classes;
    for (const TrainedChip& trained : train_chips(features, options)) {
      const double sigma = std::sqrt(chance * (1 - chance) / static_cast<double>(trained.test.count));
      EXPECT_NEAR(trained.test.accuracy(), chance, 3 * sigma) << name(method) << " " << trained.chip.layer;
    }
  }
}

TEST(Chips, AreMeasuredAgainstTheClassThatTrainingTextsHaveMost) {
  // Class 1 has most of the training texts, class 0 of the others.
  const auto labels = torch::tensor({1, 1, 0, 0, 0, 2, 0, 1}, torch::kLong);
  const Split split{
      .train = torch::tensor({0, 1, 2}), .validation = torch::tensor({3, 4, 7}), .test = torch::tensor({5, 6})};
  const MostFrequent most = most_frequent(labels, 3, split);
  EXPECT_EQ(most.label, 1);
  EXPECT_DOUBLE_EQ(most.train.accuracy(), 2.0 / 3);
  EXPECT_DOUBLE_EQ(most.validation.accuracy(), 1.0 / 3);
  EXPECT_EQ(most.test.right, 0);
  EXPECT_EQ(most.test.count, 2);
}

TEST(Chips, AreSurelyBetterAboveTheirWholeInterval) {
  const Score most{.right = 50, .count = 100};
  // Wilson's interval of 60 of 100 is 0.502 … 0.691, that of 59 of 100 0.492 … 0.681.
  EXPECT_TRUE(surely_better({.right = 60, .count = 100}, most));
  EXPECT_FALSE(surely_better({.right = 59, .count = 100}, most));
  EXPECT_TRUE(surely_better({}, {}));
}

TEST(Chips, OfWhichOneIsPerfectHaveALossOfNothingNotMinusNothing) {
  const Score perfect = score_of(torch::tensor({{1000.F, 0.F}, {0.F, 1000.F}}), torch::tensor({0, 1}, torch::kLong));
  EXPECT_EQ(perfect.loss, 0);
  EXPECT_FALSE(std::signbit(perfect.loss));
  EXPECT_EQ(perfect.margin, 1);
}

std::vector<TrainedChip> with_accuracies(const std::vector<double>& accuracies, Kind kind) {
  std::vector<TrainedChip> chips;
  for (const double accuracy : accuracies) {
    TrainedChip trained;
    trained.chip.layer = std::ssize(chips);
    trained.chip.kind = kind;
    trained.validation = {.right = std::llround(1000 * accuracy), .count = 1000};
    chips.push_back(trained);
  }
  return chips;
}

TEST(Chips, H10AreChosenByTheRule) {
  const auto chips = with_accuracies({.25, .30, .62, .70, .71, .705}, Kind::linear);
  EXPECT_EQ(select_chip(chips, {.rule = Rule::earliest, .within = 0.01}).layer, 3);
  EXPECT_EQ(select_chip(chips, {.rule = Rule::best}).layer, 4);
  EXPECT_EQ(select_chip(chips, {.rule = Rule::fixed, .layer = 2}).layer, 2);
  EXPECT_ERROR(select_chip(chips, {.rule = Rule::fixed, .layer = 6}), usage, "no chip behind layer 6");
}

TEST(Chips, H10BreakTiesInTheOrderOfTheirMaking) {
  auto chips = with_accuracies({.5, .7, .7}, Kind::linear);
  for (TrainedChip& chip : with_accuracies({.7, .7, .6}, Kind::mlp)) chips.push_back(chip);
  const Choice best = select_chip(chips, {});
  EXPECT_EQ(best.layer, 1);
  EXPECT_EQ(best.kind, Kind::linear);
  EXPECT_EQ(select_chip(chips, {.kind = Kind::mlp}).layer, 0);
  const Choice earliest = select_chip(chips, {.rule = Rule::earliest, .within = 0});
  EXPECT_EQ(earliest.layer, 0);
  EXPECT_EQ(earliest.kind, Kind::mlp);
}

// (X'X + penalty) w = X'y, solved by torch; the logits are the same up to the one factor that makes them honest.
TEST(Chips, OfRidgeSolveTheNormalEquations) {
  const Toy toy = overlapping(80, 5, 3, 11);
  for (const bool bias : {true, false}) {
    TrainOptions options;
    options.bias = bias;
    options.penalty = 3;
    Chip chip = initial_chip(Kind::linear, 0, 5, 3, options);
    fit_ridge(chip, toy.features, toy.labels, options);
    auto x = toy.features.to(torch::kFloat64);
    auto y = torch::one_hot(toy.labels, 3).to(torch::kFloat64);
    const auto x_mean = x.mean(0), y_mean = y.mean(0);
    if (bias) {
      x = x - x_mean;
      y = y - y_mean;
    }
    const auto w = torch::linalg_solve(x.t().mm(x) + 3 * torch::eye(5, torch::kFloat64), x.t().mm(y)).t();
    const double factor = (chip.weight / w)[0][0].item<double>();
    EXPECT_GT(factor, 0);
    EXPECT_TRUE(torch::allclose(chip.weight.to(torch::kFloat64), factor * w, 1e-4, 1e-6));
    ASSERT_EQ(chip.bias.defined(), bias);
    if (!bias) continue;
    EXPECT_TRUE(torch::allclose(chip.bias.to(torch::kFloat64), factor * (y_mean - w.mv(x_mean)), 1e-4, 1e-5));
  }
}

// At the minimum the gradient of the penalised loss vanishes (torch's own gradient).
TEST(Chips, OfNewtonLieInTheMinimum) {
  const Toy toy = overlapping(120, 5, 3, 12);
  TrainOptions options;
  options.penalty = 0.5;
  Chip chip = initial_chip(Kind::linear, 0, 5, 3, options);
  fit_newton(chip, toy.features, toy.labels, options);
  const auto weight = chip.weight.to(torch::kFloat64).requires_grad_(),
             bias = chip.bias.to(torch::kFloat64).requires_grad_();
  const auto z = torch::linear(toy.features.to(torch::kFloat64), weight, bias);
  const auto loss = -torch::log_softmax(z, 1).gather(1, toy.labels.unsqueeze(1)).sum() + 0.25 * weight.square().sum();
  loss.backward();
  EXPECT_LT(weight.grad().abs().max().item<double>(), 1e-3);
  EXPECT_LT(bias.grad().abs().max().item<double>(), 1e-3);
  EXPECT_GT(score(chip, toy.features, toy.labels).accuracy(), 0.45);
}

TEST(Chips, NormaliseStatesAsTheirNormSays) {
  const auto states = torch::tensor({{1.F, 2.F, 5.F}, {3.F, 2.F, 1.F}});
  const Normaliser standard = make_normaliser(FeatureNorm::standardise, 0, states);
  const auto scaled = normalised(standard, states);
  EXPECT_TRUE(torch::allclose(scaled, torch::tensor({{-1.F, 0.F, 1.F}, {1.F, 0.F, -1.F}})));
  const auto rms = normalised({.norm = FeatureNorm::rms, .epsilon = 0}, states);
  EXPECT_NEAR(rms[0][2].item<double>(), 5 / std::sqrt(10), 1e-6);
  const auto layer = normalised({.norm = FeatureNorm::layer, .epsilon = 0}, states);
  EXPECT_NEAR(layer[1][0].item<double>(), 1 / std::sqrt(2.0 / 3), 1e-6);
}

TEST(Chips, OfWhichNothingIsLeftToTrainAreRefused) {
  EXPECT_ERROR(split_texts(4, {.validation = 0.5, .test = 0.4}), usage, "leave 0 to train on");
  EXPECT_ERROR(split_texts(4, {.validation = 0.01}), usage, "0 to choose by");
}

TEST(Chips, AreSplitWithoutOverlap) {
  TrainOptions options;
  options.test = 0.25;
  const Split split = split_texts(100, options);
  const auto all = torch::cat({split.train, split.validation, split.test});
  EXPECT_EQ(split.validation.numel(), 10);
  EXPECT_EQ(split.test.numel(), 25);
  EXPECT_TRUE(torch::equal(std::get<0>(all.sort()), torch::arange(100, torch::kLong)));
}

// Wilson's interval of 8 right of 10, from its formula by hand.
TEST(Chips, HaveIntervals) {
  const auto [low, high] = interval({.right = 8, .count = 10});
  EXPECT_NEAR(low, 0.4902, 1e-4);
  EXPECT_NEAR(high, 0.9433, 1e-4);
}

}  // namespace
}  // namespace streamline::chip
