// SPDX-License-Identifier: Apache-2.0
// The picture of the source's layers: which went, which lost a half or got narrower, and what was trained.
#include <algorithm>
#include <map>

#include "streamline/report/fields.h"
#include "streamline/report/html.h"
#include "streamline/report/kept_widths.h"
#include "streamline/report/sections.h"

namespace streamline::report {
namespace {

std::string cell(const std::string& kind, bool massive, const std::string& title, const std::string& inside = "") {
  return element("span", "class=\"cell" + kind + (massive ? " massive" : "") + "\" title=\"" + title + "\"", inside);
}

// A layer that stays, narrower: filled as far as its heads (above) and channels (below) are kept. `half`: went.
std::string narrow_cell(std::int64_t layer, const KeptWidths& widths, const std::string& half, bool massive) {
  const auto part = [](double share) { return element("i", "style=\"--kept:" + fixed(100 * share, 1) + "%\"", ""); };
  std::string title = "layer " + std::to_string(layer) + (half.empty() ? "" : ", without " + escaped(half));
  if (widths.heads) title += ", " + widths.heads->words() + " heads for keys and values";
  if (widths.channels) title += ", " + widths.channels->words() + " channels";
  return cell(" part", massive, title,
              part(half == "attention" ? 0
                   : widths.heads      ? widths.heads->share()
                                       : 1) +
                  part(half == "MLP"     ? 0
                       : widths.channels ? widths.channels->share()
                                         : 1));
}

// How a layer without one half is drawn: the attention, which comes first in it, above.
std::string half_class(const std::string& half) { return half == "attention" ? "half upper" : "half"; }

std::string strip_legend(const Json& report) {
  std::string legend = "<li><i></i>kept</li>";
  if (!kept_widths(report).empty())
    legend += "<li><i class=\"went\"></i>gone</li><li>above: heads for keys and values, below: channels</li>";
  if (const std::string removed = layer_ranges(whole_cuts(report)); !removed.empty())
    legend += "<li><i class=\"gone\"></i>removed: " + removed + "</li>";
  for (const std::string half : {"attention", "MLP"}) {
    std::vector<ChosenWindow> without = cut_runs(report);
    std::erase_if(without, [&](const ChosenWindow& run) { return run.half != half; });
    if (!without.empty())
      legend +=
          "<li><i class=\"" + half_class(half) + "\"></i>without " + half + ": " + layer_ranges(without) + "</li>";
  }
  if (const std::string by = replacement(report); !by.empty())
    legend += "<li><i class=\"new\"></i>trained in their place: " + escaped(by) + "</li>";
  for (const std::int64_t layer : massive_layers(report))
    legend += "<li><i class=\"triangle\"></i>layer " + std::to_string(layer) + " makes massive activations</li>";
  return element("ul", "class=\"legend\"", legend);
}

}  // namespace

std::string layer_strip(const Json& report) {
  const std::vector<ChosenWindow> runs = cut_runs(report);
  const std::map<std::int64_t, KeptWidths> narrow = kept_widths(report);
  const std::int64_t layers = source_layers(report);
  if (layers < 1 || (runs.empty() && narrow.empty())) return "";
  const std::vector<std::int64_t> massive = massive_layers(report);
  const std::string by = replacement(report);
  std::string cells;
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    const auto inside = [&](const ChosenWindow& run) { return layer >= run.start && layer < run.start + run.cut; };
    const auto run = std::ranges::find_if(runs, inside);
    const bool kept = run == runs.end(), gone = !kept && run->half.empty();
    const bool begins = std::any_of(runs.begin(), runs.end(), [&](const auto& run) { return run.start == layer; });
    if (begins && !by.empty()) cells += cell(" new", false, "trained replacement: " + escaped(by));
    if (const auto widths = narrow.find(layer); widths != narrow.end() && !gone) {
      cells += narrow_cell(layer, widths->second, kept ? "" : run->half, contains_massive(massive, layer, 1));
      continue;
    }
    cells += cell(kept   ? std::string()
                  : gone ? " gone"
                         : " " + half_class(run->half),
                  contains_massive(massive, layer, 1),
                  "layer " + std::to_string(layer) +
                      (kept   ? ", kept"
                       : gone ? ", removed"
                              : ", without " + escaped(run->half)));
  }
  const std::string table =
      narrow.empty()
          ? ""
          : element("details", "", element("summary", "", "What stays of each layer, as a table") + kept_table(report));
  return element("div", "class=\"strip\"",
                 element("div",
                         std::string("class=\"cells") + (narrow.empty() ? "" : " parts") +
                             "\" role=\"img\" aria-label=\"" + escaped(deed(report)) + "\"",
                         cells) +
                     element("div", "class=\"ruler\" aria-hidden=\"true\"",
                             "<span>layer 0</span><span>layer " + std::to_string(layers - 1) + "</span>") +
                     strip_legend(report) + table) +
         "\n";
}

}  // namespace streamline::report
