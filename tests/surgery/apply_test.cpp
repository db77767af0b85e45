// SPDX-License-Identifier: Apache-2.0
// A plan carried out: what survives is byte for byte what it was, and the written model computes what was meant.
#include "streamline/eval/perplexity.h"
#include "streamline/heal/heal_plan.h"
#include "surgery/written.h"

namespace streamline::test {
namespace {

// Sums in another order in fp32.
LayerConfig plain_ffn(std::int64_t intermediate) {
  return {.attention = {},
          .mlp = MlpConfig{.intermediate = intermediate,
                           .gated = false,
                           .activation = Activation::relu,
                           .norm = false,
                           .residual = false,
                           .bias = true}};
}

TEST(Apply, YieldsByteIdenticalTensorsWhenNothingIsRemoved) {
  const TemporaryDirectory directory;
  const Model source = pico_model(tiny_llama(), 1);
  const AppliedPlan applied = apply_plan(source, keep_all(6), {}, directory.path() / "out", {});
  const Model result = open_model(directory.path() / "out");
  ASSERT_EQ(result.checkpoint().tensors().size(), source.checkpoint().tensors().size());
  for (const TensorInfo& tensor : source.checkpoint().tensors())
    EXPECT_EQ(tensor_bytes(result.checkpoint(), tensor.name), tensor_bytes(source.checkpoint(), tensor.name));
  EXPECT_EQ(applied.checked, Checked::tensors);
  EXPECT_EQ(applied.layers, 6);
  EXPECT_EQ(applied.parameters, 310'080);
  EXPECT_TRUE(applied.ordinary);
}

TEST(Apply, ChangesNoLogitWhenAnIdentityLayerIsRemoved) {
  const TemporaryDirectory directory;
  const Model source = pico_model(tiny_llama(), 2, [](const ExpectedTensor& tensor, std::vector<float>& values) {
    if (tensor.layer == 3 && writes_to_stream(tensor)) values.assign(values.size(), 0.0F);
  });
  apply_plan(source, drop_layers(6, {3}), {}, directory.path() / "out", {});
  const torch::Tensor ids = some_tokens(256);
  EXPECT_TRUE(torch::equal(forward_logits(open_model(directory.path() / "out"), ids), forward_logits(source, ids)));
}

TEST(Apply, CopiesSurvivingLayersAndNumbersThemFromZero) {
  const TemporaryDirectory directory;
  const Model source = pico_model(tiny_llama(), 3);
  apply_plan(source, drop_layers(6, {0, 2, 3}), {}, directory.path() / "out", {});
  const Model result = open_model(directory.path() / "out");
  EXPECT_EQ(layer_indices(result), (std::set<std::int64_t>{0, 1, 2}));
  expect_same_layer(source, 1, result, 0);
  expect_same_layer(source, 4, result, 1);
  expect_same_layer(source, 5, result, 2);
  EXPECT_EQ(result.config().json["num_hidden_layers"], 3);
}

// The counts of the method's specification for d 64, f 176, 6 layers, vocabulary 256.
TEST(Apply, WritesTheExpectedNumberOfParameters) {
  const Model source = pico_model(tiny_llama(), 4);
  const LayerConfig half{.attention = {}, .mlp = source.config().layers[2].mlp};
  struct Case {
    std::string replacement;
    std::int64_t cut, parameters;
    std::optional<LayerConfig> layer;
  };
  // swiglu-residual is stored as a whole layer: 33,792 trained values and their norm inside 46,208.
  const std::vector<Case> cases = {{"none", 2, 217'664, {}},
                                   {"layer", 2, 263'872, source.config().layers[2]},
                                   {"ffn", 2, 250'752, plain_ffn(256)},
                                   {"swiglu-residual", 2, 263'872, half},
                                   {"none", 3, 171'456, {}},
                                   {"layer", 3, 217'664, source.config().layers[2]},
                                   {"ffn", 3, 204'544, plain_ffn(256)}};
  for (const Case& expected : cases) {
    SCOPED_TRACE(expected.replacement + ", n = " + std::to_string(expected.cut));
    const TemporaryDirectory directory;
    Replacements replacements;
    if (expected.layer) replacements[1] = random_layer(source.config(), *expected.layer, 5);
    const Plan plan = cut_window(6, 2, expected.cut, expected.replacement);
    const AppliedPlan applied = apply_plan(source, plan, replacements, directory.path() / "out", {});
    EXPECT_EQ(applied.parameters, expected.parameters);
    EXPECT_EQ(applied.bytes, 4U * static_cast<std::uint64_t>(expected.parameters));
    EXPECT_EQ(applied.ordinary, expected.replacement != "ffn");
  }
}

// A layer that replaces itself, untrained: to fp32 masters and back are the very bytes.
TEST(Apply, FoldsAnUntrainedLayerToTheOriginalBytes) {
  for (const auto& [dtype, name] : std::vector<std::pair<DType, std::string>>{
           {DType::f32, "float32"}, {DType::bf16, "bfloat16"}, {DType::f16, "float16"}}) {
    SCOPED_TRACE(name);
    const TemporaryDirectory directory;
    const Model source = in_dtype(pico_model(tiny_llama(), 6), dtype, name);
    Replacements replacements;
    replacements[1] = copy_to(source.layer(4), torch::kCPU, torch::kFloat32);
    apply_plan(source, cut_window(6, 4, 1, "layer"), replacements, directory.path() / "out", {});
    const Model result = open_model(directory.path() / "out");
    for (const TensorInfo& tensor : source.checkpoint().tensors()) {
      EXPECT_EQ(result.checkpoint().at(tensor.name).dtype, dtype);
      EXPECT_EQ(tensor_bytes(result.checkpoint(), tensor.name), tensor_bytes(source.checkpoint(), tensor.name));
    }
  }
}

TEST(Apply, LeavesOutAHeadThatRepeatsATiedEmbeddingAndBuffers) {
  Json tied = tiny_llama(2);
  const Model untied = pico_model(tied, 7);
  tied["tie_word_embeddings"] = true;
  std::vector<TensorHeader> headers;
  std::string body;
  for (const TensorInfo& tensor : untied.checkpoint().tensors()) {
    headers.push_back({tensor.name, tensor.dtype, tensor.shape});
    const bool head = tensor.name == "lm_head.weight";
    body += tensor_bytes(untied.checkpoint(), head ? "model.embed_tokens.weight" : tensor.name);
  }
  headers.push_back({"model.layers.1.self_attn.rotary_emb.inv_freq", DType::f32, {8}});
  body += std::string(32, '\0');
  const auto files =
      memory_files("pico", {{"config.json", dump_json(tied)},
                            {"model.safetensors", safetensors_header(headers, {{"format", "pt"}}) + body}});
  const Model source = Model::open(Checkpoint::open(files), {});
  const TemporaryDirectory directory;
  const AppliedPlan applied = apply_plan(source, drop_layers(2, {0}), {}, directory.path() / "out", {});
  const auto result = Checkpoint::open(directory.path() / "out");
  EXPECT_EQ(result->find("lm_head.weight"), nullptr);
  EXPECT_EQ(result->find("model.layers.0.self_attn.rotary_emb.inv_freq"), nullptr);
  EXPECT_THAT(applied.notes, testing::Contains(testing::HasSubstr("lm_head.weight repeats the embedding")));
}

TEST(Apply, ShardsAsAsked) {
  const TemporaryDirectory directory;
  const Model source = pico_model(tiny_llama(), 8);
  apply_plan(source, drop_layers(6, {5}), {}, directory.path() / "out", {.max_shard_size = 400'000});
  EXPECT_TRUE(std::filesystem::exists(directory.path() / "out" / "model.safetensors.index.json"));
  EXPECT_EQ(open_model(directory.path() / "out").layer_count(), 5);
}

TEST(Apply, RefusesPlansThatAreNotForThisModel) {
  const TemporaryDirectory directory;
  const Model source = pico_model(tiny_llama(), 9);
  const auto out = directory.path() / "out";
  EXPECT_ERROR(apply_plan(source, drop_layers(7, {1}), {}, out, {}), mismatch, "plan: is for a model of 7 layers; ");
  Plan plan = drop_layers(6, {1});
  plan.base.digest = std::string(64, '0');
  EXPECT_ERROR(apply_plan(source, plan, {}, out, {}), mismatch, "the plan was made for other weights");
  EXPECT_ERROR(apply_plan(source, cut_window(6, 1, 2, "layer"), {}, out, {}), mismatch,
               "layers 1..2 are replaced by layer, but there are no weights for it");
  plan = drop_layers(6, {1});
  plan.segments.pop_back();
  EXPECT_ERROR(apply_plan(source, plan, {}, out, {}), mismatch, "layers 2..5 are not covered");
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(Apply, RefusesReplacementsThatAreNotFinite) {
  const TemporaryDirectory directory;
  const Model source = in_dtype(pico_model(tiny_llama(), 10), DType::f16, "float16");
  Replacements replacements;
  replacements[1] = copy_to(source.layer(2), torch::kCPU, torch::kFloat32);
  replacements[1].tensors.at(Role::down).weight[0][0] = 70000;  // beyond fp16
  EXPECT_ERROR(apply_plan(source, cut_window(6, 2, 2, "layer"), replacements, directory.path() / "out", {}), numeric,
               "model.layers.2.mlp.down_proj.weight: the replacement holds NaN or infinity once rounded to float16");
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(Apply, NamesTheTensorOfASourceThatIsNotFinite) {
  const TemporaryDirectory directory;
  const Model source = pico_model(tiny_llama(), 11, [](const ExpectedTensor& tensor, std::vector<float>& values) {
    if (tensor.layer == 1 && tensor.role == Role::up) values[0] = NAN;
  });
  EXPECT_ERROR(apply_plan(source, drop_layers(6, {4}), {}, directory.path() / "out", {.check = Checked::logits}),
               numeric, "model.layers.1.mlp.up_proj.weight");
  EXPECT_TRUE(std::filesystem::is_empty(directory.path()));
}

TEST(Apply, MeasuresWhatItWrites) {
  const TemporaryDirectory directory;
  const Placement bf16{.device = torch::kCPU, .dtype = torch::kBFloat16};
  const Model source = in_dtype(pico_model(tiny_llama(), 12), DType::bf16, "bfloat16", bf16);
  Replacements replacements;
  replacements[1] = as_stored(random_layer(source.config(), source.config().layers[1], 13), source.config());
  EXPECT_EQ(replacements[1].at(Role::q).weight.scalar_type(), torch::kBFloat16);
  const Plan plan = cut_window(6, 1, 3, "layer");
  apply_plan(source, plan, replacements, directory.path() / "out", {});
  const torch::Tensor ids = some_tokens(256);
  EXPECT_TRUE(torch::equal(forward_logits(open_model(directory.path() / "out", bf16), ids),
                           forward_logits(source.view(plan, replacements), ids)));
}

// The replacement's output put in the place of the hidden state inside the original model, step by step, against the
// written checkpoint (specification checks 23, 24 and 25).
TEST(Apply, WritesTheCompositionThatTrainingSaw) {
  for (const Json& json : {tiny_llama(4), tiny_qwen3(), tiny_opt()}) {
    const Model source = pico_model(json, 14);
    const std::vector<LayerConfig> kinds = {
        source.config().layers[1], {.attention = {}, .mlp = source.config().layers[1].mlp}, plain_ffn(96)};
    for (std::size_t kind = 0; kind < kinds.size(); ++kind) {
      SCOPED_TRACE(json["model_type"].get<std::string>() + ", replacement " + std::to_string(kind));
      const TemporaryDirectory directory;
      const LayerWeights student = random_layer(source.config(), kinds[kind], 15 + kind);
      apply_plan(source, cut_window(4, 1, 2, "student"), {{1, student}}, directory.path() / "out", {});

      const torch::NoGradGuard no_grad;
      const torch::Tensor ids = some_tokens(256);
      const Positions positions = rope_positions(source.config(), 0, ids.size(1), torch::kCPU);
      torch::Tensor x = hidden_states(source, ids)[1];
      x = block_forward(source.config(), student, x, positions);
      x = block_forward(source.config(), source.layer(3), x, positions);
      EXPECT_LT(difference(forward_logits(open_model(directory.path() / "out"), ids), source.logits(x)), kFloat32);
    }
  }
}

// Check 25 of trained replacements: what they give in the place of the hidden states inside the original model.
TEST(Apply, WritesTheModelThatSubstitutedStatesMeasure) {
  constexpr double kNats = 5e-6;  // a token: logits computed in fp32 in another order
  constexpr std::size_t kWindow = 16;
  const Model source = pico_model(tiny_llama(), 15);
  const TokenBatches training = random_tokens(40, kWindow, 1), validation = random_tokens(4, kWindow, 2);
  EvaluationText text;
  for (const auto& ids : random_tokens(8, kWindow, 3).sequences)
    text.ids.insert(text.ids.end(), ids.begin(), ids.end());
  for (const char* name : {"layer", "ffn", "swiglu-residual", "ffn-residual", "low-rank", "linear"}) {
    SCOPED_TRACE(name);
    const TemporaryDirectory directory;
    const Replacement& replacement = find_replacement(name);
    const HealedPlan healed = heal_plan(source, cut_window(6, 2, 2, name), replacement, training, validation,
                                        {.heal = {.learning_rate = 2e-3, .batch_tokens = 64}});
    apply_plan(source, healed.plan, healed.replacements, directory.path() / "out", {});
    const PerplexityResult found = perplexity(open_model(directory.path() / "out"), text, {.window = kWindow});

    const torch::NoGradGuard no_grad;
    const Positions positions = rope_positions(source.config(), 0, kWindow, torch::kCPU);
    double nll = 0;
    for (auto window = text.ids.begin(); window != text.ids.end(); window += kWindow) {
      const auto ids = torch::tensor(std::vector<std::int64_t>(window, window + kWindow));
      torch::Tensor x = hidden_states(source, ids.unsqueeze(0))[static_cast<std::size_t>(2 - replacement.before)];
      x = block_forward(source.config(), healed.replacements.begin()->second, x, positions);
      for (const std::int64_t layer : {4, 5}) x = block_forward(source.config(), source.layer(layer), x, positions);
      const auto shares = source.logits(x)[0].to(torch::kFloat64).log_softmax(-1);
      nll -= shares.slice(0, 0, -1).gather(1, ids.slice(0, 1).unsqueeze(1)).sum().item<double>();
    }
    ASSERT_EQ(found.tokens, 8 * 15);
    EXPECT_NEAR(found.mean_nll, nll / static_cast<double>(found.tokens), kNats);
  }
}

}  // namespace
}  // namespace streamline::test
