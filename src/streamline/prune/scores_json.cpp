// SPDX-License-Identifier: Apache-2.0
// Scores as JSON: tables for people and programs, and the two matrices that everything else derives from.
#include <algorithm>

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

}  // namespace streamline
