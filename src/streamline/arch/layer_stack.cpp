// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/layer_stack.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>

#include "streamline/arch/config.h"
#include "streamline/arch/names.h"
#include "streamline/base/error.h"

namespace streamline {
namespace {

constexpr std::array<std::string_view, 7> kTextKeys = {
    "/text_config", "/thinker_config/text_config", "/language_config",
    "/llm_config",  "/language_model_config",      "/thinker_config",
    "/llm"};
constexpr std::array<std::string_view, 5> kCountKeys = {"num_hidden_layers", "n_layer", "n_layers", "num_layers",
                                                        "num_decoder_layers"};
constexpr std::array<std::string_view, 4> kFurtherKeys = {"num_nextn_predict_layers", "mtp_num_hidden_layers",
                                                          "mtp_num_layers", "num_mtp_modules"};
constexpr std::array<std::string_view, 14> kTowers = {"vision",    "visual",    "image",     "audio",  "speech",
                                                      "video",     "vit.",      "tower",     "siglip", "clip",
                                                      "projector", "resampler", "connector", "mtp."};
constexpr std::array<std::string_view, 3> kTexts = {"language_model", "text_model", "llm"};

template <std::size_t N>
bool contains_any(std::string_view name, const std::array<std::string_view, N>& words) {
  return std::any_of(words.begin(), words.end(),
                     [&](std::string_view word) { return name.find(word) != std::string_view::npos; });
}

// "model.layers." and 7 of "model.layers.7.mlp": the first component that is a number.
std::optional<std::pair<std::string_view, std::int64_t>> first_number(std::string_view name) {
  for (std::size_t start = 0; start < name.size();) {
    const std::size_t end = std::min(name.find('.', start), name.size());
    const std::string_view part = name.substr(start, end - start);
    if (const auto number = parse_layer_number(part); number && start > 0 && end < name.size())
      return std::pair(name.substr(0, start), *number);
    start = end + 1;
  }
  return std::nullopt;
}

using Runs = std::map<std::string, std::set<std::int64_t>, std::less<>>;  // prefix: the numbers behind it

Runs numbered_runs(const Checkpoint& checkpoint) {
  Runs runs;
  for (const TensorInfo& tensor : checkpoint.tensors())
    if (const auto found = first_number(tensor.name)) {
      const auto run = runs.find(found->first);
      (run == runs.end() ? runs[std::string(found->first)] : run->second).insert(found->second);
    }
  return runs;
}

// Layers 0 … n-1 without a hole: n.
std::int64_t unbroken(const std::set<std::int64_t>& numbers) {
  std::int64_t count = 0;
  for (const std::int64_t number : numbers)
    if (number == count) ++count;
  return count;
}

// Keeps the runs that some name speaks for, if any does.
void prefer(std::vector<std::string>& prefixes, const auto& speaks) {
  std::vector<std::string> preferred;
  std::copy_if(prefixes.begin(), prefixes.end(), std::back_inserter(preferred), speaks);
  if (!preferred.empty()) prefixes = std::move(preferred);
}

std::string choose_prefix(const Checkpoint& checkpoint, const Runs& runs, std::int64_t layers) {
  std::vector<std::string> prefixes;
  for (const auto& [prefix, numbers] : runs)
    if (unbroken(numbers) >= std::max<std::int64_t>(layers, 1) && !names_tower(prefix)) prefixes.push_back(prefix);
  if (layers > 0) prefer(prefixes, [&](const auto& p) { return unbroken(runs.at(p)) == layers; });
  prefer(prefixes, [](const std::string& p) { return contains_any(p, kTexts); });
  prefer(prefixes, [](const std::string& p) { return p.ends_with("layers."); });
  if (prefixes.empty())
    fail(ErrorKind::mismatch, checkpoint.label(), ": no tensors are numbered as the ", layers,
         " decoder layers that config.json says");
  if (prefixes.size() > 1)
    fail(ErrorKind::mismatch, checkpoint.label(), ": '", prefixes[0], "*' and '", prefixes[1],
         "*' could both be the decoder layers; this program cannot tell which are");
  return prefixes.front();
}

std::int64_t promised_further(const Json& text, const std::string& where) {
  std::int64_t most = 0;
  for (const std::string_view key : kFurtherKeys) most = std::max(most, json_integer(text, key, where).value_or(0));
  return most;
}

}  // namespace

bool names_tower(std::string_view name) { return contains_any(name, kTowers); }

std::string text_config_key(const Json& config) {
  for (const std::string_view key : kTextKeys) {
    const Json::json_pointer pointer{std::string(key)};
    if (config.is_object() && config.contains(pointer) && config.at(pointer).is_object()) return std::string(key);
  }
  return {};
}

Json& text_config(Json& config, const LayerStack& stack) { return config.at(Json::json_pointer(stack.text_key)); }

LayerStack find_layer_stack(const Checkpoint& checkpoint) {
  const std::string where = checkpoint.config_label();
  LayerStack stack{.prefix = {}, .text_key = text_config_key(checkpoint.config())};
  const Json& text = checkpoint.config().at(Json::json_pointer(stack.text_key));
  for (const std::string_view key : kCountKeys)
    if (stack.count_key.empty() && text.contains(key) && !text.at(std::string(key)).is_null()) stack.count_key = key;
  if (!stack.count_key.empty()) {
    stack.layers = json_integer(text, stack.count_key, where).value_or(0);
    if (stack.layers < 1 || stack.layers > kMaxLayers)
      fail(ErrorKind::format, where, ": '", stack.count_key, "' is ", stack.layers, "; expected 1 to ", kMaxLayers);
  }
  // Of an object for the text model transformers has a default; at the top nobody would read a number that we wrote.
  if (stack.count_key.empty() && stack.text_key.empty())
    fail(ErrorKind::format, where, ": lacks '", kCountKeys[0], "', or an object 'text_config' for the text model");
  const Runs runs = numbered_runs(checkpoint);
  stack.prefix = choose_prefix(checkpoint, runs, stack.layers);
  const std::set<std::int64_t>& numbers = runs.at(stack.prefix);
  const std::int64_t stored = unbroken(numbers);
  if (stack.count_key.empty()) {  // transformers has a default; the tensors say it
    stack.count_key = kCountKeys[0];
    stack.layers = stored;
  }
  stack.further = stored - stack.layers;
  if (stored != static_cast<std::int64_t>(numbers.size()) || stack.further > promised_further(text, where))
    fail(ErrorKind::mismatch, checkpoint.label(), ": there are tensors '", stack.prefix, *numbers.rbegin(),
         ".*', but config.json says ", stack.count_key, " ", stack.layers);
  return stack;
}

std::optional<StackTensor> parse_stack_tensor(const LayerStack& stack, std::string_view name) {
  if (!name.starts_with(stack.prefix)) return std::nullopt;
  const auto found = first_number(name);
  if (!found || found->first != stack.prefix) return std::nullopt;
  const std::size_t number = std::to_string(found->second).size();
  return StackTensor{found->second, name.substr(stack.prefix.size() + number + 1)};
}

std::optional<std::int64_t> LayerMap::place(std::int64_t layer) const {
  if (layer >= before) return layer - before + after();
  const auto found = std::find(origins.begin(), origins.end(), layer);
  if (found == origins.end()) return std::nullopt;
  return found - origins.begin();
}

}  // namespace streamline
