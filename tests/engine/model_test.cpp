// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/model.h"

#include "streamline/engine/mapped.h"
#include "support/core/expect.h"
#include "support/core/plans.h"
#include "support/torch/layers.h"
#include "support/torch/pico.h"
#include "support/torch/reference.h"

namespace streamline {
namespace {

using namespace test;

const PicoOptions kLlama = {.layers = 5, .hidden = 32};

Model llama(DType stored = DType::f32, torch::ScalarType computed = torch::kFloat) {
  PicoOptions options = kLlama;
  options.dtype = stored;
  return pico_model(family_named("llama"), options, {.dtype = computed});
}

bool inside(const torch::Tensor& tensor, std::span<const std::byte> bytes) {
  const auto* data = static_cast<const std::byte*>(tensor.const_data_ptr());
  return data >= bytes.data() && data + tensor.nbytes() <= bytes.data() + bytes.size();
}

TEST(Model, SharesTheMappedFileWhereTypesAgree) {
  const auto checkpoint = pico_checkpoint(family_named("llama"), {.dtype = DType::bf16});
  const Model model = Model::open(checkpoint, {.dtype = torch::kBFloat16});
  const auto& info = checkpoint->at("model.layers.2.mlp.up_proj.weight");
  EXPECT_TRUE(inside(model.layer(2).at(Role::up).weight, checkpoint->bytes(info)));
}

TEST(Model, ConvertsOnceWhereTypesDiffer) {
  const Model model = llama(DType::bf16);
  const auto first = model.layer(2).at(Role::up).weight, second = model.layer(2).at(Role::up).weight;
  EXPECT_EQ(first.scalar_type(), torch::kFloat);
  EXPECT_EQ(first.data_ptr(), second.data_ptr());
}

TEST(Model, ConvertsAnewWhatItForgot) {
  const Model model = llama(DType::bf16);
  const auto first = model.layer(2).at(Role::up).weight;
  model.forget_layers();
  const auto second = model.layer(2).at(Role::up).weight;
  EXPECT_NE(first.data_ptr(), second.data_ptr());
  EXPECT_TRUE(torch::equal(first, second));
  EXPECT_EQ(model.layer(2).at(Role::up).weight.data_ptr(), second.data_ptr());
}

TEST(Model, ItsTensorsOutliveIt) {
  torch::Tensor weight;
  { weight = llama().layer(0).at(Role::q).weight; }
  EXPECT_TRUE(torch::isfinite(weight).all().item<bool>());
}

TEST(Model, ReadsTensorsThatLieAtOddAddresses) {
  std::string file(2 + 4 * sizeof(float), '\0');
  const float value = 2.5f;
  for (std::size_t i = 0; i < 4; ++i) std::memcpy(file.data() + 1 + i * sizeof value, &value, sizeof value);
  // A header of odd length makes every address of the data odd or even together; one of the two files is misaligned.
  for (const std::string& padding : {std::string(), std::string(" ")}) {
    const std::string json = R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})" + padding;
    std::string bytes(8, '\0');
    bytes[0] = static_cast<char>(json.size());
    bytes += json;
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
    const auto checkpoint =
        Checkpoint::open(memory_files("odd", {{"config.json", "{}"}, {"model.safetensors", bytes}}));
    EXPECT_TRUE(torch::equal(mapped_tensor(checkpoint, checkpoint->at("x")), torch::full({2}, 2.5f)));
  }
}

TEST(Model, ViewOfAllLayersIsTheModelToTheBit) {
  const torch::NoGradGuard no_grad;
  for (const auto type : {torch::kFloat, torch::kBFloat16}) {
    const Model model = llama(DType::bf16, type);
    const auto ids = pico_ids(2, 17, kLlama.vocab);
    const Model view = model.view(keep_all(5), {});
    EXPECT_TRUE(torch::equal(forward_logits(view, ids), forward_logits(model, ids)));
    EXPECT_EQ(view.parameters(), model.parameters());
    EXPECT_EQ(view.weight_bytes(), model.weight_bytes());
  }
}

// Half by half along the residual stream, whatever the view packed into one layer.
torch::Tensor logits_of_halves(const Model& model, const std::vector<Action>& actions, const torch::Tensor& ids) {
  const Positions positions = rope_positions(model.config(), 0, ids.size(1), torch::kCPU);
  torch::Tensor x = model.embed(ids);
  for (std::size_t i = 0; i < actions.size(); ++i) {
    const LayerWeights layer = model.layer(static_cast<std::int64_t>(i));
    const torch::Tensor input = x;
    if (actions[i] == Action::keep || actions[i] == Action::drop_mlp)
      x = x + attention_half(model.config(), layer, x, positions);
    if (actions[i] == Action::keep || actions[i] == Action::drop_attention)
      x = x + mlp_half(model.config(), layer, layer.config.residual == Residual::parallel ? input : x);
  }
  return model.logits(x);
}

