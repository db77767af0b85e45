// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/multimodal.h"

#include <algorithm>
#include <array>
#include <deque>
#include <map>

#include "streamline/arch/layer_stack.h"
#include "streamline/arch/names.h"

namespace streamline {
namespace {

constexpr std::array<const char*, 5> kOtherParts = {"vision_config", "audio_config", "visual", "vision_tower_config",
                                                    "speech_config"};
// Taken from the top where the text model has none.
constexpr std::array<const char*, 4> kInherited = {"dtype", "torch_dtype", "bos_token_id", "eos_token_id"};

// A beginning: what replaces "model." of the family's names, and what stands before all of them.
struct Layout {
  std::string_view model, before;
};
constexpr std::array kLayouts = {Layout{"model.language_model.", ""}, Layout{"model.", "language_model."},
                                 Layout{"model.text_model.", ""}, Layout{"model.", "thinker."}};

class Layouts {
 public:
  Layouts() {
    for (const Family* family : streamline::families())
      for (const Layout& layout : kLayouts)
        if (family->layer_prefix.starts_with("model.")) variants_[family].push_back(add(*family, layout));
  }

  const std::vector<const Family*>& of(const Family& family) const {
    static const std::vector<const Family*> none;
    const auto found = variants_.find(&family);
    return found == variants_.end() ? none : found->second;
  }

 private:
  std::string_view renamed(std::string_view name, const Layout& layout) {
    constexpr std::string_view kModel = "model.";
    std::string full(layout.before);
    if (name.starts_with(kModel)) full.append(layout.model).append(name.substr(kModel.size()));
    if (!name.starts_with(kModel)) full.append(name);
    return names_.emplace_back(std::move(full));
  }

  const Family* add(const Family& family, const Layout& layout) {
    Family variant = family;
    variant.layer_prefix = renamed(family.layer_prefix, layout);
    for (RoleName& entry : variant.global_names) entry.name = renamed(entry.name, layout);
    variant.other_names = nullptr;
    return &families_.emplace_back(std::move(variant));
  }

  std::deque<std::string> names_;  // what the families' views refer to; a deque does not move its elements
  std::deque<Family> families_;
  std::map<const Family*, std::vector<const Family*>> variants_;
};

bool has(const Json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && !found->is_null();
}

}  // namespace

Json text_part(const Json& config, const std::string& key) {
  if (key.empty()) return config;
  Json text = config.at(Json::json_pointer(key));
  if (has(config, "tie_word_embeddings")) text["tie_word_embeddings"] = config.at("tie_word_embeddings");  // it decides
  for (const char* inherited : kInherited)
    if (has(config, inherited) && !has(text, inherited)) text[inherited] = config.at(inherited);
  return text;
}

Json with_text_part(Json config, const std::string& key, Json text) {
  if (key.empty()) return text;
  Json& place = config.at(Json::json_pointer(key));
  for (const char* token : {"bos_token_id", "eos_token_id"})
    if (!place.contains(token)) text.erase(token);
  for (const char* shared : {"tie_word_embeddings", "dtype", "torch_dtype"})
    if (config.contains(shared) && text.contains(shared)) config[shared] = text.at(shared);
  place = std::move(text);
  return config;
}

bool is_multimodal(const Json& config) {
  return !text_config_key(config).empty() ||
         std::any_of(kOtherParts.begin(), kOtherParts.end(), [&](const char* key) { return has(config, key); });
}

const std::vector<const Family*>& text_layouts(const Family& family) {
  static const Layouts layouts;
  return layouts.of(family);
}

bool is_carried(const Family& family, std::string_view tensor) {
  for (const RoleName& entry : family.global_names)
    if (tensor.starts_with(entry.name) && tensor.substr(entry.name.size()).starts_with(".")) return false;
  std::string_view root = family.layer_prefix;  // "model.layers."
  root.remove_suffix(1);
  root = root.substr(0, root.rfind('.') + 1);
  return !tensor.starts_with(root) || names_tower(tensor);
}

}  // namespace streamline
