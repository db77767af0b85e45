// SPDX-License-Identifier: Apache-2.0
// Reading report.json where any part may be missing, and writing its numbers for people.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "streamline/base/json.h"
#include "streamline/base/number_text.h"

namespace streamline::report {

// The value at a JSON pointer ("/choice/cut"); nullptr when it is absent, null or of another type than asked for.
const Json* find(const Json& json, std::string_view pointer);
std::optional<double> number(const Json& json, std::string_view pointer);
std::optional<std::int64_t> integer(const Json& json, std::string_view pointer);
std::optional<std::string> text(const Json& json, std::string_view pointer);
bool flag(const Json& json, std::string_view pointer);
// The elements of an array; empty when there is none.
std::vector<Json> elements(const Json& json, std::string_view pointer);

std::string grouped(std::int64_t value);  // 32,704
// "58.71 ± 1.97" of {"value": …, "standard_error": …} at the pointer, both times `factor`; nothing without a value.
std::optional<std::string> with_error(const Json& json, const std::string& pointer, int digits, double factor = 1);
// "Perplexity ± one standard error, on valid.txt: 32704 tokens scored in windows of 512, stride 512, without BOS.";
// empty where nothing says so.
std::string measured_on(const Json& report);
std::string bytes_text(double bytes);                             // "1.2 GB"
std::string rate_text(double rate);                               // three digits
std::string percent_change(double from, double to);               // "−15.8 %"
std::string layer_range(std::int64_t first, std::int64_t count);  // "13..18", "14"

// The window that was chosen, when the report has one.
struct ChosenWindow {
  std::int64_t start = 0, cut = 0, layers = 0;
  std::string half = {};  // "attention" or "MLP" where only that one went
};
std::optional<ChosenWindow> chosen_window(const Json& report);

// All that was cut, in order of depth: the chosen window, or the several that a run may choose.
std::vector<ChosenWindow> cut_runs(const Json& report);
std::vector<ChosenWindow> whole_cuts(const Json& report);         // those of whole layers
std::string layer_ranges(const std::vector<ChosenWindow>& runs);  // "5..6 and 8..9"
std::string named_layers(const std::vector<ChosenWindow>& runs);  // "layers 5..6 and 8..9", "layer 5"; empty of none
std::string cut_ranges(const Json& report);                       // of all that was cut

// Layers of the source model; 0 when unknown.
std::int64_t source_layers(const Json& report);
std::vector<std::int64_t> massive_layers(const Json& report);
// Whether one of the layers start … start+count-1 makes massive activations.
bool contains_massive(const std::vector<std::int64_t>& massive, std::int64_t start, std::int64_t count);

// The entry of "models" with this name; null Json when there is none.
Json model_entry(const Json& report, std::string_view name);
// What the others are held against: "source", or of heal "before".
bool is_first_model(const Json& model);
Json first_model(const Json& report);
// What the run produced: the healed model, else the sparse or the cut one.
Json final_model(const Json& report);
// Whether the run chose what to cut; one that heals or sets weights to zero leaves the layers and sizes as they are.
bool cuts(const Json& report);

// A table without the columns, the first one excepted, of which no row below the heading says more than `nothing`.
std::vector<std::vector<std::string>> without_empty_columns(const std::vector<std::vector<std::string>>& rows,
                                                            std::string_view nothing);

}  // namespace streamline::report
