// SPDX-License-Identifier: Apache-2.0
#include "streamline/report/chip_page.h"

#include <algorithm>

#include "streamline/base/version.h"
#include "streamline/report/fields.h"
#include "streamline/report/html.h"
#include "streamline/report/page.h"
#include "streamline/report/sections.h"

namespace streamline {
namespace {

using report::element, report::elements, report::escaped, report::integer, report::number, report::text;

std::string accuracy_cell(const Json& chip, const std::string& part) {
  const auto accuracy = number(chip, part + "/accuracy"), low = number(chip, part + "/low"),
             high = number(chip, part + "/high");
  if (!accuracy || !low || !high) return "–";
  return fixed(100 * *accuracy, 1) + element("small", "", " " + fixed(100 * *low, 1) + "–" + fixed(100 * *high, 1));
}

std::string figure_cell(const Json& chip, const char* pointer) {
  const auto value = number(chip, pointer);
  return value ? fixed(*value, 3) : "–";
}

constexpr const char* kMostFrequent = "/most_frequent/validation/accuracy";

std::string always(const Json& task) {
  return "always “" + escaped(text(task, "/most_frequent/class").value_or("?")) + "”";
}

bool is_chosen(const Json& task, std::size_t chip) {
  return integer(task, "/choice/chip") == static_cast<std::int64_t>(chip);
}

// Points of the chart; an MLP's stand a little to the right of the linear chip's.
Json chip_points(const Json& task, double& least) {
  Json points = Json::array();
  const std::vector<Json> chips = elements(task, "/chips");
  for (std::size_t i = 0; i < chips.size(); ++i) {
    const auto layer = integer(chips[i], "/layer");
    const auto accuracy = number(chips[i], "/validation/accuracy"), low = number(chips[i], "/validation/low"),
               high = number(chips[i], "/validation/high");
    if (!layer || !accuracy || !low || !high) continue;
    const std::string kind = text(chips[i], "/kind").value_or("");
    least = std::min(least, *low);
    points.push_back({{"layer", *layer},
                      {"kind", kind},
                      {"shift", kind == "mlp" ? 0.25 : 0.0},
                      {"accuracy", *accuracy},
                      {"low", *low},
                      {"high", *high},
                      {"chosen", is_chosen(task, i)},
                      {"tip",
                       {{"title", kind + " chip behind layer " + std::to_string(*layer)},
                        {"accuracy", fixed(100 * *accuracy, 1) + " %"},
                        {"95 %", fixed(100 * *low, 1) + " … " + fixed(100 * *high, 1) + " %"}}}});
  }
  return points;
}

Json chips_chart(const Json& record, const Json& task) {
  const std::size_t classes = elements(task, "/classes").size();
  double least = 1;
  Json points = chip_points(task, least);
  if (points.empty() || classes == 0) return nullptr;
  const double chance = number(task, kMostFrequent).value_or(1 / static_cast<double>(classes));
  return {{"data", {{"chips", std::move(points)}}},
          {"signals",
           {{"layers", integer(record, "/trunk/layers").value_or(1)},
            {"floor", std::max(0.0, std::min(least, chance) - 0.02)},
            {"chance", chance}}}};
}

std::string chips_markup(const Json& task) {
  std::vector<std::vector<std::string>> rows;
  std::vector<bool> chosen;
  const std::vector<Json> chips = elements(task, "/chips");
  for (std::size_t i = 0; i < chips.size(); ++i) {
    const auto layer = integer(chips[i], "/layer");
    rows.push_back({layer ? std::to_string(*layer) : "?", escaped(text(chips[i], "/kind").value_or("?")),
                    accuracy_cell(chips[i], "/train"), accuracy_cell(chips[i], "/validation"),
                    accuracy_cell(chips[i], "/test"), figure_cell(chips[i], "/validation/loss"),
                    figure_cell(chips[i], "/validation/margin")});
    chosen.push_back(is_chosen(task, i));
  }
  if (rows.empty()) return "";
  if (number(task, kMostFrequent)) {
    const auto share = [&](const char* part) {
      const auto accuracy = number(task, std::string("/most_frequent/") + part + "/accuracy");
      return accuracy ? fixed(100 * *accuracy, 1) : std::string("–");
    };
    rows.push_back({"–", always(task), share("train"), share("validation"), share("test"), "–", "–"});
    chosen.push_back(false);
  }
  return report::html_table({"Layer", "Chip", "Training, %", "Validation, %", "Test, %", "Loss", "Margin"}, rows,
                            "Accuracy by layer", chosen);
}

std::string chip_section(const Json& record, const Json& task, const std::string& chart, bool drawn) {
  std::string introduction =
      "Each chip is trained on training texts and chosen by validation texts; the small numbers "
      "are Wilson's 95 % interval. Of the validation texts the loss is the mean cross-entropy, in nats, and the margin "
      "the mean probability of the right class less the next best's. The dashed line is ";
  introduction += number(task, kMostFrequent) ? always(task) + ", the most frequent class: a chip must do better."
                                              : std::string("chance.");
  if (const auto layer = integer(task, "/choice/layer"))
    introduction += " Chosen (" + escaped(text(task, "/choice/rule").value_or("")) + "): behind layer " +
                    std::to_string(*layer) + ", which keeps " + std::to_string(*layer + 1) + " of " +
                    std::to_string(integer(record, "/trunk/layers").value_or(0)) + " layers.";
  std::string markup;
  if (drawn)
    markup = element(
        "figure", "",
        element("div",
                "class=\"chart\" data-chart=\"" + chart + "\" role=\"img\" aria-label=\"Accuracy of chips by layer\"",
                ""));
  return report::section(escaped(text(task, "/task").value_or("?")), introduction, markup + chips_markup(task));
}

}  // namespace

std::string chips_html(const Json& record) {
  Json charts = Json::object();
  std::string sections;
  const std::vector<Json> tasks = elements(record, "/tasks");
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    const std::string name = "chips-" + std::to_string(i);
    Json chart = chips_chart(record, tasks[i]);
    const bool drawn = !chart.is_null();
    if (drawn) charts[name] = std::move(chart);
    sections += chip_section(record, tasks[i], name, drawn);
  }
  const std::string model = text(record, "/trunk/model").value_or("a model");
  const std::string body =
      element("header", "", element("h1", "", "Chips on " + escaped(model.substr(model.find_last_of('/') + 1)))) +
      "\n<main>\n" + sections + report::provenance_section(record) + "</main>\n" +
      element("footer", "",
              "Made by streamline " + escaped(program_version()) + ". This page is self-contained: it loads nothing.");
  return report::page_html("streamline chips", body, charts);
}

}  // namespace streamline
