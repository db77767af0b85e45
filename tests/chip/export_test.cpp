// SPDX-License-Identifier: Apache-2.0
// Chips on a model that is cut behind them: H5, H6, H11, and what is refused.
#include "streamline/chip/export.h"

#include "streamline/arch/open_checkpoint.h"
#include "streamline/chip/classify.h"
#include "streamline/io/gguf.h"
#include "tests/chip/chips.h"
#include "tests/support/core/expect.h"
#include "tests/support/core/pico_checkpoint.h"

namespace streamline::chip {
namespace {

// Every byte is a token.
struct Bytes : Tokenizer {
  std::vector<TokenId> encode(std::string_view text, bool) const override {
    std::vector<TokenId> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  std::string decode(std::span<const TokenId>, bool) const override { return {}; }
  std::int64_t vocab_size() const override { return 256; }
  std::optional<TokenId> bos() const override { return std::nullopt; }
  std::optional<TokenId> eos() const override { return std::nullopt; }
  bool adds_bos() const override { return false; }
};

Json with_class(Json json, const std::string& name) {
  json["architectures"] = Json::array({name});
  return json;
}

// Weights that lie elsewhere in memory may go through another kernel, which sums in another order.
void expect_same(const Verdict& a, const Verdict& b) {
  for (std::size_t c = 0; c < a.probabilities.size(); ++c) EXPECT_NEAR(a.probabilities[c], b.probabilities[c], 1e-6);
}

// Of the tensors of layers, none of which may lie above `last`.
std::int64_t elements_of_layers(const Checkpoint& checkpoint, std::int64_t last) {
  std::int64_t elements = 0;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    const std::string prefix = "model.layers.";
    if (!tensor.name.starts_with(prefix)) continue;
    EXPECT_LE(std::stoll(tensor.name.substr(prefix.size())), last) << tensor.name;
    elements += tensor.elements();
  }
  return elements;
}

class ExportedChips : public testing::Test {
 protected:
  Chips chips_of(const Model& model, const TrainOptions& options, std::int64_t layer, const std::string& task = "toy") {
    auto labelled = test::random_labels(test::kTexts, 3, 4);
    labelled.name = task;
    const auto features = test::make_features(model, labelled, test::random_prompts(test::kTexts, 2),
                                              folder_.path() / (task + ".features"));
    Chips chips{.trunk = features.description().trunk, .tasks = {}};
    chips.tasks.push_back({.task = task,
                           .classes = features.description().classes,
                           .input = features.description().input,
                           .chips = train_chips(features, options)});
    chips.tasks[0].choice = select_chip(chips.tasks[0].chips, {.rule = Rule::fixed, .layer = layer});
    chips.tasks[0].most_frequent = most_frequent(features.labels(), 3, split_texts(features.count(), options));
    std::filesystem::remove(folder_.path() / (task + ".features"));
    return chips;
  }
  TrainOptions exact() const {
    TrainOptions options;
    options.kinds = {Kind::linear};
    options.method = Method::ridge;
    options.norm = FeatureNorm::rms;
    options.bias = false;
    return options;
  }
  std::vector<std::vector<Verdict>> run(const Model& model, const Chips& chips, std::optional<double> exit = {}) {
    return classify(model, Bytes(), chips, {"a text", "another, which is longer", "x"}, {.exit = exit});
  }

