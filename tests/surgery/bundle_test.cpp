// SPDX-License-Identifier: Apache-2.0
// A plan with its weights repeats the result byte for byte, and is refused when anything does not belong together.
#include "streamline/base/digest.h"
#include "streamline/surgery/layer_json.h"
#include "surgery/written.h"

namespace streamline::test {
namespace {

namespace fs = std::filesystem;

class Bundle : public testing::Test {
 protected:
  Bundle() : in_(directory_.path() / "in"), out_(directory_.path() / "out") {
    write_files(in_dtype(pico_model(tiny_llama(), 1), DType::bf16, "bfloat16"), in_);
    source_.emplace(open_model(in_));
  }

  // A result with one trained layer; returns its plan file.
  fs::path applied(const LayerConfig& layer) {
    Plan plan = cut_window(6, 2, 3, "trained");
    plan.method = {.name = "llm-streamline", .parameters = {{"cut", 3}}, .calibration_digest = "d", .seed = 9};
    apply_plan(*source_, plan, {{1, random_layer(source_->config(), layer, 2)}}, out_, {});
    return out_ / "streamline" / "plan.json";
  }
  const LayerConfig& ordinary() const { return source_->config().layers[2]; }

  TemporaryDirectory directory_;
  fs::path in_, out_;
  std::optional<Model> source_;
};

const LayerConfig kFfn{.attention = {},
                       .mlp = MlpConfig{.intermediate = 48,
                                        .gated = false,
                                        .activation = Activation::relu,
                                        .norm = false,
                                        .residual = false,
                                        .bias = true}};

TEST_F(Bundle, RepeatsTheResultByteForByte) {
  for (const LayerConfig& layer : {ordinary(), LayerConfig{.attention = {}, .mlp = ordinary().mlp}, kFfn}) {
    const auto [plan, replacements] = read_plan_bundle(applied(layer), *source_);
    EXPECT_TRUE(missing_weights(plan, replacements).empty());
    apply_plan(*source_, plan, replacements, directory_.path() / "again", {.provenance = {{"command", "apply"}}});
    auto first = contents(out_), second = contents(directory_.path() / "again");
    EXPECT_TRUE(first.erase("README.md") == 1 && second.erase("README.md") == 1);  // holds the run's provenance
    EXPECT_EQ(first, second);
    EXPECT_TRUE(first.contains("streamline/replacement.safetensors"));
    fs::remove_all(out_);
    fs::remove_all(directory_.path() / "again");
  }
}

TEST_F(Bundle, IsFoundInsideTheResultsDirectory) {
  applied(ordinary());
  EXPECT_EQ(read_plan_bundle(out_, *source_).first.method.seed, 9u);
}

TEST_F(Bundle, HoldsTheWeightsAsTheyAreStored) {
  const auto replacements = read_plan_bundle(applied(ordinary()), *source_).second;
  EXPECT_TRUE(same(replacements.at(1), open_model(out_, {.device = torch::kCPU, .dtype = torch::kBFloat16}).layer(2)));
}

TEST_F(Bundle, ListsWhatHasNoWeights) {
  const fs::path file = directory_.path() / "plan.json";
  write_text(file, dump_json(to_json(cut_window(6, 2, 3, "layer"))));
  const auto [plan, replacements] = read_plan_bundle(file, *source_);
  EXPECT_TRUE(replacements.empty());
  EXPECT_EQ(missing_weights(plan, replacements), std::vector<std::int64_t>{1});
}

TEST_F(Bundle, WithoutReplacementIsThePlanAlone) {
  apply_plan(*source_, drop_layers(6, {1}), {}, out_, {});
  EXPECT_FALSE(fs::exists(out_ / "streamline" / "replacement.safetensors"));
  const Plan plan = read_plan_bundle(out_, *source_).first;
  EXPECT_EQ(plan.base.model, "in");
  EXPECT_EQ(plan.base.digest, source_->checkpoint().digest());
}

TEST_F(Bundle, RefusesWeightsThatAreNotThePlans) {
  const fs::path plan = applied(ordinary());
  const fs::path weights = plan.parent_path() / "replacement.safetensors";
  std::string bytes = read_text(weights);
  bytes.back() ^= 1;
  write_text(weights, bytes);
  EXPECT_ERROR(read_plan_bundle(plan, *source_), mismatch, "these are not the plan's weights");
  fs::remove(weights);
  EXPECT_ERROR(read_plan_bundle(plan, *source_), io, "replacement.safetensors");
}

TEST_F(Bundle, RefusesAnotherModel) {
  const fs::path plan = applied(ordinary());
  EXPECT_ERROR(read_plan_bundle(plan, pico_model(tiny_llama(5), 1)), mismatch, "is for a model of 6 layers");
  EXPECT_ERROR(read_plan_bundle(plan, pico_model(tiny_llama(6), 2)), mismatch, "made for other weights");
}

// A weights file made by hand: whatever is wrong with it is said, although its digest agrees.
TEST_F(Bundle, RefusesWeightsThatDoNotFitTheirDescription) {
  const LayerConfig narrow{.attention = {},
                           .mlp = MlpConfig{.intermediate = 2,
                                            .gated = false,
                                            .activation = Activation::relu,
                                            .norm = false,
                                            .residual = false,
                                            .bias = false}};
  struct Tensor {
    std::string name;
    std::vector<std::int64_t> shape;
    float value = 1;
    DType dtype = DType::f32;
  };
  struct Case {
    const char* message;
    ErrorKind kind;
    std::string metadata;
    std::vector<Tensor> tensors;
  };
  const std::string shape = to_json(narrow).dump();
  const Tensor up{"segments.1.up.weight", {2, 64}}, down{"segments.1.down.weight", {64, 2}};
  const std::vector<Case> cases = {
      {"no tensor named 'segments.1.down.weight'", ErrorKind::format, shape, {up}},
      {"does not have the shape", ErrorKind::mismatch, shape, {up, {"segments.1.down.weight", {2, 64}}}},
      {"3 tensors named 'segments.1.*'; expected 2",
       ErrorKind::format,
       shape,
       {up, down, {"segments.1.gate.weight", {2, 64}}}},
      {"holds NaN or infinity", ErrorKind::numeric, shape, {up, {"segments.1.down.weight", {64, 2}, NAN}}},
      {"expected F32, F16 or BF16", ErrorKind::format, shape, {up, {"segments.1.down.weight", {64, 2}, 0, DType::i32}}},
      {"not valid JSON", ErrorKind::format, "{", {up, down}},
      {"unknown key 'experts'", ErrorKind::format, "{\"experts\": 2}", {up, down}},
  };
  for (const Case& broken : cases) {
    SCOPED_TRACE(broken.message);
    std::vector<TensorHeader> headers;
    std::string body;
    for (const Tensor& tensor : broken.tensors) {
      headers.push_back({tensor.name, tensor.dtype, tensor.shape});
      const std::vector<float> values(static_cast<std::size_t>(tensor.shape[0] * tensor.shape[1]), tensor.value);
      body.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
    }
    const std::string file = safetensors_header(headers, {{"segments.1", broken.metadata}}) + body;
    Plan plan = cut_window(6, 2, 3, "trained");
    plan.segments[1].weights_file = "w.safetensors";
    plan.segments[1].weights_sha256 = sha256(file);
    write_text(directory_.path() / "w.safetensors", file);
    write_text(directory_.path() / "plan.json", dump_json(to_json(plan)));
    try {
      read_plan_bundle(directory_.path() / "plan.json", *source_);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), broken.kind) << error.what();
      EXPECT_THAT(error.what(), testing::HasSubstr(broken.message));
    }
  }
}

