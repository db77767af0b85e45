// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/gguf_limits.h"

#include <algorithm>
#include <cmath>

#include "streamline/arch/activation.h"
#include "streamline/arch/gguf_scale.h"
#include "streamline/base/error.h"

namespace streamline {
namespace {

struct Limits {
  const Config& config;
  const GgufTraits& traits;
  std::int64_t context;
  const std::string& where;

  template <class... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    fail(ErrorKind::unsupported, where, where.empty() ? "" : ": ", parts...);
  }
};

std::string named(std::size_t layer) { return "layer " + std::to_string(layer); }

// SiLU, ReLU, or one of the two GELUs, which llama.cpp computes alike (from a table in half precision).
Activation kind(Activation activation) { return activation == Activation::gelu_tanh ? Activation::gelu : activation; }

// A missing attention is said in numbers of heads; in the place of a missing MLP stand zeros (gguf_layout.h).
void check_halves(const Limits& limits, const LayerConfig& layer, std::size_t i) {
  if (layer.whole()) return;
  if (!limits.config.family->traits.block_configs)
    limits.refuse(named(i), " has no ", layer.attention ? "MLP" : "attention", ", which llama.cpp's '",
                  limits.traits.arch, "' has in all layers");
  if (i == 0 && !layer.attention)
    limits.refuse("layer 0 has no attention, of which llama.cpp's '", limits.traits.arch, "' learns the size of heads");
}

void check_biases(const Limits& limits, const LayerConfig& layer, std::size_t i) {
  if (layer.attention && layer.attention->o_bias && !limits.traits.o_bias)
    limits.refuse(named(i), " has a bias after its attention, which llama.cpp's '", limits.traits.arch, "' lacks");
  if (layer.mlp && layer.mlp->bias && !limits.traits.mlp_bias)
    limits.refuse(named(i), " has biases in its MLP, which llama.cpp's '", limits.traits.arch, "' lacks");
  const bool plain = !limits.config.family->traits.gated_mlp;  // such architectures insist on their biases
  if (plain && limits.traits.mlp_bias && !(layer.mlp->bias && layer.attention->o_bias))
    limits.refuse(named(i), " lacks biases that llama.cpp's '", limits.traits.arch, "' insists on");
}

void check_activation(const Limits& limits, const MlpConfig& mlp) {
  const auto usual = parse_activation(limits.config.family->defaults.activation);
  if (usual && kind(mlp.activation) != kind(*usual))
    limits.refuse("its activation is ", activation_name(mlp.activation), "; llama.cpp's '", limits.traits.arch,
                  "' has ", activation_name(*usual));
}

// Layers with experts are compared with one another, and so are those without.
const LayerConfig& first_alike(const Config& config, const LayerConfig& layer) {
  for (const LayerConfig& other : config.layers)
    if (other.whole() && other.mlp->experts.has_value() == layer.mlp->experts.has_value()) return other;
  return layer;
}

void check_shape(const Limits& limits, const LayerConfig& layer, std::size_t i) {
  if (layer.mlp) check_activation(limits, *layer.mlp);
  if (limits.config.family->traits.block_configs) return;  // widths by layer
  const LayerConfig& first = first_alike(limits.config, layer);
  const AttentionConfig& attention = *layer.attention;
  if (attention.heads != first.attention->heads || attention.kv_heads != first.attention->kv_heads ||
      attention.head_dim != first.attention->head_dim || layer.mlp->intermediate != first.mlp->intermediate)
    limits.refuse(named(i), " has other widths than the first of its kind");
  if (limits.traits.square_attention && attention.heads * attention.head_dim != limits.config.hidden)
    limits.refuse(attention.heads, " heads of ", attention.head_dim, " are not the hidden size ", limits.config.hidden,
                  ", which llama.cpp's '", limits.traits.arch, "' takes for granted");
}

void check_experts(const Limits& limits, const LayerConfig& layer, std::size_t i) {
  if (!limits.config.family->experts) return;
  if (!layer.mlp->experts && limits.traits.sparse_steps) return;
  if (!layer.mlp->experts)
    limits.refuse(named(i), " has no experts, and llama.cpp's '", limits.traits.arch, "' has them in all layers");
  if (layer.mlp->experts->renormalised != limits.traits.renormalised)
    limits.refuse("the shares of a token's experts ", limits.traits.renormalised ? "do not add" : "add",
                  " up to one, other than in llama.cpp's '", limits.traits.arch, "'");
}

void check_sparse_step(const Limits& limits) {
  if (!limits.traits.sparse_steps || sparse_step(limits.config) != 0) return;
  limits.refuse("llama.cpp's '", limits.traits.arch,
                "' has experts in every n-th layer and in no other; here they are ", "in layers of another order");
}

const Json* given_value(const Limits& limits, std::string_view key) {
  for (const GivenValue& given : limits.traits.given)
    if (given.key == key) return &given.value;
  return nullptr;
}

// Chunks and temperatures of queries that the file cannot say, because the architecture has one of each.
void check_chunk(const Limits& limits, const AttentionConfig& attention, std::size_t i) {
  const Json* chunk = given_value(limits, "attention_chunk_size");
  if (attention.chunk && *attention.chunk < limits.context && (chunk == nullptr || *attention.chunk != *chunk))
    limits.refuse(named(i), " sees chunks of ", *attention.chunk, " tokens, other than in llama.cpp's '",
                  limits.traits.arch, "'; with --context ", *attention.chunk, " the file claims no more positions");
  if (chunk != nullptr && limits.context > chunk->get<std::int64_t>() &&
      attention.chunk.has_value() != (attention.rope != RopeUse::none))
    limits.refuse(named(i), " has chunks where its heads do not turn, or none where they do; llama.cpp's '",
                  limits.traits.arch, "' has them together");
}

void check_temperature(const Limits& limits, const AttentionConfig& attention, std::size_t i) {
  const Json* floor = given_value(limits, "floor_scale");
  if (attention.rope != RopeUse::none || (floor == nullptr && !attention.temperature)) return;
  const auto given = floor == nullptr ? QueryTemperature{}
                                      : QueryTemperature{.scale = given_value(limits, "attn_scale")->get<double>(),
                                                         .floor = floor->get<double>()};
  const auto own = attention.temperature.value_or(QueryTemperature{.scale = given.scale, .floor = HUGE_VAL});
  if (own == given || static_cast<double>(limits.context) < std::min(own.floor, given.floor)) return;
  limits.refuse(named(i), " scales its queries by position other than llama.cpp's '", limits.traits.arch, "'; with ",
                "--context ", static_cast<std::int64_t>(std::min(own.floor, given.floor)) - 1, " neither does");
}

void check_query_norms(const Limits& limits, const LayerConfig& layer) {
  if (limits.traits.unnormed_experts == 0 || !layer.mlp || !layer.mlp->experts) return;
  const bool normed = layer.attention->qk_norm != QkNorm::none,
             wanted = layer.mlp->experts->count != limits.traits.unnormed_experts;
  if (layer.attention->rope != RopeUse::none && normed != wanted)
    limits.refuse("its queries and keys are ", normed ? "" : "not ", "normed; llama.cpp's '", limits.traits.arch,
                  "' does ", wanted ? "that" : "not", " with ", layer.mlp->experts->count, " experts");
}

void check_window(const Limits& limits, const AttentionConfig& attention, std::size_t i) {
  if (!attention.window || limits.traits.windows || *attention.window >= limits.context) return;
  limits.refuse(named(i), " has a window of ", *attention.window, " tokens, which llama.cpp's '", limits.traits.arch,
                "' does not know; with --context ", *attention.window, " the file claims no more positions than that");
}

void check_period(const Limits& limits) {
  const std::int64_t period = limits.config.family->defaults.window_period;
  if (const auto layer = layer_off_period(limits.config))
    limits.refuse("layer ", *layer, sliding_layers(limits.config)[*layer] ? " has a window" : " has no window",
                  "; llama.cpp's '", limits.traits.arch, "' counts on one layer without after every ", period - 1,
                  " with one (a cut of ", period, " layers in a row keeps that)");
}

void check_positions(const Limits& limits, const AttentionConfig& attention, std::size_t i) {
  const RopeRule rule = limits.config.family->traits.rope;
  const bool turns = attention.rope != RopeUse::none;
  if (rule == RopeRule::listed && turns != ((i + 1) % 4 != 0))
    limits.refuse(named(i), turns ? " turns" : " does not turn", " its heads; llama.cpp's '", limits.traits.arch,
                  "' leaves out every fourth layer, whatever was cut");
  if (rule == RopeRule::sliding_only && turns != attention.window.has_value())
    limits.refuse(named(i), " turns its heads where it should not, or the other way round");
}

void check_softcap(const Limits& limits, const AttentionConfig& attention) {
  if ((attention.softcap != 0) != limits.traits.softcap)
    limits.refuse("its attention scores are ", attention.softcap != 0 ? "" : "not ",
                  "capped, other than in llama.cpp's '", limits.traits.arch, "'");
}

void check_rope(const Limits& limits, const RopeConfig& rope) {
  const auto refuse = [&](const char* what) {
    limits.refuse("its RoPE scaling (", what, ") cannot be said for llama.cpp's '", limits.traits.arch, "'");
  };
  switch (rope.scaling) {
    case RopeScaling::none:
    case RopeScaling::linear:
      return;
    case RopeScaling::llama3:
      if (!limits.traits.rope_factors) refuse("llama3");
      return;
    case RopeScaling::yarn: {
      const double usual = rope.factor <= 1 ? 1 : 0.1 * std::log(rope.factor) + 1;
      const bool plain = rope.beta_fast == 32 && rope.beta_slow == 1 && rope.truncate;
      if (!plain || std::abs(rope.attention_factor - usual) > 1e-6) refuse("yarn with settings of its own");
      return;
    }
    case RopeScaling::dynamic:
      refuse("dynamic");
      return;
    case RopeScaling::longrope:
      if (!limits.traits.long_factors) refuse("longrope");
      if (limits.context > rope.original_max_positions)
        limits.refuse(
            "llama.cpp takes LongRoPE's long factors by the size of its context, not by the length of a text; ",
            "with --context ", rope.original_max_positions, " the short ones serve both");
      return;
  }
}

void check_head(const Limits& limits) {
  if (limits.traits.tied_head && !limits.config.tied_embeddings)
    limits.refuse("it has a head of its own; llama.cpp's '", limits.traits.arch, "' takes the embedding");
  if (limits.config.family->traits.head_bias && limits.config.tied_embeddings)
    limits.refuse("its head is tied to the embedding and has a bias");
}

}  // namespace