  streamline::test::TemporaryDirectory folder_;
  std::filesystem::path out_ = folder_.path() / "out";
  Model llama_ = pico_model(with_class(streamline::test::tiny_llama(6), "LlamaForCausalLM"), 1);
};

TEST_F(ExportedChips, H5GiveTheSameLogitsAsOnTheWholeModel) {
  const Chips chips = chips_of(llama_, exact(), 2);
  const Exported exported = export_chips(llama_, chips, out_, {});
  EXPECT_EQ(exported.architecture, "LlamaForSequenceClassification");
  EXPECT_LT(exported.largest_difference, 1e-5);
  const auto written = read_chips(chips_file_in(out_)).tasks[0].most_frequent, meant = chips.tasks[0].most_frequent;
  ASSERT_TRUE(written);
  EXPECT_EQ(written->label, meant->label);
  EXPECT_EQ(written->validation.right, meant->validation.right);
  EXPECT_EQ(written->test.count, 0);
  const Model trunk = Model::open(Checkpoint::open(out_), {});
  const auto whole = run(llama_, chips), cut = run(trunk, read_chips(chips_file_in(out_)));
  // The same kernels on the same weights: layers above cannot matter at all.
  const auto ids = torch::tensor({{5, 6, 7}});
  EXPECT_TRUE(torch::equal(hidden_states(llama_, ids)[3], hidden_states(llama_.truncated(3), ids)[3]));
  for (std::size_t i = 0; i < whole.size(); ++i) expect_same(whole[i][0], cut[i][0]);
  // The head that transformers has, on the norm without weights.
  const auto states = hidden_states(trunk, torch::tensor({{1, 2, 3}}));
  const auto last = states.back().select(1, 2);
  EXPECT_TRUE(torch::allclose(torch::linear(trunk.final_norm(last), class_head(trunk)),
                              logits(chips.tasks[0].chips[chips.tasks[0].choice->chip].chip, last), 1e-4, 1e-5));
}

TEST_F(ExportedChips, H11HaveNoTensorOfALayerAbove) {
  for (const std::int64_t layer : {0, 3, 5}) {
    const Exported exported =
        export_chips(llama_, chips_of(llama_, exact(), layer), out_, {.overwrite = Overwrite::yes});
    const auto written = Checkpoint::open(out_);
    const Config config = resolve_config(*written);
    EXPECT_EQ(config.layer_count(), layer + 1);
    EXPECT_EQ(elements_of_layers(*written, layer) * 6, elements_of_layers(llama_.checkpoint(), 5) * (layer + 1));
    for (const TensorInfo& tensor : written->tensors()) EXPECT_NE(tensor.name, "lm_head.weight");
    EXPECT_EQ(exported.layers, layer + 1);
  }
}

TEST_F(ExportedChips, AreAPlainTrunkWhereTransformersHasNoSuchHead) {
  const auto reason = [&](const TrainOptions& options, Kind kind = Kind::linear) {
    Chips chips = chips_of(llama_, options, 2);
    chips.tasks[0].choice = select_chip(chips.tasks[0].chips, {.rule = Rule::fixed, .layer = 2, .kind = kind});
    const Exported exported = export_chips(llama_, chips, out_, {.overwrite = Overwrite::yes});
    EXPECT_EQ(exported.architecture, exported.why_plain.empty() ? "LlamaForSequenceClassification" : "LlamaModel");
    EXPECT_EQ(Checkpoint::open(out_)->find("score.weight") == nullptr, !exported.why_plain.empty());
    const auto whole = run(llama_, chips),
               cut = run(Model::open(Checkpoint::open(out_), {}), read_chips(chips_file_in(out_)));
    expect_same(whole[0][0], cut[0][0]);
    return exported.why_plain;
  };
  EXPECT_EQ(reason(exact()), "");
  TrainOptions options = exact();
  options.bias = true;
  EXPECT_THAT(reason(options), testing::HasSubstr("no bias"));
  options = exact();
  options.norm = FeatureNorm::standardise;
  EXPECT_THAT(reason(options), testing::HasSubstr("--feature-norm rms"));
  options = exact();
  options.method = Method::adamw;
  options.kinds = {Kind::linear, Kind::mlp};
  EXPECT_THAT(reason(options, Kind::mlp), testing::HasSubstr("the chip an MLP"));
}

// A LayerNorm has a bias of its own, which takes the chip's.
TEST_F(ExportedChips, KeepTheirBiasInALayerNorm) {
  const Model opt = pico_model(with_class(streamline::test::tiny_opt(), "OPTForCausalLM"), 1);
  TrainOptions options = exact();
  options.norm = FeatureNorm::layer;
  options.bias = true;
  const Exported exported = export_chips(opt, chips_of(opt, options, 1), out_, {});
  EXPECT_EQ(exported.architecture, "OPTForSequenceClassification");
  EXPECT_LT(exported.largest_difference, 1e-5);
}

TEST_F(ExportedChips, OfSeveralTasksShareOneTrunk) {
  Chips chips = chips_of(llama_, exact(), 1);
  const Chips other = chips_of(llama_, exact(), 3, "other");
  chips.tasks.push_back(other.tasks[0]);
  const Exported exported = export_chips(llama_, chips, out_, {});
  EXPECT_EQ(exported.layers, 4);
  EXPECT_THAT(exported.why_plain, testing::HasSubstr("several tasks"));
  const auto both = run(Model::open(Checkpoint::open(out_), {}), read_chips(chips_file_in(out_)));
  const auto alone = run(llama_, other);
  expect_same(both[1][1], alone[1][0]);
  EXPECT_EQ(both[1][0].layer, 1);
}

TEST_F(ExportedChips, LetTextsLeaveEarly) {
  const Chips chips = chips_of(llama_, exact(), 4);
  const auto never = run(llama_, chips, 1.0), always = run(llama_, chips, 0.0), whole = run(llama_, chips);
  for (std::size_t i = 0; i < whole.size(); ++i) {
    EXPECT_EQ(never[i][0].layer, 4);
    EXPECT_EQ(always[i][0].layer, 0);
    for (std::size_t c = 0; c < 3; ++c) EXPECT_NEAR(never[i][0].probabilities[c], whole[i][0].probabilities[c], 1e-5);
  }
}

TEST_F(ExportedChips, CountTheLayersThatExitsSave) {
  const auto labelled = test::random_labels(test::kTexts, 3, 4);
  const auto features =
      test::make_features(llama_, labelled, test::random_prompts(test::kTexts, 2), folder_.path() / "f");
  TaskChips task{.task = "toy", .classes = labelled.classes, .input = {}, .chips = train_chips(features, exact())};
  task.choice = select_chip(task.chips, {.rule = Rule::fixed, .layer = 4});
  EXPECT_EQ(score_exits(task, features, 2).layers, 5);
  EXPECT_EQ(score_exits(task, features, 0).layers, 1);
  EXPECT_EQ(score_exits(task, features, 2).score.right,
            score(task.chips[4].chip, features.layer(4), features.labels()).right);
  const double some = score_exits(task, features, 0.5).layers;
  EXPECT_GE(some, 1);
  EXPECT_LE(some, 5);
}

TEST_F(ExportedChips, AreRefusedForAnotherModel) {
  const Chips chips = chips_of(llama_, exact(), 2);
  const Model other = pico_model(with_class(streamline::test::tiny_llama(6), "LlamaForCausalLM"), 2);
  EXPECT_ERROR(export_chips(other, chips, out_, {}), mismatch, "other weights");
  EXPECT_ERROR(run(other, chips), mismatch, "other weights");
  Chips open = chips;
  open.tasks[0].choice.reset();
  EXPECT_ERROR(export_chips(llama_, open, out_, {}), usage, "no chip of toy is chosen");
  EXPECT_FALSE(std::filesystem::exists(out_));
}

// What a GGUF reader finds beside the trunk.
TEST_F(ExportedChips, BecomeTheClassifierOfAGgufFile) {
  const Model qwen = pico_model(with_class(streamline::test::tiny_qwen3(), "Qwen3ForCausalLM"), 1);
  EXPECT_EQ(why_not_in_llama_cpp(qwen), "");
  EXPECT_THAT(why_not_in_llama_cpp(llama_), testing::HasSubstr("qwen3 only"));
  Chips chips = chips_of(qwen, exact(), 2);
  chips.tasks[0].input.bos = true;
  export_chips(qwen, chips, out_, {});
  const auto file = folder_.path() / "toy.gguf";
  export_chips_gguf(out_, file, DType::f32, Overwrite::no);
  const Model read = Model::open(open_checkpoint(file), {});
  EXPECT_EQ(read.layer_count(), 3);
  EXPECT_TRUE(torch::equal(class_head(read), class_head(Model::open(Checkpoint::open(out_), {}))));
  const auto parts = open_gguf(*open_directory(folder_.path()), "toy.gguf");
  const Gguf& gguf = parts.front().gguf;
  EXPECT_EQ(gguf.integer("qwen3.pooling_type"), 4);
  EXPECT_THAT(gguf.strings("qwen3.classifier.output_labels"),
              testing::Optional(testing::ElementsAre("class 0", "class 1", "class 2")));
  EXPECT_EQ(gguf.boolean("tokenizer.ggml.add_bos_token"), true);
  EXPECT_EQ(gguf.boolean("tokenizer.ggml.add_eos_token"), false);
}

TEST_F(ExportedChips, OfGemma3AreOfItsTextClasses) {
  const Json json =
      streamline::test::pico_config("gemma3_text", {{"architectures", {"Gemma3ForCausalLM"}}, {"vocab_size", 256}});
  const Model gemma = pico_model(json, 1);
  const Chips chips = chips_of(gemma, exact(), 2);
  EXPECT_EQ(export_chips(gemma, chips, out_, {}).architecture, "Gemma3TextForSequenceClassification");
  EXPECT_EQ(export_chips(gemma, chips, out_, {.overwrite = Overwrite::yes, .plain = true}).architecture,
            "Gemma3TextModel");
}

}  // namespace
}  // namespace streamline::chip
