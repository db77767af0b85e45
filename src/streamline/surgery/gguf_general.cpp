// SPDX-License-Identifier: Apache-2.0
#include "streamline/surgery/gguf_general.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <functional>
#include <numeric>

#include "streamline/base/error.h"
#include "streamline/base/json.h"
#include "streamline/surgery/model_card.h"
#include "streamline/surgery/origin.h"

namespace streamline {
namespace {

bool is_capital_free(const std::string& word) {
  bool letters = false;
  for (const unsigned char c : word) {
    if (std::isupper(c) != 0) return false;
    letters = letters || std::islower(c) != 0;
  }
  return letters;
}

bool is_version(const std::string& word) {
  return std::isdigit(static_cast<unsigned char>(word[0])) != 0 ||
         (word.size() > 1 && word[0] == 'v' && std::isdigit(static_cast<unsigned char>(word[1])) != 0);
}

// "smollm2-135M-instruct" → "Smollm2 135M Instruct".
std::string title_of(std::string name) {
  std::string title, word;
  const auto finish = [&] {
    if (word.empty()) return;
    if (is_capital_free(word) && !is_version(word))
      word[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(word[0])));
    title += (title.empty() ? "" : " ") + word;
    word.clear();
  };
  for (const char c : name) {
    if (c == '-' || c == ' ') {
      finish();
    } else {
      word += c;
    }
  }
  finish();
  return title;
}

std::string trimmed(std::string_view text) {
  constexpr std::string_view kAround = " \t\r\n\"'";
  const std::size_t first = text.find_first_not_of(kAround);
  if (first == std::string_view::npos) return {};
  return std::string(text.substr(first, text.find_last_not_of(kAround) - first + 1));
}

// The values of a YAML entry: "license: mit", "language: [en, de]", or lines "- en" below it.
std::vector<std::string> card_values(const std::string& card, std::string_view key) {
  std::string entry = front_matter_entry(card, key);
  entry.erase(0, std::min(entry.size(), entry.find(':') + 1));
  std::vector<std::string> values;
  std::size_t start = 0;
  const auto add = [&](std::string_view text) {
    std::string value = trimmed(text);
    if (value.starts_with("- ")) value = trimmed(value.substr(2));
    if (!value.empty()) values.push_back(std::move(value));
  };
  std::replace(entry.begin(), entry.end(), '[', ' ');
  std::replace(entry.begin(), entry.end(), ']', ' ');
  for (std::size_t i = 0; i <= entry.size(); ++i) {
    if (i < entry.size() && entry[i] != '\n' && entry[i] != ',') continue;
    add(std::string_view(entry).substr(start, i - start));
    start = i + 1;
  }
  return values;
}

void add_base_models(const std::vector<std::string>& models, GgufFields& fields) {
  if (models.empty()) return;
  fields.u32("general.base_model.count", static_cast<std::int64_t>(models.size()));
  for (std::size_t i = 0; i < models.size(); ++i) {
    const std::string prefix = "general.base_model." + std::to_string(i) + ".";
    const std::size_t slash = models[i].find('/');
    fields.string(prefix + "name", title_of(slash == std::string::npos ? models[i] : models[i].substr(slash + 1)));
    if (slash == std::string::npos) continue;
    fields.string(prefix + "organization", title_of(models[i].substr(0, slash)));
    fields.string(prefix + "repo_url", "https://huggingface.co/" + models[i]);
  }
}

void add_card(const FileSet& files, GgufFields& fields) {
  if (!files.contains("README.md")) return;
  const std::string card(files.open("README.md").text());
  if (const auto licence = card_values(card, "license"); !licence.empty())
    fields.string("general.license", licence.front());
  for (const auto& [key, name] :
       {std::pair{"license_name", "general.license.name"}, std::pair{"license_link", "general.license.link"}})
    if (const auto value = card_values(card, key); !value.empty()) fields.string(name, value.front());
  add_base_models(card_values(card, "base_model"), fields);
  std::vector<std::string> tags = card_values(card, "tags");
  for (const std::string& pipeline : card_values(card, "pipeline_tag")) tags.push_back(pipeline);
  fields.strings("general.tags", tags);
  fields.strings("general.languages", card_values(card, "language"));
}

// What generation_config.json recommends, and GGUF's names for it.
void add_sampling(const FileSet& files, GgufFields& fields) {
  const std::string name = "generation_config.json";
  if (!files.contains(name)) return;
  const std::string where = files.label() + "/" + name;
  const Json settings = parse_json(files.open(name).text(), where);
  if (!settings.is_object()) fail(ErrorKind::format, where, ": not a JSON object");
  if (const auto value = json_integer(settings, "top_k", where); value && *value >= 0 && *value <= INT32_MAX) {
    const auto count = static_cast<std::int32_t>(*value);
    fields.i32("general.sampling.top_k", count);
  }
  for (const auto& [key, field] :
       {std::pair{"top_p", "general.sampling.top_p"}, std::pair{"min_p", "general.sampling.min_p"},
        std::pair{"temperature", "general.sampling.temp"},
        std::pair{"repetition_penalty", "general.sampling.penalty_repeat"}})
    if (const auto value = json_number(settings, key, where)) fields.f32(field, *value);
}

}  // namespace

std::string gguf_size_label(const std::vector<std::vector<std::int64_t>>& shapes, const Config& config) {
  struct Unit {
    double size;
    const char* letter;
  };
  constexpr Unit kUnits[] = {{1e12, "T"}, {1e9, "B"}, {1e6, "M"}, {1e3, "K"}};
  std::int64_t parameters = 0;
  for (const std::vector<std::int64_t>& shape : shapes) {
    const auto first = shape.size() == 3 ? shape.begin() + 1 : shape.begin();
    parameters += std::accumulate(first, shape.end(), std::int64_t{1}, std::multiplies<>());
  }
  const auto count = static_cast<double>(parameters);
  const Unit* unit = std::find_if(std::begin(kUnits), std::end(kUnits), [&](const Unit& u) { return count > u.size; });
  if (unit == std::end(kUnits)) --unit;
  const double scaled = count / unit->size;
  char text[48];
  std::snprintf(text, sizeof text, "%.*f%s", scaled < 9.5 ? 1 : 0, scaled, unit->letter);
  for (const LayerConfig& layer : config.layers)  // of which the first may be dense, or have no MLP
    if (layer.mlp && layer.mlp->experts) return std::to_string(layer.mlp->experts->count) + "x" + text;
  return text;
}

void add_gguf_general(const FileSet& files, const std::string& label, GgufFields& fields) {
  fields.string("general.type", "model");
  add_sampling(files, fields);
  fields.string("general.name", title_of(base_name(files.label())));
  fields.string("general.size_label", label);
  add_card(files, fields);
}

}  // namespace streamline