std::int64_t sparse_step(const Config& config) {
  const auto sparse = [](const LayerConfig& layer) { return layer.mlp && layer.mlp->experts; };
  const auto first = std::find_if(config.layers.begin(), config.layers.end(), sparse);
  const std::int64_t step = first - config.layers.begin() + 1;
  std::int64_t position = 0;
  for (const LayerConfig& layer : config.layers)
    if (sparse(layer) != (++position % step == 0)) return 0;
  return first == config.layers.end() ? 0 : step;
}

std::vector<bool> sliding_layers(const Config& config) {
  std::vector<bool> sliding;
  for (const LayerConfig& layer : config.layers) sliding.push_back(layer.attention && layer.attention->window);
  return sliding;
}

std::optional<std::size_t> layer_off_period(const Config& config) {
  const auto period = static_cast<std::size_t>(config.family->defaults.window_period);
  const std::vector<bool> sliding = sliding_layers(config);
  for (std::size_t i = 0; period > 0 && i < sliding.size(); ++i)
    if (sliding[i] != ((i + 1) % period != 0)) return i;
  return std::nullopt;
}

void check_gguf_limits(const Config& config, std::int64_t context, const std::string& where, WindowList list) {
  const Family& family = *config.family;
  const Limits limits{config, family.gguf, context, where};
  if (family.gguf.arch.empty())
    limits.refuse("no architecture of llama.cpp is known here that computes ", family.title, " models");
  for (std::size_t i = 0; i < config.layers.size(); ++i) {
    if (!is_ordinary(config.layers[i])) limits.refuse(named(i), " is a stand-in that only this program computes");
    check_halves(limits, config.layers[i], i);
    check_experts(limits, config.layers[i], i);
    check_shape(limits, config.layers[i], i);
    check_biases(limits, config.layers[i], i);
    if (!config.layers[i].attention) continue;
    check_window(limits, *config.layers[i].attention, i);
    check_chunk(limits, *config.layers[i].attention, i);
    check_temperature(limits, *config.layers[i].attention, i);
    check_query_norms(limits, config.layers[i]);
    check_positions(limits, *config.layers[i].attention, i);
    check_softcap(limits, *config.layers[i].attention);
  }
  if (family.traits.position == Position::rope) check_rope(limits, config.rope);
  if (config.local_rope && config.local_rope->scaling != RopeScaling::none)
    limits.refuse("its layers with a window scale their positions");
  if (family.gguf.windows && list == WindowList::no) check_period(limits);
  check_head(limits);
  check_sparse_step(limits);
}

void check_gguf_scores(const Config& config, const std::string& where) {
  if (const double factor = gguf_score_factor(config); std::abs(factor - 1) > 1e-6)
    fail(ErrorKind::unsupported, where, ": for ", config.layer_count(), " layers of this size llama.cpp's '",
         config.family->gguf.arch, "' multiplies the attention scores by ", 1 / factor,
         " times what this model was trained with; cut another number of layers");
}

std::string why_not_gguf(const Config& config) {
  constexpr std::int64_t kShortest = 1;
  if (config.family->gguf.arch.empty()) return {};
  try {
    check_gguf_limits(config, kShortest, "");
    return {};
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::unsupported) throw;
    return error.what();
  }
}

}  // namespace streamline
