// SPDX-License-Identifier: Apache-2.0
// config.json held against the tensors of its checkpoint.
#include "streamline/arch/config.h"

#include "support/core/expect.h"
#include "support/core/pico_checkpoint.h"

namespace streamline {
namespace {

using test::checkpoint_files;
using test::filled;
using test::pico_config;
using test::random_tensors;
using Tensors = std::vector<test::TestTensor>;

std::shared_ptr<const Checkpoint> open(const Json& config, const Tensors& tensors) {
  return Checkpoint::open(memory_files("dir", checkpoint_files(config, tensors)));
}

Tensors without(Tensors tensors, const std::string& name) {
  const auto count = tensors.size();
  std::erase_if(tensors, [&](const auto& tensor) { return tensor.header.name == name; });
  EXPECT_EQ(tensors.size() + 1, count) << name;
  return tensors;
}

Tensors with(Tensors tensors, test::TestTensor tensor) {
  std::erase_if(tensors, [&](const auto& other) { return other.header.name == tensor.header.name; });
  tensors.push_back(std::move(tensor));
  return tensors;
}

TEST(ResolveConfig, AcceptsEveryFamilyWithItsTensors) {
  for (const Family* family : families())
    for (const bool tied : {false, true}) {
      SCOPED_TRACE(family->name);
      const Json json = pico_config(std::string(family->name), {{"tie_word_embeddings", tied}});
      const auto checkpoint = test::pico_checkpoint(json);
      const Config config = resolve_config(*checkpoint);
      EXPECT_EQ(config.tied_embeddings, tied);
      EXPECT_EQ(total_parameters(*checkpoint, config), total_parameters(config));
      EXPECT_EQ(layer_parameters(config, *checkpoint, 1), layer_parameters(config, config.layers[1]));
      const TensorInfo* head = find_tensor(*checkpoint, config, -1, Role::head, Part::weight);
      ASSERT_NE(head, nullptr);
      EXPECT_EQ(head == find_tensor(*checkpoint, config, -1, Role::token_embedding, Part::weight), tied);
      const auto& experts = config.layers[3].mlp->experts;
      const bool stacked = experts && experts->stacked;
      const Role down = stacked ? Role::stacked_down : Role::down;
      EXPECT_NE(find_tensor(*checkpoint, config, 3, down, Part::weight, experts && !stacked ? 3 : -1), nullptr);
    }
}

struct BrokenConfig {
  const char* what;
  Json config;
  Tensors tensors;
  ErrorKind kind;
  const char* message;
};

std::vector<BrokenConfig> broken_configs() {
  const Json llama = pico_config("llama"), qwen2 = pico_config("qwen2"), opt = pico_config("opt");
  const Tensors weights = random_tensors(llama);
  const auto mismatch = ErrorKind::mismatch, unsupported = ErrorKind::unsupported;
  const auto changed = [&](const Json& changes) { return pico_config("llama", changes); };
  return {
      {"wrong intermediate size", changed({{"intermediate_size", 32}}), weights, mismatch,
       "dir/model.safetensors: 'model.layers.0.mlp.gate_proj.weight' is [24,16]; config.json asks for [32,16] "
       "(intermediate_size 32, hidden_size 16)"},
      {"vocabulary larger than the embedding", changed({{"vocab_size", 33}}), weights, mismatch,
       "'model.embed_tokens.weight' is [32,16]; config.json asks for [33,16] (vocab_size 33"},
      {"wrong kv heads", changed({{"num_key_value_heads", 4}}), weights, mismatch,
       "'model.layers.0.self_attn.k_proj.weight' is [8,16]; config.json asks for [16,16] (num_key_value_heads 4"},
      {"norm of two dimensions", llama, with(weights, filled("model.norm.weight", DType::f32, {16, 1})), mismatch,
       "'model.norm.weight' is [16,1]; config.json asks for [16] (hidden_size 16)"},
      {"too few layers", changed({{"num_hidden_layers", 5}}), weights, mismatch,
       "dir: tensor 'model.layers.4.input_layernorm.weight' is missing; config.json: 'num_hidden_layers' is 5"},
      {"too many layers", changed({{"num_hidden_layers", 3}}), weights, mismatch,
       "tensor 'model.layers.3.input_layernorm.weight' is there, but config.json says num_hidden_layers 3"},
      {"no head", llama, without(weights, "lm_head.weight"), mismatch,
       "tensor 'lm_head.weight' is missing; config.json: 'tie_word_embeddings' is false"},
      {"no embedding", llama, without(weights, "model.embed_tokens.weight"), mismatch,
       "tensor 'model.embed_tokens.weight' is missing; config.json: llama models have it"},
      {"bias unannounced", llama, with(weights, filled("model.layers.2.self_attn.q_proj.bias", DType::f32, {16})),
       mismatch,
       "tensor 'model.layers.2.self_attn.q_proj.bias' is there, but config.json says that 'attention_bias' is false"},
      {"bias missing", changed({{"attention_bias", true}}), weights, mismatch,
       "tensor 'model.layers.0.self_attn.q_proj.bias' is missing; config.json: 'attention_bias' is true"},
      {"mlp bias missing", changed({{"mlp_bias", true}}), weights, mismatch, "config.json: 'mlp_bias' is true"},
      {"qwen2 without biases", qwen2, without(random_tensors(qwen2), "model.layers.1.self_attn.v_proj.bias"), mismatch,
       "'model.layers.1.self_attn.v_proj.bias' is missing"},
      {"q norm in a llama", llama, with(weights, filled("model.layers.0.self_attn.q_norm.weight", DType::f32, {4})),
       mismatch, "q_norm.weight' is there, but llama models have no such tensor"},
      {"norm bias missing", opt, without(random_tensors(opt), "model.decoder.final_layer_norm.bias"), mismatch,
       "'model.decoder.final_layer_norm.bias' is missing"},
      {"unknown tensor", llama, with(weights, filled("vision.weight", DType::f32, {1})), mismatch,
       "tensor 'vision.weight' is there, but llama models have no such tensor"},
      {"integer weights", llama, with(weights, filled("model.norm.weight", DType::i8, {16})), unsupported,
       "'model.norm.weight' is stored as I8; quantised weights are not supported"},
      {"8-bit floats", llama, with(weights, filled("model.norm.weight", DType::f8_e4m3, {16})), unsupported, "F8_E4M3"},
  };
}

TEST(ResolveConfig, NamesTheTensorThatDisagrees) {
  for (const BrokenConfig& broken : broken_configs()) {
    SCOPED_TRACE(broken.what);
    const auto checkpoint = open(broken.config, broken.tensors);
    try {
      resolve_config(*checkpoint);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), broken.kind) << error.what();
      EXPECT_THAT(error.what(), ::testing::HasSubstr(broken.message));
    }
  }
}

