// SPDX-License-Identifier: Apache-2.0
// `streamline inspect`: what a checkpoint is, without reading its weights.
#include <algorithm>
#include <map>
#include <memory>

#include "command.h"
#include "estimate.h"
#include "shared_options.h"
#include "streamline/arch/cache_size.h"
#include "streamline/arch/companions.h"
#include "streamline/arch/names.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/number_text.h"
#include "streamline/base/resources.h"
#include "streamline/io/dtype_word.h"
#include "streamline/io/safetensors.h"
#include "streamline/report/fields.h"
#include "streamline/report/report.h"
#include "streamline/report/sections.h"
#include "streamline/text/tokenizer.h"

namespace streamline::cli::inspect_command {
namespace {

struct Options {
  CommonOptions common;
  std::string model;
  bool check = false;
  EstimateOptions estimate;
};

Json layer_entry(const LayerConfig& layer) {
  Json entry = Json::object();
  if (layer.attention) {
    entry["heads"] = layer.attention->heads;
    entry["kv_heads"] = layer.attention->kv_heads;
    entry["head_dim"] = layer.attention->head_dim;
    entry["rotary"] = layer.attention->rope != RopeUse::none;
    entry["sliding_window"] = layer.attention->window ? Json(*layer.attention->window) : Json(nullptr);
  }
  if (layer.mlp) {
    entry["intermediate_size"] = layer.mlp->intermediate;
    entry["gated"] = layer.mlp->gated;
    if (layer.mlp->experts) {
      entry["experts"] = layer.mlp->experts->count;
      entry["active_experts"] = layer.mlp->experts->active;
    }
  }
  return entry;
}

// Bytes of each stored type, most first.
Json stored_types(const Checkpoint& checkpoint) {
  std::map<std::string_view, std::uint64_t> bytes;
  for (const TensorInfo& tensor : checkpoint.tensors()) bytes[dtype_word(tensor.dtype)] += tensor.size;
  std::vector<std::pair<std::string_view, std::uint64_t>> sorted(bytes.begin(), bytes.end());
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  Json types = Json::object();
  for (const auto& [name, size] : sorted) types[std::string(name)] = size;
  return types;
}

// What the file of chips says of its tasks, without reading them. Errors: io, format.
Json chip_tasks(const std::filesystem::path& file) {
  const Blob blob = map_file(file);
  const auto metadata = safetensors_metadata(blob.bytes, file.string());
  const auto text = metadata.find("streamline.chips");
  if (text == metadata.end()) fail(ErrorKind::format, file.string(), ": holds no chips");
  return parse_json(text->second, file.string()).value("tasks", Json::array());
}

// The classes of a model that was cut behind its chips, or of a …ForSequenceClassification checkpoint; null of others.
Json classifier_entry(const Checkpoint& checkpoint) {
  const std::filesystem::path file = chips_file(checkpoint);
  const bool head = checkpoint.find(kClassHead) != nullptr;
  if (file.empty() && !head) return nullptr;
  Json tasks = Json::array();
  for (const Json& task : file.empty() ? Json::array() : chip_tasks(file)) {
    Json entry = {{"task", task.value("task", "")}, {"classes", task.value("classes", Json::array())}};
    const Json choice = task.value("choice", Json());
    if (choice.is_object()) entry.update({{"layer", choice.value("layer", 0)}, {"kind", choice.value("kind", "")}});
    tasks.push_back(std::move(entry));
  }
  return {{"chips", !file.empty()}, {"head", head}, {"tasks", std::move(tasks)}};
}

std::string classifier_text(const Json& classifier) {
  std::string text;
  for (const Json& task : classifier["tasks"]) {
    text += (text.empty() ? "" : "; ") + task["task"].get<std::string>() + " (";
    for (std::size_t i = 0; i < task["classes"].size(); ++i)
      text += (i > 0 ? ", " : "") + task["classes"][i].get<std::string>();
    text += ")";
    if (task.contains("layer"))
      text += ", " + task["kind"].get<std::string>() + " chip behind layer " + task["layer"].dump();
  }
  if (text.empty()) return "a head of classes in the place of the language model's; it writes no text";
  return text + "; it writes no text: `streamline chip run` classifies with it";
}

// What a report of this program beside the weights says was done to make them; null where there is none.
Json made_entry(const Checkpoint& checkpoint) {
  if (!checkpoint.is_safetensors() || !checkpoint.files().contains("report.json")) return nullptr;
  const Json report = Json::parse(checkpoint.files().open("report.json").text(), nullptr, /*allow_exceptions=*/false);
  const auto by = report::text(report, "/run/command/1"), of = report::text(report, "/source/path");
  if (!by || !of || report::deed(report).empty()) return nullptr;
  return {{"by", *by}, {"of", *of}, {"what", report::deed(report)}};
}

// How many tokens its tokenizer has; null where there is none that can be read. Says where they do not fit the rows of
// the embedding.
Json token_count(const Checkpoint& checkpoint, const Config& config) {
  try {
    const auto tokenizer = open_tokenizer(checkpoint.files());
    for (const std::string& doubt : {excess_of_tokens(tokenizer->own_size(), config.vocab),
                                     shortage_of_tokens(tokenizer->vocab_size(), config.vocab)})
      if (!doubt.empty()) log_warning(checkpoint.label() + ": its tokenizer " + doubt);
    return tokenizer->vocab_size();
  } catch (const Error& error) {
    log_detail(error.what());
    return nullptr;
  }
}

Json describe_checkpoint(const Checkpoint& checkpoint, const Config& config, bool check) {
  Json layers = Json::array();
  for (std::int64_t i = 0; i < config.layer_count(); ++i) {
    Json entry = layer_entry(config.layers[static_cast<std::size_t>(i)]);
    entry["parameters"] = layer_parameters(config, checkpoint, i);
    layers.push_back(entry);
  }
  const std::size_t element = config.dtype == "float32" ? 4 : 2;
  return {{"path", std::filesystem::path(checkpoint.label()).lexically_normal().string()},  // without "./" in front
          {"family", config.family->name},
          {"title", config.family->title},
          {"layers", config.layer_count()},
          {"hidden_size", config.hidden},
          {"vocab_size", config.vocab},
          {"tokenizer_tokens", check ? token_count(checkpoint, config) : Json()},
          {"max_positions", config.max_positions},
          {"tied_embeddings", config.tied_embeddings},
          {"dtype", config.dtype},
          {"stored_types", stored_types(checkpoint)},
          {"parameters", total_parameters(checkpoint, config)},
          {"bytes", checkpoint.total_bytes()},
          {"tensors", checkpoint.tensors().size()},
          {"kv_cache_bytes_per_token", cache_values_per_token(config) * static_cast<std::int64_t>(element)},
          {"digest", checkpoint.digest()},
          {"classifier", classifier_entry(checkpoint)},
          {"side_route", side_route_file(checkpoint).empty() ? Json() : Json("sherl")},
          {"made", made_entry(checkpoint)},
          {"layer", layers}};
}

const Json* first_sparse(const Json& layers) {
  for (const Json& layer : layers)
    if (layer.contains("experts")) return &layer;
  return nullptr;
}

std::string as_text(const Json& info) {
  const Json& first = info["layer"].front();
  const auto number = [&](const char* key) { return std::to_string(info[key].get<std::int64_t>()); };
  std::vector<std::vector<std::string>> rows = {{"path", info["path"].get<std::string>()}};
  rows.push_back({"family", info["title"].get<std::string>()});
  rows.push_back({"parameters", format_count(info["parameters"].get<double>()) + " (" + number("parameters") + ")"});
  rows.push_back({"layers", number("layers") + ", of " + format_count(first["parameters"].get<double>()) +
                                " parameters each (the first)"});
  rows.push_back({"hidden size", number("hidden_size")});
  if (first.contains("heads"))
    rows.push_back({"attention", counted(first["heads"].get<std::int64_t>(), "head") + " of " +
                                     first["head_dim"].dump() + ", " + first["kv_heads"].dump() +
                                     " for keys and values"});
  if (const Json* sparse = first_sparse(info["layer"]))
    rows.push_back({"experts", (*sparse)["experts"].dump() + ", of which " + (*sparse)["active_experts"].dump() +
                                   " compute a token"});
  const Json& tokens = info["tokenizer_tokens"];
  rows.push_back({"vocabulary", number("vocab_size") + (info["tied_embeddings"].get<bool>() ? ", head tied" : "") +
                                    (tokens.is_null() || tokens == info["vocab_size"]
                                         ? ""
                                         : "; the tokenizer has " + tokens.dump() + " tokens")});
  rows.push_back({"positions", number("max_positions")});
  std::string types;
  for (const auto& [name, bytes] : info["stored_types"].items()) types += (types.empty() ? "" : ", ") + name;
  rows.push_back({"stored", format_bytes(info["bytes"].get<std::uint64_t>()) + " as " + types});
  rows.push_back(
      {"context", format_bytes(info["kv_cache_bytes_per_token"].get<std::uint64_t>()) + " a token (keys and values)"});
  if (!info["classifier"].is_null()) rows.push_back({"classifier", classifier_text(info["classifier"])});
  if (!info["side_route"].is_null())
    rows.push_back({"side route", "SHERL's, between its layers (`heal --with sherl`)"});
  if (!info["made"].is_null())
    rows.push_back({"made", "by `" + info["made"]["by"].get<std::string>() + "` of " +
                                info["made"]["of"].get<std::string>() + ": " +
                                info["made"]["what"].get<std::string>()});
  std::string text;
  for (const auto& row : rows) text += row[0] + std::string(14 - row[0].size(), ' ') + row[1] + "\n";
  return text;
}

Output run(const Options& options) {
  start_logging(options.common);
  const auto checkpoint = open_checkpoint(options.model);
  const Config config = resolve_config(*checkpoint);
  if (options.check) check_finite(*checkpoint);
  Json info = describe_checkpoint(*checkpoint, config, options.check);
  std::string text = as_text(info);
  if (!options.estimate.command.empty()) {
    info["estimate"] = estimate(options.model, options.estimate, options.common);
    text += "\n" + estimate_text(info["estimate"]);
  }
  return {std::move(info), std::move(text)};
}

// Without an estimate nothing computes.
void check_given(const Arguments& arguments, const EstimateOptions& options) {
  static const std::vector<std::string> always = {"model", "check", "json", "quiet", "verbose"};
  if (!options.command.empty()) return;
  for (const auto& [name, words] : arguments.given())
    if (std::find(always.begin(), always.end(), name) == always.end())
      fail(ErrorKind::usage, "--", name, " goes with --estimate");
}

std::function<Output()> declare(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  add_model(arguments, options->model);
  arguments.flag("--check", options->check,
                 "also read every weight and fail on NaN or infinity, and hold the tokenizer against the vocabulary");
  add_output_options(arguments, options->common);
  add_estimate_options(arguments, options->estimate, options->common);
  return [options, arguments] {
    check_given(arguments, options->estimate);
    return run(*options);
  };
}

}  // namespace

const Command& command() {
  static const Command declared{
      "inspect", "family, layers, parameters and memory of a checkpoint",
      "  streamline inspect models/books-5m\n  streamline inspect models/books-5m --json --check\n"
      "  streamline inspect models/books-5m --estimate prune --cut 4 --tokens 300000\n",
      declare};
  return declared;
}

}  // namespace streamline::cli::inspect_command
