// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/layer_taps.h"

#include <algorithm>
#include <array>
#include <cstdlib>

#include "streamline/arch/json_edit.h"
#include "streamline/base/error.h"

namespace streamline {
namespace {

constexpr const char* kDeepStack = "deepstack_visual_indexes";

// A layer, or a list of layers.
constexpr std::array<std::string_view, 12> kTaps = {
    "deepstack_visual_indexes",    "accept_hidden_layer", "eagle_aux_hidden_state_layer_ids",
    "aux_hidden_state_layers",     "target_layer_ids",    "intermediate_layers_indices",
    "intermediate_feature_layers", "intermediate_layers", "feature_layers",
    "hidden_state_layers",         "text_feature_layer",  "spatial_target_layers"};

struct Taps {
  const LayerMap& map;
  std::string key;
  std::vector<std::int64_t> taken = {};  // places in the result, so that two taps stay two
  std::string moved = {};
};

std::int64_t checked_layer(const Json& value, const Taps& taps) {
  const std::int64_t layers = taps.map.before;
  if (!value.is_number_integer())
    fail(ErrorKind::format, kConfigFile, ": '", taps.key, "' has ", value.dump().substr(0, 60),
         "; expected numbers of layers");
  const auto layer = value.get<std::int64_t>();
  if (layer < -layers || layer > layers)
    fail(ErrorKind::mismatch, kConfigFile, ": '", taps.key, "' names layer ", layer, "; the text model has ", layers);
  return layer < 0 ? layer + layers : layer;
}

// Place of the layer that is left nearest to `layer`, the lower of two, among those that are not taken.
std::int64_t nearest(std::int64_t layer, const Taps& taps) {
  std::int64_t best = -1;
  const auto distance = [&](std::int64_t place) {
    return std::llabs(taps.map.origins[static_cast<std::size_t>(place)] - layer);
  };
  for (std::int64_t place = 0; place < taps.map.after(); ++place) {
    if (std::find(taps.taken.begin(), taps.taken.end(), place) != taps.taken.end()) continue;
    if (best < 0 || distance(place) < distance(best)) best = place;
  }
  if (best < 0)
    fail(ErrorKind::mismatch, kConfigFile, ": '", taps.key, "' taps more layers than the ", taps.map.after(),
         " that would be left; keep more");
  return best;
}

Json moved_tap(const Json& value, Taps& taps) {
  const std::int64_t layer = checked_layer(value, taps);
  if (layer == taps.map.before) return taps.map.after();  // behind the last, whichever it is
  const std::optional<std::int64_t> survived = taps.map.place(layer);
  const std::int64_t place = survived ? *survived : nearest(layer, taps);
  if (!survived) taps.taken.push_back(place);
  const std::int64_t origin = taps.map.origins[static_cast<std::size_t>(place)];
  if (origin != layer)
    taps.moved += (taps.moved.empty() ? "" : ", ") + std::to_string(layer) + " to " + std::to_string(origin);
  return value.get<std::int64_t>() < 0 ? place - taps.map.after() : place;
}

void move_taps(Json& object, const LayerMap& map, std::vector<std::string>& notes) {
  for (auto& [key, value] : object.items()) {
    if (std::find(kTaps.begin(), kTaps.end(), key) != kTaps.end() && !value.is_null()) {
      Taps taps{.map = map, .key = key};
      if (value.is_array()) {
        for (const Json& entry : value)  // those that stay have their places first
          if (const auto place = map.place(checked_layer(entry, taps))) taps.taken.push_back(*place);
        for (Json& entry : value) entry = moved_tap(entry, taps);
      } else {
        value = moved_tap(value, taps);
      }
      if (!taps.moved.empty())
        notes.push_back("'" + key + "' taps layers that are gone; moved (layers of the source): " + taps.moved);
    } else if (value.is_object() && !names_tower(key)) {
      move_taps(value, map, notes);
    }
  }
}

// What DeepStack's tower gives is added behind layers 0, 1, … of the text stack.
void check_deepstack(const Json& config, const LayerMap& map, std::vector<std::string>& notes) {
  const auto tower = config.find("vision_config");
  if (tower == config.end() || !tower->is_object() || !tower->contains(kDeepStack)) return;
  const Json& indexes = tower->at(kDeepStack);
  if (!indexes.is_array()) fail(ErrorKind::format, kConfigFile, ": 'vision_config.", kDeepStack, "' is not a list");
  const auto depth = json_integer(*tower, "depth", kConfigFile);
  for (const Json& index : indexes) {
    if (!index.is_number_integer() || (depth && (index < Json(0) || index >= Json(*depth))))
      fail(ErrorKind::mismatch, kConfigFile, ": 'vision_config.", kDeepStack, "' has ", index.dump().substr(0, 60),
           "; the vision tower has ", depth.value_or(0), " layers");
  }
  const auto count = static_cast<std::int64_t>(indexes.size());
  if (count > map.after())
    fail(ErrorKind::mismatch, kConfigFile, ": DeepStack adds image features behind ", count,
         " layers of the text model, and ", map.after(), " would be left; keep more");
  std::string origins;
  bool same = true;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t origin = map.origins[static_cast<std::size_t>(i)];
    origins += (origins.empty() ? "" : ", ") + std::to_string(origin);
    same = same && origin == i;
  }
  if (!same)
    notes.push_back("DeepStack adds image features behind the first " + std::to_string(count) +
                    " layers of the text model: now layers " + origins + " of the source; '" + kDeepStack +
                    "' counts layers of the vision tower and stays");
}

}  // namespace

std::vector<std::string> renumber_layer_taps(Json& config, const LayerMap& map) {
  std::vector<std::string> notes;
  move_taps(config, map, notes);
  check_deepstack(config, map, notes);
  return notes;
}

}  // namespace streamline
