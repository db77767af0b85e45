// SPDX-License-Identifier: Apache-2.0
// Files of features and of chips: what is in them, resuming, and what is wrong with broken ones.
#include "streamline/chip/features.h"

#include "streamline/base/log.h"
#include "tests/chip/chips.h"
#include "tests/support/core/expect.h"

namespace streamline::chip {
namespace {

class FeatureFiles : public testing::Test {
 protected:
  Features make(const std::string& name = "toy.features") {
    return test::make_features(model_, labelled_, prompts_, folder_.path() / name);
  }
  void write(const FeatureDescription& description, Overwrite overwrite = Overwrite::no) {
    write_features(model_, labelled_, prompts_, description, path_,
                   {.dtype = torch::kFloat32, .batch_tokens = 40, .overwrite = overwrite});
  }

  streamline::test::TemporaryDirectory folder_;
  std::filesystem::path path_ = folder_.path() / "toy.features";
  Model model_ = pico_model(streamline::test::tiny_llama(3), 1);
  LabelledTexts labelled_ = test::random_labels(test::kTexts, 2, 3);
  Prompts prompts_ = test::random_prompts(test::kTexts, 2);
};

// H6: whatever else runs beside a text, and whatever follows it, its last token's state is the same.
TEST_F(FeatureFiles, H6HoldEachTextsOwnStates) {
  const Features features = make();
  EXPECT_EQ(features.labels().numel(), test::kTexts);
  for (const std::int64_t text : {0, 17, 59}) {
    auto ids = prompts_.batches.sequences[static_cast<std::size_t>(text)];
    const auto length = std::ssize(ids);
    for (const std::int64_t padding : {0, 5}) {
      ids.resize(static_cast<std::size_t>(length + padding), 7);
      const auto states =
          hidden_states(model_, torch::tensor(std::vector<std::int64_t>(ids.begin(), ids.end())).unsqueeze(0));
      for (std::size_t layer = 0; layer < 3; ++layer)
        EXPECT_TRUE(torch::allclose(features.layer(layer)[text], states[layer + 1][0][length - 1], 1e-4, 1e-5))
            << text << " " << layer;
    }
  }
}

// Of two paddings of one length every bit is the same: causal attention weighs what comes later by an exact zero.
// Another length is another shape of the same products, and is the same to their rounding.
TEST_F(FeatureFiles, H6ChangeNoLogitWhateverIsPaddedOnTheRight) {
  constexpr double kFloat32 = 1e-5;
  const Chip linear = initial_chip(Kind::linear, 0, 64, 3, {}), mlp = initial_chip(Kind::mlp, 0, 64, 3, {});
  for (const std::int64_t text : {0, 17, 59}) {
    const auto& prompt = prompts_.batches.sequences[static_cast<std::size_t>(text)];
    const auto padded = [&](std::int64_t padding, std::int64_t token) {
      std::vector<std::int64_t> ids(prompt.begin(), prompt.end());
      ids.resize(prompt.size() + static_cast<std::size_t>(padding), token);
      std::vector<torch::Tensor> found;
      for (const torch::Tensor& states : hidden_states(model_, torch::tensor(ids).unsqueeze(0)))
        for (const Chip* chip : {&linear, &mlp})
          found.push_back(logits(*chip, states.select(1, std::ssize(prompt) - 1)));
      return torch::stack(found);
    };
    const torch::Tensor alone = padded(0, 0);
    for (const std::int64_t padding : {1, 5, 40}) {
      const torch::Tensor sevens = padded(padding, 7);
      EXPECT_TRUE(torch::equal(sevens, padded(padding, 200))) << text << " " << padding;
      EXPECT_LE((sevens - alone).abs().max().item<double>(), kFloat32 * alone.abs().max().item<double>());
    }
  }
}

TEST_F(FeatureFiles, TakeTheTokenThatIsAskedFor) {
  FeatureDescription description = test::describe(model_, labelled_, prompts_);
  const auto& ids = prompts_.batches.sequences[4];
  const auto states =
      hidden_states(model_, torch::tensor(std::vector<std::int64_t>(ids.begin(), ids.end())).unsqueeze(0));
  for (const char* word : {"mean", "1", "-2"}) {
    description.input.position = parse_position(word);
    write(description, Overwrite::yes);
    const auto expected =
        word[0] == 'm' ? states[2][0].mean(0) : states[2][0][word[0] == '1' ? 1 : std::ssize(ids) - 2];
    EXPECT_TRUE(torch::allclose(Features::open(path_).layer(1)[4], expected, 1e-4, 1e-5)) << word;
  }
  description.input.position = parse_position("40");
  EXPECT_ERROR(write(description, Overwrite::yes), mismatch, "none at position 40");
  EXPECT_ERROR(parse_position("first"), usage, "'first'");
}

TEST_F(FeatureFiles, KeepTheLayersThatAreAskedFor) {
  FeatureDescription description = test::describe(model_, labelled_, prompts_);
  const Features all = make("all.features");
  description.layers = {1};
  write(description);
  EXPECT_TRUE(torch::equal(Features::open(path_).layer(0), all.layer(1)));
}

// A run that was cut short goes on from its parts, and the file is the same byte for byte.
TEST_F(FeatureFiles, GoOnWhereTheyWereCutShort) {
  make("whole.features");
  const FeatureDescription description = test::describe(model_, labelled_, prompts_);
  // The file cannot be written where a directory stands: all parts are there by then.
  std::filesystem::create_directory(path_);
  EXPECT_ERROR(write(description, Overwrite::yes), io, "toy.features");
  const auto part = folder_.path() / "toy.features.parts" / "0.states";
  const auto made = std::filesystem::last_write_time(part);
  EXPECT_ERROR(write(description, Overwrite::yes), io, "toy.features");
  EXPECT_EQ(std::filesystem::last_write_time(part), made);
  std::filesystem::remove(path_);
  // One that was damaged meanwhile is made again.
  std::string damaged = read_text(part);
  damaged.back() ^= 1;
  write_text(part, damaged);
  write(description);
  EXPECT_TRUE(read_text(path_) == read_text(folder_.path() / "whole.features"));
  EXPECT_FALSE(std::filesystem::exists(part.parent_path()));
}

TEST_F(FeatureFiles, DoNotGoOnFromPartsOfAnotherModel) {
  const FeatureDescription description = test::describe(model_, labelled_, prompts_);
  auto broken = prompts_;
  broken.batches.sequences.back() = std::vector<TokenId>(20, 999);
  EXPECT_ERROR(write_features(model_, labelled_, broken, description, path_, {.batch_tokens = 40}), mismatch, "999");
  const Model other = pico_model(streamline::test::tiny_llama(3), 2);
  EXPECT_ERROR(write_features(other, labelled_, prompts_, test::describe(other, labelled_, prompts_), path_, {}),
               mismatch, "parts of other features");
}

TEST_F(FeatureFiles, ThatAreDamagedAreRefused) {
  make();
  const std::string whole = read_text(path_);
  const auto with = [&](const std::string& content) {
    write_text(path_, content);
    return Features::open(path_);
  };
  EXPECT_ERROR(with(whole.substr(0, whole.size() - 100)), format, "toy.features");
  std::string changed = whole;
  changed[changed.size() - 3] ^= 1;
  EXPECT_ERROR(with(changed), format, "is damaged");
  EXPECT_ERROR(with("hello"), format, "toy.features");
  const auto chips = folder_.path() / "toy.chips";
  TaskChips task;
  task.classes = {"a", "b"};
  task.input.max_tokens = 4;
  write_chips({.trunk = trunk_of(model_), .tasks = {task}}, chips);
  EXPECT_ERROR(Features::open(chips), format, "no file of features");
  EXPECT_ERROR(read_chips(path_), format, "toy.features");
}

TEST_F(FeatureFiles, AreNotReplacedUnasked) {
  make();
  EXPECT_ERROR(make(), io, "already exists");
}

TEST_F(FeatureFiles, OfAnotherModelAreTold) {
  const Features features = make();
  check_trunk(features.description().trunk, model_, features.label());
  const Model other = pico_model(streamline::test::tiny_llama(3), 2);
  EXPECT_ERROR(check_trunk(features.description().trunk, other, features.label()), mismatch, "other weights");
}

TEST_F(FeatureFiles, BecomeChipsThatAreReadBackAsTheyWere) {
  const Features features = make();
  for (const FeatureNorm norm : {FeatureNorm::none, FeatureNorm::standardise, FeatureNorm::rms}) {
    TrainOptions options;
    options.norm = norm;
    options.width = 8;
    options.bias = norm != FeatureNorm::rms;
    Chips chips{.trunk = features.description().trunk, .tasks = {}};
    chips.tasks.push_back({.task = "toy",
                           .classes = {"a", "b"},
                           .input = features.description().input,
                           .chips = train_chips(features, options)});
    chips.tasks[0].choice = select_chip(chips.tasks[0].chips, {});
    const auto path = folder_.path() / "toy.chips";
    write_chips(chips, path);
    const Chips read = read_chips(path);
    EXPECT_EQ(read.trunk, chips.trunk);
    EXPECT_EQ(task_named(read, "").input, features.description().input);
    ASSERT_EQ(read.tasks[0].chips.size(), 6U);
    EXPECT_EQ(read.tasks[0].choice->layer, chips.tasks[0].choice->layer);
    for (std::size_t i = 0; i < 6; ++i) {
      const TrainedChip &before = chips.tasks[0].chips[i], &after = read.tasks[0].chips[i];
      EXPECT_TRUE(test::same_chip(before.chip, after.chip));
      EXPECT_EQ(before.validation.right, after.validation.right);
      EXPECT_TRUE(torch::equal(logits(before.chip, features.layer(0)), logits(after.chip, features.layer(0))));
    }
    EXPECT_ERROR(task_named(read, "other"), usage, "(toy)");
  }
}

// H3: nothing about the model changes while its states are taken and chips are trained.
TEST_F(FeatureFiles, H3LeaveTheModelAsItWas) {
  std::vector<LayerWeights> before;
  for (std::int64_t i = 0; i < 3; ++i)
    before.push_back(transformed(model_.layer(i), [](const torch::Tensor& tensor) { return tensor.clone(); }));
  train_chips(make(), {});
  for (std::int64_t i = 0; i < 3; ++i)
    EXPECT_TRUE(streamline::test::same(before[static_cast<std::size_t>(i)], model_.layer(i)));
}

// Long texts lose what stands behind BOS; their end, where the cue is, stays.
TEST(ChipPrompts, LoseTheirBeginning) {
  struct Letters : Tokenizer {
    std::vector<TokenId> encode(std::string_view text, bool) const override { return {text.begin(), text.end()}; }
    std::string decode(std::span<const TokenId>, bool) const override { return {}; }
    std::int64_t vocab_size() const override { return 256; }
    std::optional<TokenId> bos() const override { return 1; }
    std::optional<TokenId> eos() const override { return 2; }
    bool adds_bos() const override { return true; }
  };
  const Prompts prompts = tokenize({"abcdef", "ab"}, Letters(), {.bos = true, .max_tokens = 4});
  EXPECT_EQ(prompts.batches.sequences[0], (std::vector<TokenId>{1, 'd', 'e', 'f'}));
  EXPECT_EQ(prompts.batches.sequences[1], (std::vector<TokenId>{1, 'a', 'b'}));
  EXPECT_EQ(prompts.truncated, 1);
  EXPECT_ERROR(tokenize({"a", ""}, Letters(), {.max_tokens = 4}), mismatch, "text 2 has no tokens");
}

}  // namespace
}  // namespace streamline::chip