TEST(Model, ViewWithoutHalvesSkipsThem) {
  const torch::NoGradGuard no_grad;
  const std::vector<Action> actions = {Action::keep, Action::drop_mlp, Action::drop, Action::drop_attention,
                                       Action::drop_mlp};
  for (const char* family : {"llama", "gemma2", "gpt_neox", "falcon", "qwen3_moe"}) {
    const Model model = pico_model(family_named(family), {.layers = 5});
    const auto ids = pico_ids(2, 17, 64);
    const Model view = model.view(plan_of(actions), {});
    EXPECT_LT((forward_logits(view, ids) - logits_of_halves(model, actions, ids)).abs().max().item<double>(), kFloat32)
        << family;
    std::int64_t elements = 0;
    for (std::int64_t i = 0; i < view.layer_count(); ++i)
      for (const auto& tensor : view.layer(i).all()) elements += tensor.numel();
    const std::int64_t outside =
        model.view(plan_of({Action::keep, Action::drop, Action::drop, Action::drop, Action::drop}), {}).parameters() -
        layer_parameters(model.config(), model.checkpoint(), 0);
    EXPECT_EQ(view.parameters(), elements + outside) << family;
  }
}

TEST(Model, ViewOfAViewWithoutHalvesSkipsThemToo) {
  const torch::NoGradGuard no_grad;
  const Model model = llama();
  const auto ids = pico_ids(1, 9, kLlama.vocab);
  const Model whole = model.view(drop_layers(5, {0}), {});
  const std::vector<Action> actions = {Action::drop_mlp, Action::drop_attention, Action::keep, Action::keep};
  EXPECT_TRUE(torch::allclose(forward_logits(whole.view(plan_of(actions), {}), ids),
                              logits_of_halves(whole, actions, ids), 0, kFloat32));
}

TEST(Model, ViewWithoutLayersSkipsThem) {
  const torch::NoGradGuard no_grad;
  const Model model = llama();
  const auto ids = pico_ids(2, 17, kLlama.vocab);
  const Model view = model.view(cut_window(5, 1, 2), {});
  EXPECT_EQ(view.layer_count(), 3);
  const Positions positions = rope_positions(model.config(), 0, 17, torch::kCPU);
  auto x = model.embed(ids);
  for (const std::int64_t i : {0, 3, 4}) x = block_forward(model.config(), model.layer(i), x, positions);
  EXPECT_TRUE(torch::equal(forward_logits(view, ids), model.logits(x)));
}

TEST(Model, ViewRunsReplacementsInPlaceOfTheirWindow) {
  const torch::NoGradGuard no_grad;
  const Model model = llama(DType::f32, torch::kFloat);
  LayerConfig shape;
  shape.mlp = MlpConfig{.intermediate = 24,
                        .gated = false,
                        .activation = Activation::relu,
                        .norm = false,
                        .residual = false,
                        .bias = true};
  const LayerWeights stand_in = random_layer(model.config(), shape, 5);
  const Model view = model.view(cut_window(5, 1, 3, "ffn"), {{1, stand_in}});
  EXPECT_EQ(view.layer_count(), 3);
  EXPECT_FALSE(view.config().layers[1].attention.has_value());
  const auto ids = pico_ids(1, 9, kLlama.vocab);
  const auto states = hidden_states(view, ids);
  const Matrix expected = reference_layer(model.config(), shape, reference_weights(stand_in), to_matrix(states[1][0]));
  EXPECT_LT(relative_difference(states[2], to_torch({expected})), kFloat32);
}

TEST(Model, ViewOfAViewCountsItsOwnLayers) {
  const torch::NoGradGuard no_grad;
  const Model model = llama();
  const Model twice = model.view(drop_layers(5, {0}), {}).view(drop_layers(4, {1}), {});  // layers 1, 3, 4
  const auto ids = pico_ids(1, 9, kLlama.vocab);
  EXPECT_TRUE(torch::equal(forward_logits(twice, ids), forward_logits(model.view(drop_layers(5, {0, 2}), {}), ids)));
}

TEST(Model, ViewRefusesAPlanForAnotherStack) { EXPECT_ERROR(llama().view(keep_all(6), {}), mismatch, "6 layers"); }