TEST(LayerJson, RoundTripsEveryField) {
  LayerConfig layer{.attention = AttentionConfig{.heads = 6,
                                                 .kv_heads = 3,
                                                 .head_dim = 24,
                                                 .window = 16,
                                                 .qk_norm = QkNorm::head,
                                                 .qkv_bias = true,
                                                 .o_bias = false},
                    .mlp = MlpConfig{.intermediate = 7,
                                     .gated = false,
                                     .activation = Activation::gelu_tanh,
                                     .norm = false,
                                     .residual = true,
                                     .bias = true}};
  EXPECT_EQ(to_json(layer_from_json(to_json(layer), "x")), to_json(layer));
  layer.attention->window.reset();
  layer.mlp.reset();
  EXPECT_EQ(to_json(layer_from_json(to_json(layer), "x")), to_json(layer));
  EXPECT_FALSE(layer_from_json(to_json(layer), "x").attention->window);
}

TEST(LayerJson, RefusesSizesThatAreNone) {
  Json json = to_json(config_from_json(tiny_llama(), "pico").layers[0]);
  for (const Json& size : {Json(0), Json(-1), Json(INT64_MAX), Json("16"), Json(nullptr)}) {
    json["mlp"]["intermediate"] = size;
    EXPECT_ERROR(layer_from_json(json, "x"), format, "x.mlp");
  }
  json = to_json(config_from_json(tiny_llama(), "pico").layers[0]);
  json["attention"]["kv_heads"] = 3;
  EXPECT_ERROR(layer_from_json(json, "x"), format, "4 heads do not divide among 3");
}

}  // namespace
}  // namespace streamline::test
