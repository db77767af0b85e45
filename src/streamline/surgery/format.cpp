// SPDX-License-Identifier: Apache-2.0
#include "streamline/surgery/format.h"

#include <algorithm>
#include <array>

#include "streamline/arch/decilm.h"
#include "streamline/arch/gguf_limits.h"
#include "streamline/base/error.h"

namespace streamline {
namespace {

struct Named {
  std::string_view name;
  Format format;
};
constexpr std::array kFormats = {Named{"auto", Format::automatic}, Named{"ordinary", Format::ordinary},
                                 Named{"decilm", Format::decilm}, Named{"per-layer", Format::per_layer}};

[[noreturn]] void refuse(const Checkpoint& source, std::string_view format, const std::string& why,
                         std::string_view instead) {
  fail(ErrorKind::unsupported, source.label(), ": cannot be written in the format ", format, ": ", why, "; ", instead);
}

bool has_sequential_halves(const Config& config) {
  return std::all_of(config.layers.begin(), config.layers.end(), [](const LayerConfig& layer) {
    return is_ordinary(layer) && layer.residual == Residual::sequential;
  });
}

std::vector<std::string> decilm_notes(const Config& written) {
  const bool without_mlp =
      std::any_of(written.layers.begin(), written.layers.end(), [](const LayerConfig& layer) { return !layer.mlp; });
  std::vector<std::string> notes = {
      "a DeciLM checkpoint (model_type nemotron-nas), in which halves that went leave nothing behind: transformers and "
      "vLLM load it with --trust-remote-code, by the Python files beside it, and mlx-lm and SGLang know the kind"};
  if (!written.layers.front().attention)
    notes.emplace_back("layer 0 has no attention, which vLLM does not expect: use the format ordinary there");
  notes.emplace_back(
      without_mlp ? "not for llama.cpp: its converter takes it, and llama.cpp then loses the attention of each layer "
                    "without MLP, silently; write it in the format ordinary for that"
                  : "llama.cpp's converter takes it where there is a tokenizer.json");
  return notes;
}

// mlx-lm tells the layers of Gemma 3 and Cohere 2 apart by their number too (docs/loads.md); in Gemma 2 it has no
// windows at all.
bool misleads_mlx(const Config& written) {
  const RopeRule rule = written.family->traits.rope;
  return (rule == RopeRule::local_in_sliding || rule == RopeRule::sliding_only) && layer_off_period(written);
}

}  // namespace

Format parse_format(std::string_view name) {
  for (const Named& known : kFormats)
    if (known.name == name) return known.format;
  std::string names;
  for (const std::string& known : format_names()) names += (names.empty() ? "" : ", ") + known;
  fail(ErrorKind::usage, "--format: '", name, "' is none of ", names);
}

std::vector<std::string> format_names() {
  std::vector<std::string> names;
  for (const Named& known : kFormats) names.emplace_back(known.name);
  return names;
}

std::string_view form_name(LayerForm form) {
  switch (form) {
    case LayerForm::ordinary:
      return "ordinary";
    case LayerForm::per_layer:
      return "per-layer";
    case LayerForm::decilm:
      return "decilm";
  }
  return "";
}

LayerForm resolve_form(const Checkpoint& source, const Config& config, Format format) {
  const LayerForm own = layer_form(config);
  if (!source.is_safetensors()) {
    if (format != Format::automatic && format != Format::ordinary)
      fail(ErrorKind::usage, source.label(), ": the result of a GGUF file is one too; leave out --format");
    return LayerForm::ordinary;
  }
  switch (format) {
    case Format::automatic:
      return own;
    case Format::ordinary:
      if (own != LayerForm::ordinary)
        refuse(source, "ordinary", "its layers have shapes of their own", "the format auto keeps the one that it has");
      return own;
    case Format::decilm:
      if (own == LayerForm::decilm) return own;
      if (const std::string why = why_not_decilm(config); !why.empty())
        refuse(source, "decilm", why, "the format ordinary stands zeros beside a half");
      return LayerForm::decilm;
    case Format::per_layer:
      if (own == LayerForm::decilm)
        refuse(source, "per-layer", "it is a DeciLM checkpoint", "the format auto keeps it one");
      if (!has_sequential_halves(config))
        refuse(source, "per-layer", "the halves of its layers do not follow each other",
               "the format ordinary stands zeros beside a half");
      return LayerForm::per_layer;
  }
  return own;
}

std::vector<std::string> loading_notes(const Config& written) {
  const bool extended = std::any_of(written.layers.begin(), written.layers.end(),
                                    [](const LayerConfig& layer) { return !is_ordinary(layer); });
  if (extended)
    return {
        "stored with the streamline extension of config.json: only this program loads it; transformers, vLLM, "
        "llama.cpp and MLX refuse it (model_type \"streamline\")"};
  if (layer_form(written) == LayerForm::decilm) return decilm_notes(written);
  if (layer_form(written) == LayerForm::per_layer)
    return {
        "halves that went leave nothing behind, as `per_layer_config` of config.json says: only this program "
        "computes it; transformers (5.14 and later) records that key and builds whole layers with random numbers in "
        "those halves, or stops where widths differ; other loaders do not know it"};
  const std::string note = llama_cpp_note(written), kind = "an ordinary " + std::string(written.family->name);
  const char* loaders = note.empty()            ? "transformers, vLLM, llama.cpp's converter and MLX"
                        : misleads_mlx(written) ? "transformers and vLLM"
                                                : "transformers, vLLM and MLX";
  std::vector<std::string> notes = {kind + " checkpoint: " + loaders + " load it wherever they load the source"};
  if (!note.empty()) notes.push_back(note);
  return notes;
}

std::string llama_cpp_note(const Config& written) {
  const std::string why = why_not_gguf(written);
  if (why.empty()) return {};
  return std::string("not for llama.cpp") + (misleads_mlx(written) ? " and MLX, which" : ", which") +
         " would compute something else of it, without a word, or refuse it (`streamline export --gguf` refuses it "
         "too): " +
         why;
}

}  // namespace streamline
