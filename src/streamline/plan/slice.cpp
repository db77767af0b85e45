// SPDX-License-Identifier: Apache-2.0
#include "streamline/plan/slice.h"

#include <algorithm>
#include <initializer_list>

#include "streamline/base/error.h"
#include "streamline/base/number_text.h"
#include "streamline/plan/drop_halves.h"

namespace streamline {
namespace {

std::string sliced_name(std::int64_t layer) { return "plan: the slice of layer " + std::to_string(layer); }

// A slice's own order and bounds; what only the model can tell is check_slice()'s.
void check_kept(const KeptUnits& units, const std::string& where) {
  if (units.of < 1 || units.of > kMaxDimension)
    fail(ErrorKind::mismatch, where, ": 'of' is ", units.of, "; expected 1 to ", kMaxDimension);
  if (units.kept.empty()) fail(ErrorKind::mismatch, where, " keeps nothing; drop that half of the layer instead");
  std::int64_t next = 0;
  for (const std::int64_t unit : units.kept) {
    if (unit < next || unit >= units.of)
      fail(ErrorKind::mismatch, where, ": ", unit, " is not in ascending order below ", units.of);
    next = unit + 1;
  }
}

const Segment& segment_of(const Plan& plan, std::int64_t layer) {
  const auto found = std::find_if(plan.segments.begin(), plan.segments.end(),
                                  [&](const Segment& segment) { return layer <= segment.last; });
  SL_ASSERT(found != plan.segments.end());
  return *found;
}

void check_half_stays(const Plan& plan, std::int64_t layer, const LayerSlice& slice) {
  const Action action = segment_of(plan, layer).action;
  if (action == Action::drop || action == Action::replace)
    fail(ErrorKind::mismatch, "plan: layer ", layer, " is ", action == Action::drop ? "dropped" : "replaced",
         " and sliced; leave one of the two out");
  if ((action == Action::drop_attention && slice.kv_heads) || (action == Action::drop_mlp && !slice.channels.empty()))
    fail(ErrorKind::mismatch, "plan: the ", slice.kv_heads && action == Action::drop_attention ? "attention" : "MLP",
         " of layer ", layer, " is dropped and sliced; leave one of the two out");
}

Json units_to_json(const KeptUnits& units) { return {{"of", units.of}, {"kept", index_ranges(units.kept)}}; }

void check_members(const Json& json, const std::string& where, std::initializer_list<std::string_view> known) {
  if (!json.is_object()) fail(ErrorKind::format, where, " is not a JSON object");
  for (const auto& [key, value] : json.items())
    if (std::find(known.begin(), known.end(), key) == known.end())
      fail(ErrorKind::format, where, ": unknown key '", key, "'; was it written by a newer version?");
}

std::int64_t needed_integer(const Json& json, const char* key, std::int64_t most, const std::string& where) {
  const std::optional<std::int64_t> value = json_integer(json, key, where);
  if (!value || *value < 0 || *value > most)
    fail(ErrorKind::format, where, ": '", key, "' is missing or not between 0 and ", most);
  return *value;
}

// `kept` is "0..3,7", or a list of integers.
KeptUnits units_from_json(const Json& json, const std::string& where) {
  check_members(json, where, {"of", "kept"});
  KeptUnits units{.of = needed_integer(json, "of", kMaxDimension, where)};
  const auto kept = json.find("kept");
  if (kept != json.end() && kept->is_string()) {
    units.kept = parse_index_ranges(kept->get<std::string>(), units.of, where + ".kept");
  } else if (kept != json.end() && kept->is_array()) {
    for (const Json& unit : *kept) {
      if (!unit.is_number_integer()) fail(ErrorKind::format, where, ".kept: not a list of integers");
      units.kept.push_back(unit.get<std::int64_t>());
    }
  } else {
    fail(ErrorKind::format, where, ": 'kept' is missing; expected indices as \"0..3,7\"");
  }
  return units;
}

LayerSlice slice_from_json(const Json& json, const std::string& where) {
  LayerSlice slice;
  if (const auto heads = json.find("kv_heads"); heads != json.end())
    slice.kv_heads = units_from_json(*heads, where + ".kv_heads");
  const auto channels = json.find("channels");
  if (channels == json.end()) return slice;
  if (!channels->is_array()) {
    slice.channels.push_back(units_from_json(*channels, where + ".channels"));
    return slice;
  }
  for (const Json& expert : *channels) slice.channels.push_back(units_from_json(expert, where + ".channels"));
  if (slice.channels.empty()) fail(ErrorKind::format, where, ": 'channels' is empty");
  return slice;
}

// Without what lies in halves that the plan drops.
LayerSlice of_kept_halves(const Plan& plan, std::int64_t layer, LayerSlice slice) {
  const Action action = segment_of(plan, layer).action;
  if (action == Action::drop || action == Action::drop_attention) slice.kv_heads.reset();
  if (action == Action::drop || action == Action::drop_mlp) slice.channels.clear();
  return slice;
}

}  // namespace

bool keeps_all(const KeptUnits& units) { return units.removed() == 0; }

LayerSlice simplified(LayerSlice slice) {
  if (slice.kv_heads && keeps_all(*slice.kv_heads)) slice.kv_heads.reset();
  if (std::all_of(slice.channels.begin(), slice.channels.end(), keeps_all)) slice.channels.clear();
  return slice;
}

LayerSlice slice_of(const Plan& plan, std::int64_t layer) {
  const auto found = plan.slices.find(layer);
  return found == plan.slices.end() ? LayerSlice{} : found->second;
}

void validate_slices(const Plan& plan) {
  for (const auto& [layer, slice] : plan.slices) {
    if (layer < 0 || layer >= plan.base.layers)
      fail(ErrorKind::mismatch, "plan: layer ", layer, " is sliced; the source has layers 0..", plan.base.layers - 1);
    if (slice.empty()) fail(ErrorKind::mismatch, sliced_name(layer), " says nothing");
    check_half_stays(plan, layer, slice);
    if (slice.kv_heads) check_kept(*slice.kv_heads, sliced_name(layer) + ", kv_heads");
    for (const KeptUnits& units : slice.channels) {
      check_kept(units, sliced_name(layer) + ", channels");
      if (units.of != slice.channels.front().of || units.count() != slice.channels.front().count())
        fail(ErrorKind::mismatch, sliced_name(layer), ": experts of one layer are of one width");
    }
  }
}

void check_slices(const Config& config, const Plan& plan) {
  for (const auto& [layer, slice] : plan.slices)
    check_slice(config.layers.at(static_cast<std::size_t>(layer)), slice, sliced_name(layer));
}

SlicedPlan with_slices(const Config& config, const Plan& plan, const std::map<std::int64_t, LayerSlice>& slices) {
  SlicedPlan result{.plan = plan};
  std::vector<std::int64_t> attention, mlp;
  for (const auto& [layer, given] : slices) {
    LayerSlice slice = of_kept_halves(plan, layer, given);
    const std::string name = std::to_string(layer);
    if (slice.kv_heads && slice.kv_heads->kept.empty()) {
      attention.push_back(layer);
      slice.kv_heads.reset();
      result.notes.push_back("no head of layer " + name + " would be left: its attention is dropped");
    }
    if (!slice.channels.empty() && slice.channels.front().kept.empty()) {
      mlp.push_back(layer);
      slice.channels.clear();
      result.notes.push_back("no channel of layer " + name + " would be left: its MLP is dropped");
    }
    slice = simplified(std::move(slice));
    if (!slice.empty()) result.plan.slices[layer] = std::move(slice);
  }
  if (!attention.empty() || !mlp.empty()) {
    for (std::int64_t layer = 0; layer < plan.base.layers; ++layer) {
      const Action action = segment_of(plan, layer).action;
      if (action == Action::replace)
        fail(ErrorKind::mismatch, "a plan that replaces layers cannot lose halves to a slice");
      if (action == Action::drop || action == Action::drop_attention) attention.push_back(layer);
      if (action == Action::drop || action == Action::drop_mlp) mlp.push_back(layer);
    }
    result.plan.segments = drop_halves(plan.base.layers, attention, mlp).segments;
  }
  validate(result.plan);
  check_slices(config, result.plan);
  return result;
}

std::string slice_summary(const Plan& plan) {
  struct Went {
    std::int64_t units = 0, of = 0, layers = 0;
    void add(const KeptUnits& kept) { units += kept.removed(), of += kept.of; }
    std::string text(const char* what) const {
      return std::to_string(units) + " of " + std::to_string(of) + " " + what + " in " + counted(layers, "layer");
    }
  };
  Went heads, channels;
  for (const auto& [layer, slice] : plan.slices) {
    if (slice.kv_heads) heads.add(*slice.kv_heads), ++heads.layers;
    for (const KeptUnits& units : slice.channels) channels.add(units);
    channels.layers += slice.channels.empty() ? 0 : 1;
  }
  std::string text;
  if (heads.layers > 0) text = heads.text("heads for keys and values");
  if (channels.layers > 0) text += (text.empty() ? "" : " and ") + channels.text("channels");
  return text;
}

Json slices_to_json(const std::map<std::int64_t, LayerSlice>& slices) {
  Json list = Json::array();
  for (const auto& [layer, slice] : slices) {
    Json entry = {{"layer", layer}};
    if (slice.kv_heads) entry["kv_heads"] = units_to_json(*slice.kv_heads);
    if (slice.channels.size() == 1) entry["channels"] = units_to_json(slice.channels.front());
    if (slice.channels.size() > 1)
      for (const KeptUnits& units : slice.channels) entry["channels"].push_back(units_to_json(units));
    list.push_back(std::move(entry));
  }
  return list;
}

std::map<std::int64_t, LayerSlice> slices_from_json(const Json& json, const std::string& where) {
  if (!json.is_array()) fail(ErrorKind::format, where, ": not a list");
  std::map<std::int64_t, LayerSlice> slices;
  for (std::size_t i = 0; i < json.size(); ++i) {
    const std::string at = where + "[" + std::to_string(i) + "]";
    check_members(json[i], at, {"layer", "kv_heads", "channels"});
    const std::int64_t layer = needed_integer(json[i], "layer", kMaxLayers, at);
    if (!slices.emplace(layer, slice_from_json(json[i], at)).second)
      fail(ErrorKind::format, at, ": layer ", layer, " is sliced twice");
  }
  return slices;
}

}  // namespace streamline