TEST(ResolveConfig, SkipsRotaryBuffers) {
  const Json json = pico_config("llama");
  const auto checkpoint =
      open(json, with(random_tensors(json), filled("model.layers.0.self_attn.rotary_emb.inv_freq", DType::f32, {2})));
  const Config config = resolve_config(*checkpoint);
  EXPECT_EQ(total_parameters(*checkpoint, config), total_parameters(config));
}

TEST(ResolveConfig, TiesAStoredHeadOnlyWhenItEqualsTheEmbedding) {
  const Json json = pico_config("llama", {{"tie_word_embeddings", true}});
  Tensors tensors = random_tensors(json);
  test::TestTensor head{{"lm_head.weight", DType::f32, {32, 16}}, tensors[0].data};
  ASSERT_EQ(tensors[0].header.name, "model.embed_tokens.weight");

  const auto same = open(json, with(tensors, head));
  const Config tied = resolve_config(*same);
  EXPECT_TRUE(tied.tied_embeddings);
  EXPECT_EQ(total_parameters(*same, tied), total_parameters(tied));

  head.data[5] = static_cast<char>(head.data[5] ^ 1);
  const auto different = open(json, with(tensors, head));
  const Config untied = resolve_config(*different);
  EXPECT_FALSE(untied.tied_embeddings);
  EXPECT_EQ(find_tensor(*different, untied, -1, Role::head, Part::weight)->name, "lm_head.weight");

  const auto head_only = open(json, without(with(tensors, head), "model.embed_tokens.weight"));
  const Config only = resolve_config(*head_only);
  EXPECT_TRUE(only.tied_embeddings);
  EXPECT_EQ(find_tensor(*head_only, only, -1, Role::token_embedding, Part::weight)->name, "lm_head.weight");
}

TEST(ResolveConfig, TakesTheTypeFromTheTensorsWhenTheConfigIsSilent) {
  Json json = pico_config("llama");
  json.erase("torch_dtype");
  EXPECT_EQ(resolve_config(*test::pico_checkpoint(json, 0, DType::bf16)).dtype, "bfloat16");
}

}  // namespace
}  // namespace streamline
