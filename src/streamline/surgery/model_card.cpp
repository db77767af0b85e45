// SPDX-License-Identifier: Apache-2.0
#include "streamline/surgery/model_card.h"

#include <algorithm>
#include <array>
#include <sstream>

#include "streamline/base/perplexity_text.h"
#include "streamline/base/resources.h"

namespace streamline {

namespace {

constexpr std::array<std::string_view, 12> kInherited = {"license",
                                                         "license_name",
                                                         "license_link",
                                                         "language",
                                                         "pipeline_tag",
                                                         "extra_gated_prompt",
                                                         "extra_gated_fields",
                                                         "extra_gated_button_content",
                                                         "extra_gated_heading",
                                                         "extra_gated_description",
                                                         "extra_gated_eu_disallowed",
                                                         "inference"};

// Lines between the leading "---" and the next one; empty when the card has no front matter.
std::string_view front_matter(std::string_view card) {
  if (!card.starts_with("---\n") && !card.starts_with("---\r\n")) return {};
  card.remove_prefix(card.find('\n') + 1);
  if (card.starts_with("---")) return {};
  const std::size_t end = card.find("\n---");
  return end == std::string_view::npos ? std::string_view() : card.substr(0, end + 1);
}

std::string_view take_line(std::string_view& text) {
  const std::size_t end = text.find('\n');
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  return line.ends_with('\r') ? line.substr(0, line.size() - 1) : line;
}

// Every JSON string is a YAML string.
std::string quoted(const std::string& text) { return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace); }

constexpr const char* kRecipe = "recipe";  // of the provenance: a file, not a cell
constexpr const char* kModels = "models";  // of the provenance: the figures of report.json

// Empty where they are not known.
std::string parameter_row(const CardFacts& facts) {
  if (facts.parameters_before == 0) return {};
  return "| parameters | " + format_millions(facts.parameters_before) + " | " +
         format_millions(facts.parameters_after) + " |\n";
}

bool says_nothing(const Json& value) { return value.is_null() || (value.is_array() && value.empty()); }

// Of the source and of the result, where both were measured, and of what was cut before anything was trained; else
// empty. Below them how they were measured.
std::string perplexity_rows(const CardFacts& facts) {
  const Json models = facts.provenance.value(kModels, Json::array());
  const Json::json_pointer measured("/perplexity"), source("/perplexity/text/source");
  const auto figure = [&](const Json& model) { return perplexity_text(model.value(measured, Json())); };
  if (models.size() < 2 || !figure(models.front()) || !figure(models.back())) return {};
  const std::string text = models.front().value(source, "");
  std::string rows = "| perplexity" + (text.empty() ? "" : " on " + text.substr(text.find_last_of('/') + 1)) + " | " +
                     *figure(models.front()) + " | " + *figure(models.back()) + " |\n";
  for (std::size_t i = 1; i + 1 < models.size(); ++i)
    if (const auto between = figure(models[i]))
      rows += "| perplexity, " + models[i].value("name", "between") + " | | " + *between + " |\n";
  const Json& first = models.front().at(measured);
  const bool has_error = !first.value("standard_error", Json()).is_null();
  const std::string windows = windows_text(first);
  if (!has_error && windows.empty()) return rows;
  return rows + "\nPerplexity" + (has_error ? " ± one standard error" : "") + (windows.empty() ? "" : ": " + windows) +
         ".\n";
}

// What a plan took.
std::vector<std::string> plan_tags(const Plan& plan) {
  const bool depth = cuts_layers(plan);
  std::vector<std::string> tags;
  if (depth || !plan.slices.empty() || plan.masks) tags.emplace_back("pruned");
  if (depth) tags.emplace_back("depth-pruning");
  if (!plan.slices.empty()) tags.emplace_back("width-pruning");
  if (plan.masks) tags.emplace_back("sparse");
  return tags;
}

// A value in a table: text as it is, a command as one line, the parts of an object behind their names, everything else
// as JSON.
std::string cell(const Json& value) {
  const bool words = value.is_array() && !value.empty() &&
                     std::all_of(value.begin(), value.end(), [](const Json& word) { return word.is_string(); });
  std::string text;
  if (words) {
    for (const Json& word : value) text += (text.empty() ? "" : " ") + word.get<std::string>();
  } else if (value.is_object()) {
    for (const auto& [key, part] : value.items())
      if (!says_nothing(part)) text += (text.empty() ? "" : ", ") + key + " " + cell(part);
  } else {
    text = value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  for (char& c : text) {
    if (c == '\n' || c == '\r') c = ' ';
    if (c == '|') c = '/';
  }
  return text;
}

bool loads_in_transformers(const CardFacts& facts) { return facts.format == "ordinary" || facts.format == "decilm"; }

void write_front_matter(std::ostream& card, const Plan& plan, const CardFacts& facts) {
  card << "---\n";
  std::vector<std::string> models = facts.base_models;
  if (models.empty() && !plan.base.model.empty()) models.push_back(plan.base.model);
  if (!models.empty()) card << "base_model:\n";
  for (const std::string& model : models) card << "- " << quoted(model) << "\n";
  card << "library_name: " << (loads_in_transformers(facts) ? "transformers" : "streamline.cpp") << "\n";
  bool pipeline = !facts.pipeline.empty();
  if (pipeline) card << "pipeline_tag: " << facts.pipeline << "\n";
  for (const std::string_view key : kInherited) {
    if (key == "pipeline_tag" && !facts.pipeline.empty()) continue;
    const std::string entry = front_matter_entry(facts.source_card, key);
    pipeline = pipeline || (key == "pipeline_tag" && !entry.empty());
    card << entry;
  }
  if (!pipeline) card << "pipeline_tag: " << (facts.multimodal ? "image-text-to-text\n" : "text-generation\n");
  std::vector<std::string> tags = facts.tags;
  if (tags.empty()) tags = facts.base_models.empty() ? plan_tags(plan) : std::vector<std::string>{"merge"};
  card << "tags:\n";
  for (const std::string& tag : tags) card << "- " << tag << "\n";
  card << "- streamline.cpp\n---\n\n";
}

void write_recipe(std::ostream& card, const Plan& plan, const CardFacts& facts) {
  card << "# " << facts.name << "\n\n"
       << (plan.base.model.empty() ? "A model" : "`" + plan.base.model + "`") << " made smaller: " << summary(plan)
       << ".\n\n"
       << "| | source | this model |\n|---|---|---|\n"
       << "| layers | " << facts.layers_before << " | " << facts.layers_after << " |\n"
       << parameter_row(facts) << perplexity_rows(facts) << "\n## Recipe\n\n| | |\n|---|---|\n"
       << "| method | " << cell(plan.method.name) << " |\n";
  for (const auto& [key, value] : plan.method.parameters.items())
    if (!says_nothing(value)) card << "| " << cell(key) << " | " << cell(value) << " |\n";
  if (!plan.method.calibration_digest.empty())
    card << "| calibration tokens, SHA-256 | `" << plan.method.calibration_digest << "` |\n";
  if (!facts.provenance.contains("seed")) card << "| seed | " << plan.method.seed << " |\n";
  for (const auto& [key, value] : facts.provenance.items())
    if (key != kRecipe && key != kModels) card << "| " << cell(key) << " | " << cell(value) << " |\n";
  card << "\n";
  if (facts.repeatable)
    card << "Repeat it from the source checkpoint and this directory:\n\n"
         << "```\nstreamline apply SOURCE --plan streamline/plan.json --out DIR\n```\n\n";
  if (const std::string recipe = facts.provenance.value(kRecipe, ""); !recipe.empty())
    card << (facts.repeatable ? "Or do" : "Do")
         << " all of it again, with `streamline prune --config streamline/recipe.yaml --out DIR`:\n\n```yaml\n"
         << recipe << "```\n\n";
}

void write_scores(std::ostream& card, const Plan& plan) {
  constexpr std::size_t kMostBytes = 2000;
  if (plan.scores.empty()) return;
  const std::string scores = dump_json(plan.scores);
  if (scores.size() > kMostBytes) {
    card << "The scores of all layers are in `streamline/plan.json`.\n\n";
  } else {
    card << "What the method looked at:\n\n```json\n" << scores << "```\n\n";
  }
}

void write_transformers(std::ostream& card, const CardFacts& facts, const char* trust) {
  const char* loader = facts.multimodal ? "AutoModelForImageTextToText" : "AutoModelForCausalLM";
  card << "```python\nfrom transformers import " << loader << ", AutoTokenizer\n\n"
       << "model = " << loader << ".from_pretrained(" << quoted(facts.name) << trust << ")\n"
       << "tokenizer = AutoTokenizer.from_pretrained(" << quoted(facts.name) << ")\n```\n\n";
}

void write_loading(std::ostream& card, const CardFacts& facts) {
  card << "## Loading\n\n";
  if (facts.format == "ordinary")
    card << "An ordinary checkpoint of its family; "
         << (facts.converts ? "every runtime that loads the source loads it unmodified.\n\n"
                            : "not every runtime that loads the source computes it:\n\n");
  for (const std::string& note : facts.notes) card << "- " << note << "\n";
  if (!facts.notes.empty()) card << "\n";
  if (facts.format == "ordinary") {
    write_transformers(card, facts, "");
    card << "```\nvllm serve " << facts.name << "\n";
    if (facts.converts) card << "python convert_hf_to_gguf.py " << facts.name << "\n";
    card << "```\n";
  } else if (facts.format == "decilm") {
    write_transformers(card, facts, ", trust_remote_code=True");
    card << "```\nvllm serve " << facts.name << " --trust-remote-code\n```\n";
  } else {
    if (facts.format == "extension")
      card << "One layer is a network that no stock architecture has; `config.json` describes it in its `streamline` "
              "object and changes `model_type`, so that other loaders refuse the model instead of loading a wrong "
              "one.\n\n";
    card << "```\nstreamline generate " << facts.name << " --prompt TEXT\n```\n";
  }
}

}  // namespace

std::string front_matter_entry(std::string_view card, std::string_view key) {
  std::string entry;
  for (std::string_view rest = front_matter(card); !rest.empty();) {
    const std::string_view line = take_line(rest);
    const bool top = !line.empty() && line[0] != ' ' && line[0] != '\t' && line[0] != '-' && line[0] != '#';
    if (top && !entry.empty()) break;
    const bool starts = top && line.starts_with(key) && line.substr(key.size()).starts_with(":");
    if (starts || !entry.empty()) entry.append(line).append("\n");
  }
  return entry;
}

std::string model_card(const Plan& plan, const CardFacts& facts) {
  std::ostringstream card;
  write_front_matter(card, plan, facts);
  if (!facts.body.empty()) {
    card << facts.body << (facts.body.ends_with('\n') ? "" : "\n");
    return card.str();
  }
  write_recipe(card, plan, facts);
  write_scores(card, plan);
  write_loading(card, facts);
  return card.str();
}

}  // namespace streamline