TEST(Model, ViewRefusesAReplacementWithoutWeights) {
  EXPECT_ERROR(llama().view(cut_window(5, 1, 3, "ffn"), {}), mismatch, "no weights");
}

TEST(Model, TruncatedRunsTheFirstLayersOnly) {
  const torch::NoGradGuard no_grad;
  const Model model = llama();
  const auto ids = pico_ids(1, 9, kLlama.vocab);
  EXPECT_TRUE(torch::equal(hidden_states(model.truncated(2), ids).back(), hidden_states(model, ids)[2]));
  EXPECT_EQ(model.truncated(0).layer_count(), 0);
}

// LLM-Streamline checks 1 and 2: layers whose output projections are zero pass everything through, to the bit.
TEST(Model, CuttingIdentityLayersChangesNothing) {
  const torch::NoGradGuard no_grad;
  const Family& family = family_named("llama");
  PicoTensors tensors = pico_tensors(family, kLlama);
  for (const char* layer : {"1", "2", "3"})
    for (const char* name : {".self_attn.o_proj.weight", ".mlp.down_proj.weight"})
      tensors.at(std::string("model.layers.") + layer + name).zero_();
  const auto checkpoint = Checkpoint::open(pico_files(pico_config(family, kLlama), tensors, DType::f32));
  const auto ids = pico_ids(2, 17, kLlama.vocab);
  for (const auto type : {torch::kFloat, torch::kBFloat16}) {
    const Model model = Model::open(checkpoint, {.dtype = type});
    const auto states = hidden_states(model, ids);
    for (const std::size_t i : {2, 3, 4}) EXPECT_TRUE(torch::equal(states[1], states[i]));
    EXPECT_FALSE(torch::equal(states[4], states[5]));
    EXPECT_TRUE(torch::equal(forward_logits(model.view(cut_window(5, 1, 3), {}), ids), forward_logits(model, ids)));
  }
}

// LLM-Streamline check 8, as far as the engine goes: h_L is what the last layer left, whatever the final norm.
TEST(Model, LastHiddenStateIsBeforeTheFinalNorm) {
  const torch::NoGradGuard no_grad;
  const Family& family = family_named("llama");
  PicoTensors tensors = pico_tensors(family, kLlama);
  const auto ids = pico_ids(1, 9, kLlama.vocab);
  const auto last = [&] {
    const auto files = pico_files(pico_config(family, kLlama), tensors, DType::f32);
    return hidden_states(Model::open(Checkpoint::open(files), {}), ids).back();
  };
  const auto before = last();
  tensors.at("model.norm.weight").mul_(3).add_(1);
  EXPECT_TRUE(torch::equal(before, last()));
}

TEST(Model, CountsATiedHeadOnce) {
  PicoOptions options = kLlama;
  options.extra = {{"tie_word_embeddings", true}};
  const Model tied = pico_model(family_named("llama"), options), untied = llama();
  EXPECT_EQ(untied.parameters() - tied.parameters(), kLlama.vocab * kLlama.hidden);
  EXPECT_EQ(untied.weight_bytes(), static_cast<std::uint64_t>(untied.parameters()) * sizeof(float));
  EXPECT_EQ(tied.weight_bytes(), static_cast<std::uint64_t>(tied.parameters()) * sizeof(float));
}

// Layer: 4 d d-shaped … by hand for d 32, 4 heads of 8 over 2, f 48: q, o 1024 each; k, v 512 each; MLP 3 * 1536;
// norms 64.
TEST(Model, CountsParametersOfWhatIsLeft) {
  const Model model = llama();
  EXPECT_EQ(model.parameters() - model.view(drop_layers(5, {2}), {}).parameters(), 2 * 1024 + 2 * 512 + 3 * 1536 + 64);
}

TEST(Model, RefusesTokensOutsideTheEmbedding) {
  const Model model = llama();
  EXPECT_ERROR(model.embed(torch::tensor({{1, 64}}, torch::kLong)), mismatch, "token id 64");
  EXPECT_ERROR(model.embed(torch::tensor({{1, -1}}, torch::kLong)), mismatch, "token id -1");
}

TEST(Model, RefusesPositionsBeyondALearnedTable) {
  const Model model = pico_model(family_named("opt"), kLlama);
  EXPECT_EQ(model.embed(pico_ids(1, 4, 64), 60).size(1), 4);
  EXPECT_ERROR(model.embed(pico_ids(1, 4, 64), 61), mismatch, "64 learned positions");
}

}  // namespace
}  // namespace streamline
