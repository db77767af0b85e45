// SPDX-License-Identifier: Apache-2.0
// GGUF files of the reference checkpoints: read back, they compute what the reference computed.
#include "streamline/surgery/export_gguf.h"

#include <gmock/gmock.h>

#include <cmath>
#include <functional>
#include <ostream>

#include "streamline/arch/gguf_limits.h"
#include "streamline/arch/open_checkpoint.h"
#include "streamline/io/gguf.h"
#include "streamline/surgery/gguf_output.h"
#include "support/core/expect.h"
#include "support/core/pico_checkpoint.h"
#include "support/core/temporary_directory.h"
#include "support/torch/golden.h"
#include "support/torch/pico.h"
#include "support/torch/reference.h"

namespace streamline {
namespace {

namespace fs = std::filesystem;

// Positions up to which llama.cpp, which ignores the window of some families, computes the same; 0: all.
struct Expressible {
  const char* family;
  std::int64_t context = 0;
};
constexpr Expressible kExpressible[] = {
    {"llama2"},  {"llama3"},    {"mistral", 16}, {"qwen2"},    {"qwen3", 16},           {"phi"},     {"phi3", 20},
    {"gpt2"},    {"gpt2_bare"}, {"olmo2"},       {"gpt_neox"}, {"gpt_neox_sequential"}, {"mixtral"}, {"qwen2_moe"},
    {"granite"}, {"gemma2"},    {"falcon"},      {"glm4"},     {"starcoder2", 16}};

class GgufExport : public testing::TestWithParam<Expressible> {};

TEST_P(GgufExport, ComputesTheReferenceLogits) {
  REQUIRE_SHARED(std::string("golden/") + GetParam().family);
  const torch::NoGradGuard no_grad;
  const test::TemporaryDirectory directory;
  const test::Golden golden = test::load_golden(GetParam().family);
  const Model source = Model::open(golden.checkpoint, {.dtype = torch::kFloat});
  const fs::path file = directory.path() / "out.gguf";
  const ExportedGguf exported = export_gguf(source, file, {.type = DType::f32, .context = GetParam().context});
  EXPECT_EQ(exported.layers, source.layer_count());
  EXPECT_LT(exported.largest_logit_difference, test::kFloat32);
  const Model written = Model::open(open_checkpoint(file), {.dtype = torch::kFloat});
  const std::int64_t positions = GetParam().context > 0 ? GetParam().context : golden.ids.size(1);
  const torch::Tensor logits = forward_logits(written, golden.ids.narrow(1, 0, positions));
  EXPECT_LT(test::relative_difference(logits, golden.logits.narrow(1, 0, positions)), test::kFloat32);
}

// A row of 24 components is no whole number of blocks, so that such matrices are float16.
TEST_P(GgufExport, OfEachTypeIsReadBack) {
  REQUIRE_SHARED(std::string("golden/") + GetParam().family);
  const torch::NoGradGuard no_grad;
  const test::TemporaryDirectory directory;
  const test::Golden golden = test::load_golden(GetParam().family);
  const Model source = Model::open(golden.checkpoint, {.dtype = torch::kFloat});
  double last = 0;
  for (const auto& [type, tolerance] : {std::pair{DType::bf16, 3e-2}, {DType::f16, 1e-2}, {DType::q8_0, 0.2}}) {
    const fs::path file = directory.path() / (std::string(dtype_name(type)) + ".gguf");
    const ExportedGguf exported = export_gguf(source, file, {.type = type, .context = GetParam().context});
    EXPECT_LT(exported.largest_logit_difference, tolerance) << dtype_name(type);
    EXPECT_GT(exported.tensors.at(std::string(dtype_name(type))), 0);
    last = exported.largest_logit_difference;
  }
  EXPECT_GT(last, 0);
}

INSTANTIATE_TEST_SUITE_P(Golden, GgufExport, testing::ValuesIn(kExpressible),
                         [](const auto& info) { return std::string(info.param.family); });

using Change = std::function<void(test::PicoTensors&)>;

Model changed_llama(const test::PicoOptions& options, const Change& change) {
  const Family& family = test::family_named("llama");
  test::PicoTensors tensors = test::pico_tensors(family, options);
  change(tensors);
  return Model::open(Checkpoint::open(test::pico_files(test::pico_config(family, options), tensors, DType::f32)),
                     {.dtype = torch::kFloat});
}

// Many layers that each add much to the last: what eight bits leave out grows from one to the next.
TEST(GgufExportOfRoundedWeights, WhoseLogitsDifferMuchIsWrittenAndTold) {
  const torch::NoGradGuard no_grad;
  const test::TemporaryDirectory directory;
  const Model source = changed_llama({.layers = 48, .intermediate = 64}, [](test::PicoTensors& tensors) {
    for (auto& [name, tensor] : tensors)
      if (name.find("_proj") != std::string::npos) tensor *= 4;
  });
  const ExportedGguf exact = export_gguf(source, directory.path() / "exact.gguf", {.type = DType::f32});
  EXPECT_THAT(exact.notes, testing::Not(testing::Contains(testing::HasSubstr("rounding to"))));
  const ExportedGguf rounded = export_gguf(source, directory.path() / "rounded.gguf", {.type = DType::q8_0});
  EXPECT_GT(rounded.largest_logit_difference, 0.2);
  EXPECT_THAT(rounded.notes, testing::Contains(testing::HasSubstr("rounding to Q8_0 moves logits by up to")));
}

TEST(GgufExportFile, OfAModelThatHoldsNaNIsLaidToTheModel) {
  const torch::NoGradGuard no_grad;
  const test::TemporaryDirectory directory;
  const Model source = changed_llama(
      {}, [](test::PicoTensors& tensors) { tensors.at("model.layers.1.mlp.down_proj.weight").fill_(NAN); });
  EXPECT_ERROR(export_gguf(source, directory.path() / "out.gguf", {.type = DType::f32}), numeric,
               "model.layers.1.mlp.down_proj.weight");
  EXPECT_FALSE(fs::exists(directory.path() / "out.gguf"));
}

// What the check says of a file of `written` that should be one of `expected`, as if the writer had gone wrong.
double checked(const Model& written, DType type, const Model& expected, const AllowedDifference& allowed) {
  const torch::NoGradGuard no_grad;
  const test::TemporaryDirectory directory;
  export_gguf(written, directory.path() / "source.gguf", {.type = type});
  GgufOutput output(directory.path() / "out.gguf", Overwrite::no);
  fs::copy_file(directory.path() / "source.gguf", output.directory().staging() / "out.gguf");
  return output.check(expected, allowed);
}

struct Changed {
  const char* what;
  Change change;
  const char* message;
};

void PrintTo(const Changed& changed, std::ostream* out) { *out << changed.what; }

class GgufCheck : public testing::TestWithParam<Changed> {};

TEST_P(GgufCheck, FindsWhatIsNotAsItShouldBe) {
  const test::PicoOptions options = {.intermediate = 64};
  const Model written = changed_llama(options, GetParam().change),
              expected = changed_llama(options, [](test::PicoTensors&) {});
  if (*GetParam().message == 0) {
    EXPECT_GT(checked(written, DType::q4_0, expected, {.layer = 0.6}), 0);
  } else {
    EXPECT_ERROR(checked(written, DType::q4_0, expected, {.layer = 0.6}), internal, GetParam().message);
  }
}

void other_values(test::PicoTensors& tensors, const std::string& name) {
  torch::Tensor& tensor = tensors.at(name);
  tensor = test::random_tensor(tensor.sizes().vec(), 99, tensor.std().item<double>());
}

const std::vector<Changed> kChanged = {
    {"Nothing", [](test::PicoTensors&) {}, ""},
    {"TheEmbedding", [](test::PicoTensors& t) { other_values(t, "model.embed_tokens.weight"); }, "the embedding"},
    {"AnMlp", [](test::PicoTensors& t) { other_values(t, "model.layers.2.mlp.down_proj.weight"); },
     "layer 2 differs by"},
    {"ZerosInsteadOfALayer",
     [](test::PicoTensors& t) {
       t.at("model.layers.1.mlp.down_proj.weight").zero_();
       t.at("model.layers.1.self_attn.o_proj.weight").zero_();
     },
     "layer 1 differs by 1 "},
    {"TheHead", [](test::PicoTensors& t) { other_values(t, "lm_head.weight"); }, "the head differs by"}};
INSTANTIATE_TEST_SUITE_P(Change, GgufCheck, testing::ValuesIn(kChanged),
                         [](const auto& info) { return std::string(info.param.what); });

TEST(GgufCheckOfRope, FindsAnotherTheta) {
  const Family& family = test::family_named("llama");
  const Model written = test::pico_model(family, {.extra = {{"rope_theta", 500.0}}}),
              other = test::pico_model(family, {});
  EXPECT_LT(checked(written, DType::f32, written, {.logits = 1e-4}), 1e-4);
  EXPECT_ERROR(checked(written, DType::f32, other, {.logits = 1e-4}), internal, "its logits differ");
}

struct Refused {
  const char* family;
  const char* message;
};
constexpr Refused kRefused[] = {
    {"opt", "no architecture of llama.cpp is known here that computes OPT models"},
    {"baichuan2", "no architecture of llama.cpp is known here"},
    {"olmo3", "no architecture of llama.cpp is known here"},
    {"mistral", "layer 0 has a window of 16 tokens, which llama.cpp's 'llama' does not know; with --context 16"},
    {"qwen3", "layer 3 has a window of 16 tokens"},
    {"smollm3", "layer 2 does not turn its heads; llama.cpp's 'smollm3' leaves out every fourth layer"},
    {"gemma3_text", "layer 2 has no window; llama.cpp's 'gemma3' counts on one layer without after every 5 with one"},
    {"cohere2", "layer 2 has no window; llama.cpp's 'cohere2' counts on one layer without after every 3 with one"},
    {"qwen3_moe", "layer 1 has no experts, and llama.cpp's 'qwen3moe' has them in all layers"}};

TEST(GgufLimits, AreOneLineAndLeaveNothing) {
  for (const Refused& refused : kRefused) {
    REQUIRE_SHARED(std::string("golden/") + refused.family);
    SCOPED_TRACE(refused.family);
    const test::TemporaryDirectory directory;
    const Model source = Model::open(test::load_golden(refused.family).checkpoint, {.dtype = torch::kFloat});
    EXPECT_ERROR(export_gguf(source, directory.path() / "out.gguf", {}), unsupported, refused.message);
    EXPECT_TRUE(fs::is_empty(directory.path()));
  }
}

Model pico(const Json& changes = Json::object(), bool biases = false) {
  return test::pico_model(test::family_named("llama"), {.biases = biases, .extra = changes}, {.dtype = torch::kFloat});
}

// For whoever converts a checkpoint with a program that does not look: what a text's length has no part in.
TEST(GgufLimits, SayWhyAlone) {
  const auto config = [](const char* family, const Json& changes = Json::object()) {
    return test::pico_model(test::family_named(family), {.layers = 6, .extra = changes}).config();
  };
  EXPECT_EQ(why_not_gguf(config("llama")), "");
  EXPECT_EQ(why_not_gguf(config("opt")), "");      // nothing is known of it
  EXPECT_EQ(why_not_gguf(config("mistral")), "");  // whose window llama.cpp ignores, that of the source too
  EXPECT_EQ(why_not_gguf(config("gemma3_text", {{"sliding_window_pattern", 6}})), "");
  const Config broken = config("gemma3_text", {{"sliding_window_pattern", 3}});
  EXPECT_THAT(why_not_gguf(broken), testing::StartsWith("layer 2 has no window; llama.cpp's 'gemma3' counts on"));
  EXPECT_EQ(layer_off_period(broken), 2U);
  EXPECT_EQ(layer_off_period(config("llama")), std::nullopt);
}

TEST(GgufLimits, KnowWhatLlamaCppComputesOtherwise) {
  const test::TemporaryDirectory directory;
  const fs::path file = directory.path() / "out.gguf";
  EXPECT_ERROR(export_gguf(pico({{"hidden_act", "gelu"}}), file, {}), unsupported,
               "its activation is gelu; llama.cpp's 'llama' has silu");
  EXPECT_ERROR(export_gguf(pico({{"rope_scaling", {{"rope_type", "dynamic"}, {"factor", 2.0}}}}), file, {}),
               unsupported, "its RoPE scaling (dynamic) cannot be said for llama.cpp's 'llama'");
  EXPECT_ERROR(export_gguf(pico(), directory.path() / "out.bin", {}), usage, "the name of a GGUF file ends in .gguf");
  EXPECT_ERROR(export_gguf(pico(), file, {.type = DType::q4_k}), usage, "matrices cannot be written as Q4_K");
  EXPECT_ERROR(export_gguf(pico(), file, {.context = 1 << 20}), usage, "--context is 1048576");
  EXPECT_TRUE(fs::is_empty(directory.path()));
}

// DeciLM: key and value heads 2, -, 1, -, an MLP in layers 0, 1 and 3 only.
Model pico_decilm(const std::vector<Json>& blocks) {
  return Model::open(test::pico_checkpoint(test::pico_config("nemotron_nas", {{"block_configs", blocks}})),
                     {.dtype = torch::kFloat});
}

TEST(GgufExportDecilm, HasZerosWhereThereIsNoMlpAndNoHeadsWhereThereIsNoAttention) {
  const torch::NoGradGuard no_grad;
  const test::TemporaryDirectory directory;
  const fs::path file = directory.path() / "out.gguf";
  const Model source = pico_decilm(
      {test::block(2, 24.0), test::block(nullptr, 48.0), test::block(4, nullptr), test::block(nullptr, 24.0)});
  export_gguf(source, file, {.type = DType::f32});
  const auto parts = open_gguf(*open_directory(directory.path()), "out.gguf");
  using Values = std::vector<std::int64_t>;
  EXPECT_EQ(parts.front().gguf.string("general.architecture"), "deci");
  EXPECT_EQ(parts.front().gguf.integers("deci.attention.head_count"), (Values{4, 0, 4, 0}));
  EXPECT_EQ(parts.front().gguf.integers("deci.attention.head_count_kv"), (Values{2, 0, 1, 0}));
  EXPECT_EQ(parts.front().gguf.integers("deci.feed_forward_length"), (Values{256, 512, 256, 256}));
  const Model written = Model::open(open_checkpoint(file), {.dtype = torch::kFloat});
  const auto ids = test::pico_ids(2, 19, 32);
  EXPECT_LT(test::relative_difference(forward_logits(written, ids), forward_logits(source, ids)), test::kFloat32);
  EXPECT_FALSE(written.config().layers[1].attention);
  for (const Role role : {Role::gate, Role::up, Role::down, Role::mlp_norm})
    EXPECT_EQ(written.layer(2).at(role).weight.abs().max().item<double>(), 0);
}

TEST(GgufExportDecilm, NeedsNoMlpInItsFirstLayer) {
  const torch::NoGradGuard no_grad;
  const test::TemporaryDirectory directory;
  const fs::path file = directory.path() / "out.gguf";
  const Model source =
      pico_decilm({test::block(2, nullptr), test::block(2, 24.0), test::block(4, 24.0), test::block(2, 24.0)});
  export_gguf(source, file, {.type = DType::f32});
  const Model written = Model::open(open_checkpoint(file), {.dtype = torch::kFloat});
  const auto ids = test::pico_ids(2, 19, 32);
  EXPECT_LT(test::relative_difference(forward_logits(written, ids), forward_logits(source, ids)), test::kFloat32);
}

TEST(GgufExportDecilm, NeedsAnAttentionInItsFirstLayer) {
  const test::TemporaryDirectory directory;
  const Model source =
      pico_decilm({test::block(nullptr, 24.0), test::block(2, 24.0), test::block(2, 24.0), test::block(2, 24.0)});
  EXPECT_ERROR(export_gguf(source, directory.path() / "out.gguf", {}), unsupported, "layer 0 has no attention");
  EXPECT_TRUE(fs::is_empty(directory.path()));
}

// What llama.cpp's 'llama4' takes for granted, and `changes`.
Model pico_llama4(Json changes = Json::object()) {
  Json extra = {{"attention_chunk_size", 8192},   {"floor_scale", 8192},   {"attn_scale", 0.1},
                {"interleave_moe_layer_step", 2}, {"moe_layers", nullptr}, {"no_rope_layers", nullptr}};
  extra.update(changes);
  return test::pico_model(test::family_named("llama4_text"), {.layers = 8, .extra = extra}, {.dtype = torch::kFloat});
}

TEST(GgufExportLlama4, TakesTheStacksOfExpertsApart) {
  const torch::NoGradGuard no_grad;
  const test::TemporaryDirectory directory;
  const fs::path file = directory.path() / "out.gguf";
  const Model source = pico_llama4();
  export_gguf(source, file, {.type = DType::f32});
  const auto parts = open_gguf(*open_directory(directory.path()), "out.gguf");
  const Gguf& gguf = parts.front().gguf;
  EXPECT_EQ(gguf.string("general.architecture"), "llama4");
  EXPECT_EQ(gguf.integer("llama4.interleave_moe_layer_step"), 2);
  EXPECT_TRUE(gguf.string("general.size_label")->starts_with("4x"));
  EXPECT_EQ(gguf.integer("llama4.feed_forward_length"), source.config().layers[0].mlp->intermediate);
  EXPECT_EQ(gguf.integer("llama4.expert_feed_forward_length"), source.config().layers[1].mlp->intermediate);
  const Model written = Model::open(open_checkpoint(file), {.dtype = torch::kFloat});
  const auto ids = test::pico_ids(2, 19, 32);
  EXPECT_LT(test::relative_difference(forward_logits(written, ids), forward_logits(source, ids)), test::kFloat32);
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(written.config().layers[i].mlp->experts.has_value(), i % 2 == 1) << i;
    EXPECT_EQ(written.config().layers[i].attention, source.config().layers[i].attention) << i;
  }
}

TEST(GgufExportLlama4, KnowsWhatItsArchitectureTakesForGranted) {
  const test::TemporaryDirectory directory;
  const fs::path file = directory.path() / "out.gguf";
  const auto refused = [&](const Json& changes, const char* message, std::int64_t context = 0) {
    EXPECT_ERROR(export_gguf(pico_llama4(changes), file, {.context = context}), unsupported, message);
  };
  refused({{"attention_chunk_size", 16}}, "layer 0 sees chunks of 16 tokens, other than in llama.cpp's 'llama4'");
  refused({{"floor_scale", 32}},
          "layer 3 scales its queries by position other than llama.cpp's 'llama4'; with --context 31");
  refused({{"moe_layers", {0, 2, 4, 6}}}, "has experts in every n-th layer and in no other");
  refused({{"no_rope_layers", Json(8, 1)}}, "layer 3 turns its heads; llama.cpp's 'llama4' leaves out every fourth");
  refused({{"use_qk_norm", false}},
          "its queries and keys are not normed; llama.cpp's 'llama4' does that with 4 experts");
  EXPECT_TRUE(fs::is_empty(directory.path()));
  export_gguf(pico_llama4({{"attention_chunk_size", 16}, {"floor_scale", 32}}), file, {.context = 16});
  EXPECT_EQ(open_checkpoint(file)->config().at("max_position_embeddings"), 16);
}

TEST(GgufExportFile, IsNotReplacedUnlessAskedFor) {
  const test::TemporaryDirectory directory;
  const fs::path file = directory.path() / "out.gguf";
  write_text(file, "mine");
  EXPECT_ERROR(export_gguf(pico(), file, {}), io, "already exists; choose another name, or pass --overwrite");
  EXPECT_EQ(read_text(file), "mine");
  export_gguf(pico(), file, {.overwrite = Overwrite::yes});
  EXPECT_EQ(open_checkpoint(file)->config().at("model_type"), "llama");
}

TEST(GgufExportFile, KeepsNormsAndBiasesInFloat32) {
  const test::TemporaryDirectory directory;
  const fs::path file = directory.path() / "out.gguf";
  export_gguf(pico(Json::object(), /*biases=*/true), file, {.type = DType::f16});
  for (const TensorInfo& tensor : open_checkpoint(file)->tensors())
    EXPECT_EQ(tensor.dtype, tensor.shape.size() == 1 ? DType::f32 : DType::f16) << tensor.name;
}

}  // namespace
}  // namespace streamline
