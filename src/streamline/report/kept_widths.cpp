// SPDX-License-Identifier: Apache-2.0
#include "streamline/report/kept_widths.h"

#include "streamline/report/fields.h"
#include "streamline/report/html.h"

namespace streamline::report {
namespace {

std::optional<KeptShare> kept_share(const Json& slice, const std::string& pointer) {
  const auto kept = integer(slice, pointer + "/kept"), of = integer(slice, pointer + "/of");
  if (!kept || !of || *kept < 0 || *of < 1 || *kept > *of) return std::nullopt;
  return KeptShare{*kept, *of};
}

// Of one kind in all layers that lose some.
struct KeptOfAll {
  KeptShare units = {};
  std::int64_t layers = 0;

  void add(const std::optional<KeptShare>& one) {
    if (!one) return;
    units.kept += one->kept;
    units.of += one->of;
    ++layers;
  }
};

std::string units_cell(const std::optional<KeptShare>& units) {
  return units ? units->words() + bar(units->share()) : "all" + bar(1);
}

}  // namespace

std::string KeptShare::words() const { return std::to_string(kept) + " of " + std::to_string(of); }

std::map<std::int64_t, KeptWidths> kept_widths(const Json& report) {
  std::map<std::int64_t, KeptWidths> layers;
  for (const Json& slice : elements(report, "/choice/slices")) {
    const auto layer = integer(slice, "/layer");
    const KeptWidths widths{kept_share(slice, "/kv_heads"), kept_share(slice, "/channels")};
    if (layer && (widths.heads || widths.channels)) layers[*layer] = widths;
  }
  return layers;
}

std::string kept_summary(const Json& report) {
  KeptOfAll heads, channels;
  for (const auto& [layer, widths] : kept_widths(report)) heads.add(widths.heads), channels.add(widths.channels);
  const auto in_layers = [](std::int64_t layers) { return " in " + counted(layers, "layer"); };
  std::string text;
  if (heads.layers > 0) text = heads.units.words() + " heads for keys and values";
  if (heads.layers > 0 && heads.layers != channels.layers) text += in_layers(heads.layers);
  if (channels.layers == 0) return text;
  return text + (text.empty() ? "" : " and ") + channels.units.words() + " channels" + in_layers(channels.layers);
}

std::string kept_table(const Json& report) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& [layer, widths] : kept_widths(report))
    rows.push_back({std::to_string(layer), units_cell(widths.heads), units_cell(widths.channels)});
  return rows.empty()
             ? ""
             : html_table({"Layer", "Heads for keys and values", "Channels"}, rows, "What stays of each layer");
}

}  // namespace streamline::report
