// SPDX-License-Identifier: Apache-2.0
// Scores as JSON: tables for people and programs, and the two matrices that everything else derives from.
#include <algorithm>

#include "streamline/base/error.h"
#include "streamline/prune/scores.h"

namespace streamline {
namespace {

constexpr std::int64_t kVersion = 2;

Json matrix_to_json(const std::vector<double>& matrix, std::int64_t states) {
  Json rows = Json::array();
  for (std::int64_t i = 0; i < states; ++i) {
    rows.push_back(std::vector<double>(matrix.begin() + i * states, matrix.begin() + (i + 1) * states));
  }
  return rows;
}

struct UpdateField {
  const char* name;
  double UpdateStatistics::*value;
};
constexpr UpdateField kUpdateFields[] = {{"cosine", &UpdateStatistics::cosine},
                                         {"l1", &UpdateStatistics::l1},
                                         {"l2", &UpdateStatistics::l2},
                                         {"relative_l1_in", &UpdateStatistics::relative_l1_in},
                                         {"relative_l1_out", &UpdateStatistics::relative_l1_out},
                                         {"relative_l2_in", &UpdateStatistics::relative_l2_in},
                                         {"relative_l2_out", &UpdateStatistics::relative_l2_out}};

Json update_to_json(const UpdateStatistics& update) {
  Json json = Json::object();
  for (const auto& [name, value] : kUpdateFields) json[name] = update.*value;
  return json;
}

// {layers: […], attention: […], mlp: […]}, null for a half that is not there.
Json updates_to_json(const Scores& scores) {
  Json json = {{"layers", Json::array()}, {"attention", Json::array()}, {"mlp", Json::array()}};
  for (const UpdateStatistics& update : scores.layer_updates) json["layers"].push_back(update_to_json(update));
  for (const auto& [name, updates] : {std::pair("attention", &scores.attention_updates), {"mlp", &scores.mlp_updates}})
    for (const auto& update : *updates) json[name].push_back(update ? update_to_json(*update) : Json());
  return json;
}

// The list of that name: empty, or one entry a layer.
std::vector<std::optional<UpdateStatistics>> updates_from_json(const Json& updates, const char* name,
                                                               std::int64_t layers, const std::string& where) {
  const auto list = updates.find(name);
  if (list == updates.end() || !list->is_array() || (!list->empty() && std::ssize(*list) != layers))
    fail(ErrorKind::format, where, ": '", name, "' must have no entry or ", layers);
  std::vector<std::optional<UpdateStatistics>> result;
  for (const Json& entry : *list) {
    result.emplace_back();
    if (entry.is_null()) continue;
    result.back().emplace();
    for (const auto& [field, value] : kUpdateFields)
      (*result.back()).*value = json_number(entry, field, where + ": " + name).value_or(0);
  }
  return result;
}

Json layer_table(const Scores& scores) {
  const std::vector<std::int64_t> massive = massive_activation_layers(scores);
  Json table = Json::array();
  for (std::int64_t layer = 0; layer < scores.layers; ++layer) {
    const LayerNorms& in = scores.states[static_cast<std::size_t>(layer)];
    const LayerNorms& out = scores.states[static_cast<std::size_t>(layer + 1)];
    table.push_back({{"layer", layer},
                     {"cosine", scores.window_cosine(layer, 1)},
                     {"block_influence", scores.block_influence(layer)},
                     {"relative_l2", scores.window_relative_l2(layer, 1)},
                     {"mean_norm_in", in.mean},
                     {"mean_norm_out", out.mean},
                     {"largest_over_median_in", in.largest_over_median},
                     {"largest_over_median_out", out.largest_over_median},
                     {"massive_activation", std::find(massive.begin(), massive.end(), layer) != massive.end()}});
  }
  return table;
}

Json window_tables(const Scores& scores) {
  Json tables = Json::array();
  for (std::int64_t count = 1; count <= scores.layers; ++count) {
    const std::vector<Window> ranked = ranked_windows(scores, count, {});
    Json best_first = Json::array();
    for (const Window& window : ranked) {
      best_first.push_back({{"start", window.start},
                            {"last", window.last()},
                            {"cosine", window.cosine},
                            {"half_cosine", 0.5 + 0.5 * window.cosine},
                            {"relative_l2", scores.window_relative_l2(window.start, count)}});
    }
    Json table = {{"count", count}};
    if (ranked.size() > 1) table["margin"] = ranked[0].cosine - ranked[1].cosine;
    table["best_first"] = std::move(best_first);
    tables.push_back(std::move(table));
  }
  return tables;
}

std::vector<double> matrix_from_json(const Json& json, std::string_view key, std::int64_t states,
                                     const std::string& where) {
  const auto wrong = [&] {
    fail(ErrorKind::format, where, ": '", key, "' must be ", states, " rows of ", states, " numbers");
  };
  const auto found = json.find(key);
  if (found == json.end() || !found->is_array() || std::ssize(*found) != states) wrong();
  std::vector<double> matrix;
  for (const Json& row : *found) {
    if (!row.is_array() || std::ssize(row) != states) wrong();
    for (const Json& value : row) {
      if (!value.is_number()) wrong();
      matrix.push_back(value.get<double>());
    }
  }
  return matrix;
}

std::int64_t required_integer(const Json& json, std::string_view key, const std::string& where) {
  const auto value = json_integer(json, key, where);
  if (!value || *value < 0) fail(ErrorKind::format, where, ": '", key, "' must be a number of at least 0");
  return *value;
}

}  // namespace

Json to_json(const Scores& scores) {
  Json states = Json::array();
  for (std::size_t i = 0; i < scores.states.size(); ++i) {
    states.push_back({{"state", i},
                      {"mean_norm", scores.states[i].mean},
                      {"largest_over_median", scores.states[i].largest_over_median}});
  }
  return {{"version", kVersion},
          {"layers", scores.layers},
          {"sequences", scores.sequences},
          {"tokens", scores.tokens},
          {"calibration_digest", scores.calibration_digest},
          {"massive_activation_layers", massive_activation_layers(scores)},
          {"per_layer", layer_table(scores)},
          {"states", std::move(states)},
          {"updates", updates_to_json(scores)},
          {"windows", window_tables(scores)},
          {"cosine", matrix_to_json(scores.cosine, scores.layers + 1)},
          {"relative_l2", matrix_to_json(scores.relative_l2, scores.layers + 1)},
          {"angular_last", matrix_to_json(scores.angular_last, scores.layers + 1)},
          {"angular_all", matrix_to_json(scores.angular_all, scores.layers + 1)},
          {"normed_last_cosine", scores.normed_last_cosine ? Json(*scores.normed_last_cosine) : Json()}};
}

Scores scores_from_json(const Json& json, const std::string& where) {
  constexpr std::int64_t kMostLayers = 1 << 14;  // bounds what a hostile file can make us allocate
  const std::int64_t version = required_integer(json, "version", where);
  if (version != kVersion) fail(ErrorKind::format, where, ": scores of version ", version, "; this reads ", kVersion);
  Scores scores;
  scores.layers = required_integer(json, "layers", where);
  if (scores.layers < 1 || scores.layers > kMostLayers) fail(ErrorKind::format, where, ": ", scores.layers, " layers");
  scores.sequences = required_integer(json, "sequences", where);
  scores.tokens = required_integer(json, "tokens", where);
  scores.calibration_digest = json_string(json, "calibration_digest", where).value_or("");
  scores.cosine = matrix_from_json(json, "cosine", scores.layers + 1, where);
  scores.relative_l2 = matrix_from_json(json, "relative_l2", scores.layers + 1, where);
  scores.angular_last = matrix_from_json(json, "angular_last", scores.layers + 1, where);
  scores.angular_all = matrix_from_json(json, "angular_all", scores.layers + 1, where);
  scores.normed_last_cosine = json_number(json, "normed_last_cosine", where);
  const auto states = json.find("states");
  if (states == json.end() || !states->is_array() || std::ssize(*states) != scores.layers + 1) {
    fail(ErrorKind::format, where, ": 'states' must have ", scores.layers + 1, " entries");
  }
  for (const Json& state : *states) {
    scores.states.push_back({json_number(state, "mean_norm", where).value_or(0),
                             json_number(state, "largest_over_median", where).value_or(0)});
  }
  const auto updates = json.find("updates");
  if (updates == json.end() || !updates->is_object()) fail(ErrorKind::format, where, ": 'updates' is not an object");
  scores.attention_updates = updates_from_json(*updates, "attention", scores.layers, where);
  scores.mlp_updates = updates_from_json(*updates, "mlp", scores.layers, where);
  for (const auto& update : updates_from_json(*updates, "layers", scores.layers, where))
    scores.layer_updates.push_back(update.value_or(UpdateStatistics{}));
  return scores;
}

}  // namespace streamline
