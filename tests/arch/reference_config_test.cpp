// SPDX-License-Identifier: Apache-2.0
// Real and reference configurations: both spellings resolve to the same numbers, parameter counts are those published,
// and what is not supported is refused by name.
#include <fstream>
#include <set>

#include "streamline/arch/config.h"
#include "streamline/arch/config_write.h"
#include "support/core/expect.h"
#include "support/core/golden_families.h"

namespace streamline {
namespace {

namespace fs = std::filesystem;

Json load(const fs::path& path) { return parse_json(read_text(path), path.string()); }

Json optional_number(std::optional<std::int64_t> value) { return value ? Json(*value) : Json(nullptr); }

Json describe(const RopeConfig& rope) {
  return {rope.theta,
          static_cast<int>(rope.scaling),
          rope.factor,
          rope.low_frequency_factor,
          rope.high_frequency_factor,
          rope.original_max_positions,
          rope.beta_fast,
          rope.beta_slow,
          rope.truncate,
          rope.attention_factor,
          rope.rotated_share,
          rope.short_factors,
          rope.long_factors};
}

// Everything that a configuration decides beside the layers, so that two can be compared.
Json describe(const Config& config) {
  return {{"family", config.family->name},
          {"sizes", {config.hidden, config.vocab, config.max_positions, config.embedding_width}},
          {"epsilon", config.norm_epsilon},
          {"tied", config.tied_embeddings},
          {"rope", describe(config.rope)},
          {"local", config.local_rope ? describe(*config.local_rope) : Json(nullptr)},
          {"dtype", config.dtype},
          {"tokens", {optional_number(config.bos), optional_number(config.eos)}},
          {"ends", {config.final_norm, config.normalised_head}}};
}

class Golden : public ::testing::TestWithParam<const char*> {
 protected:
  fs::path directory() const { return test::shared_folder() / "golden" / GetParam(); }
};

TEST_P(Golden, MeansTheSameInBothSpellings) {
  REQUIRE_SHARED("golden");
  const Config four = config_from_json(load(directory() / "config.json"), "4");
  if (!fs::exists(directory() / "config.transformers5.json")) GTEST_SKIP() << "transformers has no such family";
  const Config five = config_from_json(load(directory() / "config.transformers5.json"), "5");
  EXPECT_EQ(describe(four), describe(five));
  EXPECT_TRUE(four.layers == five.layers);
  EXPECT_TRUE(four.scale == five.scale);
}

TEST_P(Golden, AgreesWithItsTensors) {
  REQUIRE_SHARED("golden");
  const auto checkpoint = Checkpoint::open(directory());
  const Config config = resolve_config(*checkpoint);
  EXPECT_EQ(total_parameters(*checkpoint, config), total_parameters(config));
}

// A cut of any layer, written from either spelling, means the same again in either spelling.
TEST_P(Golden, StaysTheSameWhenWritten) {
  REQUIRE_SHARED("golden");
  for (const char* name : {"config.json", "config.transformers5.json"}) {
    if (!fs::exists(directory() / name)) continue;
    const Config source = config_from_json(load(directory() / name), name);
    const ConfigKeys& keys = source.family->keys;
    for (std::int64_t dropped = 0; dropped < source.layer_count(); ++dropped) {
      std::vector<LayerOrigin> kept;
      for (std::int64_t i = 0; i < source.layer_count(); ++i)
        if (i != dropped) kept.push_back({i, {}});
      const Json written = output_config(source, kept);
      Json old_spelling = written, new_spelling = written;
      for (const char* key : {"rope_parameters", "dtype"}) old_spelling.erase(key);
      for (const std::string_view key : {keys.rope_theta, keys.local_rope_theta, keys.rotary_share,
                                         std::string_view("rope_scaling"), std::string_view("torch_dtype")})
        new_spelling.erase(std::string(key));
      std::vector<LayerConfig> layers = source.layers;
      layers.erase(layers.begin() + dropped);
      for (const Json& json : {written, old_spelling, new_spelling}) {
        const Config again = config_from_json(json, "written");
        EXPECT_EQ(describe(again), describe(source));
        EXPECT_TRUE(again.layers == layers) << name << " without layer " << dropped;
        EXPECT_TRUE(again.scale == source.scale);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Families, Golden, ::testing::ValuesIn(test::kGoldenFamilies),
                         [](const auto& info) { return std::string(info.param); });

TEST(ReferenceConfigs, AreAllCovered) {
  REQUIRE_SHARED("golden");
  std::set<std::string> directories;
  for (const auto& entry : fs::directory_iterator(test::shared_folder() / "golden"))
    if (entry.is_directory()) directories.insert(entry.path().filename());
  EXPECT_EQ(directories, std::set<std::string>(std::begin(test::kGoldenFamilies), std::end(test::kGoldenFamilies)));
}

// Collections of real config.json files: each either resolves or is refused for a reason that names a key.
TEST(ReferenceConfigs, FromTheWildResolveOrAreRefusedByName) {
  REQUIRE_SHARED("data/configs");
  int resolved = 0, refused = 0;
  const auto read = [&](const Json& json, const std::string& name) {
    SCOPED_TRACE(name);
    const bool known = json.contains("model_type") && json["model_type"].is_string() &&
                       find_family(json["model_type"].get<std::string>()) != nullptr;
    try {
      const Config config = config_from_json(json, name);
      EXPECT_GT(total_parameters(config), 1'000'000);
      EXPECT_TRUE(known);
      ++resolved;
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), ::testing::HasSubstr("'"));
      if (known) {
        EXPECT_EQ(error.kind(), ErrorKind::unsupported) << error.what();
      }
      ++refused;
    }
  };
  for (const auto& entry : fs::recursive_directory_iterator(test::shared_folder() / "data" / "configs")) {
    if (entry.path().extension() != ".json") continue;
    const Json json = load(entry.path());
    if (json.contains("model_type")) read(json, entry.path().filename());
  }
  EXPECT_GE(resolved, 50);
  EXPECT_GT(refused, 20);
}

// Specification of LLM-Streamline, acceptance check 11: d 64, 6 layers, f 176, 4 heads, 2 KV heads, vocabulary 256.
Config tiny() {
  return config_from_json({{"model_type", "llama"},
                           {"hidden_size", 64},
                           {"num_hidden_layers", 6},
                           {"intermediate_size", 176},
                           {"num_attention_heads", 4},
                           {"num_key_value_heads", 2},
                           {"vocab_size", 256}},
                          "tiny");
}

Config with_layers(Config config, std::int64_t layers) {
  config.layers.resize(static_cast<std::size_t>(layers), config.layers[0]);
  return config;
}

TEST(Parameters, OfTheTinyModelAreThoseOfTheSpecification) {
  const Config config = tiny();
  EXPECT_EQ(layer_parameters(config, config.layers[0]), 46'208);
  EXPECT_EQ(total_parameters(config), 310'080);
  EXPECT_EQ(total_parameters(with_layers(config, 4)), 217'664);
  EXPECT_EQ(total_parameters(with_layers(config, 3)), 171'456);
  const LayerConfig ffn{.attention = std::nullopt,
                        .mlp = MlpConfig{.intermediate = 256,
                                         .gated = false,
                                         .activation = Activation::relu,
                                         .norm = false,
                                         .residual = false,
                                         .bias = true}};
  EXPECT_EQ(layer_parameters(config, ffn), 33'088);
  const LayerConfig swiglu{.attention = std::nullopt,
                           .mlp = MlpConfig{.intermediate = 176, .norm = false, .residual = false}};
  EXPECT_EQ(layer_parameters(config, swiglu), 33'792);
}

// By hand: 2 * 32000 * 4096 + 4096 + 32 * (4 * 4096² + 3 * 4096 * 11008 + 2 * 4096) = 6 738 415 616.
TEST(Parameters, OfPublishedModelsFollowFromTheirConfigurations) {
  const Config llama2 = config_from_json({{"model_type", "llama"},
                                          {"hidden_size", 4096},
                                          {"num_hidden_layers", 32},
                                          {"intermediate_size", 11008},
                                          {"num_attention_heads", 32},
                                          {"vocab_size", 32000}},
                                         "llama-2-7b");
  EXPECT_EQ(total_parameters(llama2), 6'738'415'616);
  EXPECT_EQ(layer_parameters(llama2, llama2.layers[0]), 202'383'360);
  EXPECT_NEAR(static_cast<double>(total_parameters(with_layers(llama2, 22))), 4.7146e9, 5e4);
  const Config llama31 = config_from_json({{"model_type", "llama"},
                                           {"hidden_size", 4096},
                                           {"num_hidden_layers", 32},
                                           {"intermediate_size", 14336},
                                           {"num_attention_heads", 32},
                                           {"num_key_value_heads", 8},
                                           {"vocab_size", 128256}},
                                          "llama-3.1-8b");
  EXPECT_EQ(total_parameters(llama31), 8'030'261'248);
  EXPECT_NEAR(static_cast<double>(total_parameters(with_layers(llama31, 20))), 5.4129e9, 5e4);
  // OPT-1.3B as Hugging Face counts it: learned positions with two extra rows, biases, tied head.
  const Config opt = config_from_json({{"model_type", "opt"},
                                       {"hidden_size", 2048},
                                       {"num_hidden_layers", 24},
                                       {"ffn_dim", 8192},
                                       {"num_attention_heads", 32},
                                       {"vocab_size", 50272}},
                                      "opt-1.3b");
  EXPECT_EQ(total_parameters(opt), 1'315'758'080);
}

}  // namespace
}  // namespace streamline
