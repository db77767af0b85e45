// SPDX-License-Identifier: Apache-2.0
// What config.json means: defaults, both spellings, refusals.
#include "streamline/arch/config.h"

#include <cmath>

#include "support/core/expect.h"
#include "support/core/pico_checkpoint.h"

namespace streamline {
namespace {

using test::pico_config;

Config read(const Json& json) { return config_from_json(json, "c.json"); }

Json without(Json config, const char* key) {
  config.erase(key);
  return config;
}

std::vector<std::int64_t> windows(const Config& config) {  // 0: none
  std::vector<std::int64_t> list;
  for (const LayerConfig& layer : config.layers) list.push_back(layer.attention->window.value_or(0));
  return list;
}

TEST(ConfigJson, ReadsTheNumbersOfALlama) {
  const Config config =
      read(pico_config("llama", {{"rope_theta", 5e5}, {"eos_token_id", {7, 8}}, {"dtype", "bfloat16"}}));
  EXPECT_EQ(config.family->name, "llama");
  EXPECT_EQ(config.hidden, 16);
  EXPECT_EQ(config.vocab, 32);
  EXPECT_EQ(config.max_positions, 64);
  EXPECT_EQ(config.norm_epsilon, 1e-5);
  EXPECT_FALSE(config.tied_embeddings);
  EXPECT_EQ(config.rope.theta, 5e5);
  EXPECT_EQ(config.bos, 1);
  EXPECT_EQ(config.eos, 7);
  EXPECT_EQ(config.dtype, "bfloat16");  // before torch_dtype
  ASSERT_EQ(config.layer_count(), 4);
  const AttentionConfig& attention = *config.layers[3].attention;
  EXPECT_EQ(attention.heads, 4);
  EXPECT_EQ(attention.kv_heads, 2);
  EXPECT_EQ(attention.head_dim, 4);
  EXPECT_FALSE(attention.window);
  EXPECT_FALSE(attention.qkv_bias || attention.o_bias);
  EXPECT_EQ(attention.qk_norm, QkNorm::none);
  const MlpConfig& mlp = *config.layers[3].mlp;
  EXPECT_EQ(mlp.intermediate, 24);
  EXPECT_TRUE(mlp.gated && mlp.norm && mlp.residual);
  EXPECT_EQ(mlp.activation, Activation::silu);
}

TEST(ConfigJson, TakesNullForAbsent) {
  const Config config = read(pico_config("llama", {{"head_dim", nullptr},
                                                   {"num_key_value_heads", nullptr},
                                                   {"tie_word_embeddings", nullptr},
                                                   {"rope_theta", nullptr},
                                                   {"quantization_config", nullptr},
                                                   {"bos_token_id", nullptr}}));
  EXPECT_EQ(config.layers[0].attention->kv_heads, 4);
  EXPECT_EQ(config.layers[0].attention->head_dim, 4);
  EXPECT_EQ(config.rope.theta, 10000);
  EXPECT_FALSE(config.bos);
}

TEST(ConfigJson, GivesMissingKeysTheFamilysDefault) {
  EXPECT_EQ(read(without(pico_config("llama"), "num_key_value_heads")).layers[0].attention->kv_heads, 4);
  EXPECT_EQ(read(without(pico_config("mistral", {{"num_attention_heads", 16}}), "num_key_value_heads"))
                .layers[0]
                .attention->kv_heads,
            8);
  EXPECT_EQ(windows(read(without(pico_config("mistral"), "sliding_window"))), std::vector<std::int64_t>(4, 4096));
  EXPECT_EQ(read(without(pico_config("qwen3"), "head_dim")).layers[0].attention->head_dim, 128);
  EXPECT_EQ(read(without(pico_config("qwen2"), "rms_norm_eps")).norm_epsilon, 1e-6);
  EXPECT_EQ(windows(read(without(pico_config("qwen2"), "use_sliding_window"))), std::vector<std::int64_t>(4, 0));
  EXPECT_EQ(windows(read(without(pico_config("qwen2", {{"num_hidden_layers", 30}}), "max_window_layers")))[28], 8);
  const Config opt = read(without(pico_config("opt"), "tie_word_embeddings"));
  EXPECT_TRUE(opt.tied_embeddings);
  EXPECT_EQ(opt.norm_epsilon, 1e-5);
  EXPECT_TRUE(opt.layers[0].attention->qkv_bias && opt.layers[0].attention->o_bias && opt.layers[0].mlp->bias);
  EXPECT_FALSE(opt.layers[0].mlp->gated);
}

TEST(ConfigJson, GivesEachFamilyItsBiasesAndNorms) {
  const auto attention = [](const char* family, const Json& changes) {
    return *read(pico_config(family, changes)).layers[0].attention;
  };
  EXPECT_TRUE(attention("llama", {{"attention_bias", true}}).o_bias);
  EXPECT_TRUE(attention("qwen2", {}).qkv_bias);
  EXPECT_FALSE(attention("qwen2", {{"attention_bias", true}}).o_bias);
  EXPECT_FALSE(attention("mistral", {{"attention_bias", true}}).qkv_bias);  // transformers has no such key there
  EXPECT_EQ(attention("qwen3", {}).qk_norm, QkNorm::head);
  EXPECT_TRUE(attention("qwen3", {{"attention_bias", true}}).qkv_bias);
  EXPECT_TRUE(read(pico_config("llama", {{"mlp_bias", true}})).layers[0].mlp->bias);
  EXPECT_FALSE(read(pico_config("opt", {{"enable_bias", false}})).layers[0].mlp->bias);
}

TEST(ConfigJson, KnowsWhichLayersSlide) {
  using W = std::vector<std::int64_t>;
  EXPECT_EQ(windows(read(pico_config("mistral"))), W(4, 8));
  EXPECT_EQ(windows(read(pico_config("mistral", {{"sliding_window", nullptr}}))), W(4, 0));
  EXPECT_EQ(windows(read(pico_config("mistral", {{"sliding_window", 0}}))), W(4, 0));
  EXPECT_EQ(windows(read(pico_config("llama", {{"sliding_window", 8}}))), W(4, 0));
  EXPECT_EQ(windows(read(pico_config("qwen2"))), (W{0, 0, 8, 8}));
  EXPECT_EQ(windows(read(pico_config("qwen2", {{"use_sliding_window", false}}))), W(4, 0));
  EXPECT_EQ(windows(read(pico_config("qwen2", {{"max_window_layers", 9}}))), W(4, 0));
  const Json types = {"sliding_attention", "full_attention", "sliding_attention", "full_attention"};
  EXPECT_EQ(windows(read(pico_config("qwen3", {{"layer_types", types}}))), (W{8, 0, 8, 0}));
  EXPECT_EQ(windows(read(pico_config("qwen3", {{"layer_types", nullptr}}))), (W{0, 0, 8, 8}));
}

TEST(ConfigJson, KnowsWhichLayersSlideByAPeriod) {
  using W = std::vector<std::int64_t>;
  EXPECT_EQ(windows(read(pico_config("gemma2"))), (W{8, 0, 8, 0}));
  EXPECT_EQ(windows(read(pico_config("gemma3_text"))), (W{8, 8, 0, 8}));  // sliding_window_pattern 3
  EXPECT_EQ(windows(read(without(pico_config("gemma3_text"), "sliding_window_pattern"))), W(4, 8));
  EXPECT_EQ(windows(read(pico_config("olmo3"))), (W{8, 8, 8, 0}));
  const Json types = {"full_attention", "sliding_attention", "full_attention", "full_attention"};
  EXPECT_EQ(windows(read(pico_config("gemma3_text", {{"layer_types", types}}))), (W{0, 8, 0, 0}));
}

TEST(ConfigJson, KnowsWhichLayersSlideOnlyIfAsked) {
  using W = std::vector<std::int64_t>;
  EXPECT_EQ(windows(read(pico_config("qwen3_moe"))), W(4, 0));
  EXPECT_EQ(windows(read(pico_config("qwen3_moe", {{"use_sliding_window", true}}))), W(4, 8));
  EXPECT_EQ(windows(read(pico_config("smollm3", {{"use_sliding_window", true}}))), (W{0, 8, 0, 0}));
  EXPECT_EQ(windows(read(pico_config("qwen2_moe", {{"use_sliding_window", true}, {"max_window_layers", 2}}))),
            (W{8, 0, 0, 0}));
}

TEST(ConfigJson, ReadsScalesAndCaps) {
  const Config gemma = read(pico_config("gemma2"));
  EXPECT_EQ(gemma.scale.embedding, 4);  // sqrt(16)
  EXPECT_EQ(gemma.scale.logit_softcap, 30);
  EXPECT_EQ(gemma.layers[0].attention->softcap, 50);
  EXPECT_EQ(gemma.layers[0].attention->scale, 1 / std::sqrt(5.0));
  const Config uncapped =
      read(pico_config("gemma2", {{"attn_logit_softcapping", nullptr}, {"final_logit_softcapping", nullptr}}));
  EXPECT_EQ(uncapped.scale.logit_softcap, 0);
  EXPECT_EQ(uncapped.layers[0].attention->softcap, 0);
  const Config granite = read(pico_config("granite", {{"attention_multiplier", 0.5}}));
  EXPECT_EQ(granite.scale, (Scales{.embedding = 3, .residual = 0.5, .logits = 0.5}));
  EXPECT_FALSE(granite.layers[0].attention->scale);  // 0.5 is 1 / sqrt(4), what kernels have anyway
  EXPECT_EQ(read(pico_config("cohere2")).scale.logits, 0.0625);
}

TEST(ConfigJson, ReadsExperts) {
  const Config mixtral = read(pico_config("mixtral"));
  EXPECT_EQ(mixtral.layers[2].mlp->experts, (ExpertsConfig{.count = 4, .active = 2, .renormalised = true}));
  EXPECT_EQ(mixtral.layers[2].mlp->intermediate, 10);
  const Config qwen = read(pico_config("qwen2_moe"));
  EXPECT_EQ(qwen.layers[0].mlp->experts, (ExpertsConfig{.count = 4, .active = 2, .shared = 6}));
  EXPECT_FALSE(qwen.layers[1].mlp->experts);  // mlp_only_layers
  EXPECT_EQ(qwen.layers[1].mlp->intermediate, 24);
}

TEST(ConfigJson, ReadsLlama4) {
  const Config config = read(pico_config("llama4_text"));
  const ExpertsConfig experts{
      .count = 4, .active = 2, .shared = 6, .shared_routed = false, .stacked = true, .scales_input = true};
  EXPECT_EQ(config.layers[0].mlp->experts, experts);
  EXPECT_FALSE(config.layers[1].mlp->experts);  // moe_layers
  EXPECT_EQ(config.layers[1].mlp->intermediate, 24);
  EXPECT_EQ(config.layers[0].attention->chunk, 8);
  EXPECT_EQ(config.layers[0].attention->qk_norm, QkNorm::unit);
  EXPECT_FALSE(config.layers[0].attention->temperature);
  const AttentionConfig& unrotated = *config.layers[1].attention;
  EXPECT_FALSE(unrotated.chunk);
  EXPECT_EQ(unrotated.qk_norm, QkNorm::none);
  EXPECT_EQ(unrotated.temperature, (QueryTemperature{.scale = 0.5, .floor = 4}));

  // The first files have a number for the temperature and an empty list of rotated layers.
  const Config early =
      read(pico_config("llama4_text", {{"attn_temperature_tuning", 4}, {"no_rope_layers", Json::array()}}));
  EXPECT_TRUE(early.layers[3].attention->temperature);
  EXPECT_EQ(early.layers[3].attention->rope, RopeUse::none);
  const Config plain = read(pico_config("llama4_text", {{"attn_temperature_tuning", false},
                                                        {"use_qk_norm", false},
                                                        {"attention_chunk_size", nullptr},
                                                        {"moe_layers", nullptr}}));
  EXPECT_FALSE(plain.layers[1].attention->temperature);
  EXPECT_EQ(plain.layers[0].attention->qk_norm, QkNorm::none);
  EXPECT_FALSE(plain.layers[0].attention->chunk);
  EXPECT_TRUE(plain.layers[1].mlp->experts);  // interleave_moe_layer_step is 1
}

TEST(ConfigJson, ReadsHowTheHalvesOfALayerMeet) {
  EXPECT_EQ(read(pico_config("phi")).layers[0].residual, Residual::parallel);
  EXPECT_TRUE(read(pico_config("phi")).layers[0].mlp->shared_norm);
  EXPECT_FALSE(read(pico_config("gpt_neox")).layers[0].mlp->shared_norm);
  EXPECT_EQ(read(pico_config("gpt_neox", {{"use_parallel_residual", false}})).layers[0].residual, Residual::sequential);
  const Config post_norm = read(pico_config("opt", {{"do_layer_norm_before", false}, {"word_embed_proj_dim", 8}}));
  EXPECT_EQ(post_norm.layers[0].residual, Residual::norm_after_sum);
  EXPECT_FALSE(post_norm.final_norm);
  EXPECT_EQ(post_norm.embedding_width, 8);
}

TEST(ConfigJson, TellsTheVersionsOfBaichuanApart) {
  EXPECT_TRUE(read(pico_config("baichuan")).normalised_head);
  EXPECT_FALSE(read(without(pico_config("baichuan"), "z_loss_weight")).normalised_head);
  EXPECT_TRUE(read(without(pico_config("baichuan", {{"vocab_size", 125696}}), "z_loss_weight")).normalised_head);
}

TEST(ConfigJson, ReadsYarn) {
  const Json yarn = {{"rope_type", "yarn"}, {"factor", 4.0}};
  const RopeConfig plain = read(pico_config("llama", {{"rope_scaling", yarn}})).rope;
  EXPECT_EQ(plain.scaling, RopeScaling::yarn);
  EXPECT_EQ(plain.original_max_positions, 64);
  EXPECT_DOUBLE_EQ(plain.attention_factor, 0.1 * std::log(4.0) + 1);
  Json given = yarn;
  given.update({{"attention_factor", 1.5}, {"beta_fast", 16.0}, {"original_max_position_embeddings", 16}});
  const RopeConfig full = read(pico_config("llama", {{"rope_scaling", given}})).rope;
  EXPECT_EQ(full.attention_factor, 1.5);
  EXPECT_EQ(full.beta_fast, 16);
  EXPECT_EQ(full.original_max_positions, 16);
}

// transformers: sqrt(1 + ln(64 / 16) / ln(16)), the original length beside the settings.
TEST(ConfigJson, ReadsLongRope) {
  const Json scaling = {{"type", "su"}, {"short_factor", {1.5}}, {"long_factor", {3.0}}};
  const RopeConfig rope =
      read(pico_config("phi3", {{"original_max_position_embeddings", 16}, {"rope_scaling", scaling}})).rope;
  EXPECT_EQ(rope.scaling, RopeScaling::longrope);
  EXPECT_EQ(rope.original_max_positions, 16);
  EXPECT_EQ(rope.short_factors, std::vector{1.5});
  EXPECT_EQ(rope.long_factors, std::vector{3.0});
  EXPECT_DOUBLE_EQ(rope.attention_factor, std::sqrt(1.5));
}

RopeConfig rope(const Json& changes, const char* without_key = "") {
  return read(without(pico_config("llama", changes), without_key)).rope;
}

TEST(ConfigJson, ReadsRopeInEitherSpelling) {
  const Json llama3 = {{"factor", 8.0},
                       {"low_freq_factor", 1.0},
                       {"high_freq_factor", 4.0},
                       {"original_max_position_embeddings", 32},
                       {"rope_type", "llama3"}};
  Json with_theta = llama3;
  with_theta["rope_theta"] = 5e5;
  for (const RopeConfig& read :
       {rope({{"rope_theta", 5e5}, {"rope_scaling", llama3}}), rope({{"rope_parameters", with_theta}}, "rope_theta")}) {
    EXPECT_EQ(read.theta, 5e5);
    EXPECT_EQ(read.scaling, RopeScaling::llama3);
    EXPECT_EQ(read.factor, 8);
    EXPECT_EQ(read.low_frequency_factor, 1);
    EXPECT_EQ(read.high_frequency_factor, 4);
    EXPECT_EQ(read.original_max_positions, 32);
  }
  EXPECT_EQ(rope({{"rope_scaling", {{"type", "linear"}, {"factor", 2}}}}).scaling, RopeScaling::linear);
  EXPECT_EQ(rope({{"rope_scaling", {{"type", "dynamic"}, {"factor", 2}}}}).original_max_positions, 64);
}

// transformers 5: `rope_scaling`, unless null or empty, replaces `rope_parameters` whole, and theta is then that of the
// top level; without it `rope_parameters` comes before the old keys.
TEST(ConfigJson, PrefersTheSpellingsAsTransformersDoes) {
  const Json parameters = {{"rope_theta", 7.0}, {"rope_type", "linear"}, {"factor", 3.0}};
  const RopeConfig new_first = rope({{"rope_theta", 9.0}, {"rope_parameters", parameters}});
  EXPECT_EQ(new_first.theta, 7);
  EXPECT_EQ(new_first.factor, 3);
  const RopeConfig replaced = rope(
      {{"rope_theta", 9.0}, {"rope_parameters", parameters}, {"rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}}});
  EXPECT_EQ(replaced.theta, 9);
  EXPECT_EQ(replaced.scaling, RopeScaling::dynamic);
  EXPECT_EQ(rope({{"rope_parameters", parameters}, {"rope_scaling", Json::object()}}).factor, 3);
  EXPECT_EQ(rope({{"rope_theta", 9.0}, {"rope_parameters", {{"rope_type", "default"}}}}).theta, 9);
}

struct Refused {
  const char* family;
  Json changes;
  ErrorKind kind;
  const char* message;
};

std::vector<Refused> refused_changes() {
  const auto format = ErrorKind::format, unsupported = ErrorKind::unsupported, mismatch = ErrorKind::mismatch;
  const Json short_types = {"full_attention"};
  const Json odd_types = {"full_attention", "chunked_attention", "full_attention", "full_attention"};
  const Json full_types = {"full_attention", "full_attention", "full_attention", "full_attention"};
  const Json sliding_types = {"full_attention", "sliding_attention", "full_attention", "full_attention"};
  return {
      {"llama",
       {{"model_type", "mpt"}},
       unsupported,
       "the model family 'mpt' (model_type) is not supported; supported are llama, mistral"},
      {"llama", {{"model_type", nullptr}}, format, "lacks 'model_type'"},
      {"llama", {{"model_type", 3}}, format, "'model_type' is 3"},
      {"llama", {{"hidden_size", nullptr}}, format, "lacks 'hidden_size'"},
      {"llama", {{"hidden_size", "16"}}, format, "'hidden_size' is \"16\""},
      {"llama", {{"hidden_size", 0}}, format, "'hidden_size' is 0; expected 1 to"},
      {"llama", {{"hidden_size", -16}}, format, "'hidden_size' is -16"},
      {"llama", {{"hidden_size", 18446744073709551615u}}, format, "'hidden_size' is 18446744073709551615"},
      {"llama", {{"hidden_size", 18}}, mismatch, "'hidden_size' 18 is not a multiple of 'num_attention_heads' 4"},
      {"llama", {{"hidden_size", 12}}, mismatch, "the head dimension 3 is odd"},
      {"llama", {{"num_hidden_layers", 1000000000}}, format, "'num_hidden_layers' is 1000000000; expected 1 to 10000"},
      {"llama",
       {{"num_attention_heads", 2097152}, {"head_dim", 2097152}, {"num_key_value_heads", 1}},
       format,
       "wider than"},
      {"llama",
       {{"num_key_value_heads", 3}},
       mismatch,
       "'num_attention_heads' 4 is not a multiple of 'num_key_value_heads' 3"},
      {"llama", {{"vocab_size", 1e3}}, format, "'vocab_size' is 1000.0"},
      {"llama", {{"rms_norm_eps", -1.0}}, format, "'rms_norm_eps' is -1"},
      {"llama",
       {{"hidden_act", "mish"}},
       unsupported,
       "the activation 'mish' (hidden_act) is not supported; supported are silu"},
      {"opt", {{"activation_function", "quick_gelu"}}, unsupported, "'quick_gelu' (activation_function)"},
      {"llama", {{"block_configs", {{{"attention", {}}}}}}, unsupported, "which llama models do not have"},
      {"llama", {{"attention_bias", 1}}, format, "'attention_bias' is 1"},
      {"llama", {{"torch_dtype", "float8_e4m3fn"}}, unsupported, "'torch_dtype' is \"float8_e4m3fn\""},
      {"llama",
       {{"rope_scaling", {{"rope_type", "proportional"}, {"factor", 4.0}}}},
       unsupported,
       "the RoPE type 'proportional' (rope_type) is not supported; supported are default, linear, dynamic, llama3, "
       "yarn, longrope"},
      {"phi3", {{"rope_scaling", {{"type", "longrope"}}}}, format, "'short_factor' is not a list of numbers"},
      {"phi3",
       {{"rope_scaling", {{"type", "longrope"}, {"short_factor", {1, 2}}, {"long_factor", {1}}}}},
       mismatch,
       "'short_factor' has 2 and 'long_factor' 1 entries; 1 pairs of components turn"},
      {"phi3",
       {{"rope_scaling", {{"type", "longrope"}, {"short_factor", {0}}, {"long_factor", {1}}}}},
       format,
       "'short_factor' is 0; expected a positive number"},
      {"llama", {{"rope_scaling", {{"type", "ntk"}}}}, unsupported, "the RoPE type 'ntk'"},
      {"llama", {{"rope_scaling", "linear"}}, format, "'rope_scaling' is not an object"},
      {"llama", {{"rope_scaling", {{"type", "linear"}}}}, format, "lack 'factor'"},
      {"llama",
       {{"rope_scaling", {{"type", "linear"}, {"factor", 0}}}},
       format,
       "'factor' is 0; expected a positive number"},
      {"llama",
       {{"rope_scaling",
         {{"rope_type", "llama3"}, {"factor", 8.0}, {"low_freq_factor", 4.0}, {"high_freq_factor", 4.0}}}},
       format,
       "'low_freq_factor' must be below"},
      {"llama",
       {{"rope_parameters", {{"full_attention", {{"rope_theta", 1.0}}}}}},
       unsupported,
       "settings per layer type"},
      {"llama", {{"partial_rotary_factor", 0.5}}, unsupported, "'partial_rotary_factor' is 0.5"},
      {"llama", {{"rope_theta", -1}}, format, "'rope_theta' is -1"},
      {"llama", {{"layer_types", sliding_types}}, unsupported, "'layer_types' says \"sliding_attention\" for layer 1"},
      {"mistral",
       {{"layer_types", full_types}},
       unsupported,
       "in mistral models every layer is \"sliding_attention\" here"},
      {"mistral", {{"sliding_window", -4}}, format, "'sliding_window' is -4"},
      {"qwen2", {{"layer_types", short_types}}, mismatch, "'layer_types' has 1 entries; num_hidden_layers is 4"},
      {"qwen2", {{"layer_types", odd_types}}, unsupported, "'layer_types' has \"chunked_attention\"; supported are"},
      {"qwen2", {{"layer_types", "full"}}, format, "'layer_types' is not a list"},
      {"qwen2", {{"use_sliding_window", false}, {"layer_types", sliding_types}}, mismatch, "has a sliding layer (1)"},
      {"opt", {{"word_embed_proj_dim", 0}}, format, "'word_embed_proj_dim' is 0"},
      {"opt", {{"_remove_final_layer_norm", true}}, unsupported, "'_remove_final_layer_norm' is true"},
      {"falcon", {{"new_decoder_architecture", nullptr}}, unsupported, "lacks 'new_decoder_architecture'"},
      {"falcon", {{"alibi", true}}, unsupported, "'alibi' is true; supported in falcon models: [false]"},
      {"gpt2", {{"scale_attn_by_inverse_layer_idx", true}}, unsupported, "'scale_attn_by_inverse_layer_idx' is true"},
      {"phi", {{"partial_rotary_factor", 0.25}}, mismatch, "1 of 4 components of a head would turn"},
      {"phi", {{"partial_rotary_factor", 1.5}}, format, "'partial_rotary_factor' is 1.5; expected at most 1"},
      {"gemma2", {{"query_pre_attn_scalar", 0}}, format, "'query_pre_attn_scalar' is 0; expected a positive number"},
      {"gemma2", {{"final_logit_softcapping", -1}}, format, "'final_logit_softcapping' is -1"},
      {"gemma2", {{"sliding_window", nullptr}}, unsupported, "'sliding_window' is null; in gemma2 models"},
      {"gemma3_text", {{"sliding_window_pattern", 0}}, format, "'sliding_window_pattern' is 0; expected 1 or more"},
      {"gemma3_text", {{"rope_parameters", {{"rope_theta", 1.0}}}}, unsupported, "lacks 'full_attention'"},
      {"granite", {{"logits_scaling", 0}}, format, "'logits_scaling' is 0; expected a positive number"},
      {"smollm3", {{"no_rope_layers", {1, 0}}}, mismatch, "'no_rope_layers' has 2 entries; num_hidden_layers is 4"},
      {"smollm3", {{"no_rope_layers", {1, 0, 2, 1}}}, format, "'no_rope_layers' has 2; expected 0 or 1"},
      {"mixtral", {{"num_local_experts", 100000}}, format, "'num_local_experts' is 100000; expected 1 to 4096"},
      {"llama4_text", {{"floor_scale", 0}}, format, "'floor_scale' is 0"},
      {"llama4_text", {{"attention_chunk_size", -1}}, format, "'attention_chunk_size' is -1; expected 1 or more"},
      {"llama4_text",
       {{"attention_chunk_size", nullptr}, {"layer_types", Json(4, "chunked_attention")}},
       mismatch,
       "'attention_chunk_size' gives no chunk"},
      {"llama4_text", {{"moe_layers", 3}}, format, "'moe_layers' is not a list"},
      {"llama4_text",
       {{"interleave_moe_layer_step", 0}, {"moe_layers", nullptr}},
       format,
       "'interleave_moe_layer_step' is 0"},
      {"mixtral", {{"num_experts_per_tok", 5}}, mismatch, "'num_experts_per_tok' is 5, of 4 experts"},
      {"mixtral",
       {{"num_local_experts", 4096}, {"num_hidden_layers", 10000}},
       format,
       "10000 layers of 4096 experts are more than"},
      {"qwen3_moe", {{"mlp_only_layers", 3}}, format, "'mlp_only_layers' is not a list"},
      {"qwen3_moe", {{"mlp_only_layers", {"a"}}}, format, "'mlp_only_layers' is \"a\""},
      {"llama", {{"bos_token_id", "<s>"}}, format, "'bos_token_id' is \"<s>\""},
  };
}

TEST(ConfigJson, RefusesWhatItCannotComputeAndNamesTheKey) {
  for (const Refused& refused : refused_changes()) {
    SCOPED_TRACE(refused.message);
    try {
      read(pico_config(refused.family, refused.changes));
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), refused.kind) << error.what();
      EXPECT_THAT(error.what(), ::testing::HasSubstr(refused.message));
      EXPECT_THAT(error.what(), ::testing::StartsWith("c.json"));
    }
  }
}

}  // namespace
}  // namespace streamline
