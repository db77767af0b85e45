// SPDX-License-Identifier: Apache-2.0
// The sections made of tables: the models side by side, the stages of the run, and where everything came from.
#include <algorithm>

#include "streamline/base/number_text.h"
#include "streamline/base/perplexity_text.h"
#include "streamline/base/resources.h"
#include "streamline/report/fields.h"
#include "streamline/report/html.h"
#include "streamline/report/sections.h"

namespace streamline::report {
namespace {

const std::string kNothing = "–";

std::string small(const std::string& markup) { return element("small", "", markup); }

// A number of a model with its change from the source below it.
std::string compared(const Json& model, const Json& source, const char* pointer, std::string (*format)(double)) {
  const auto value = number(model, pointer), before = number(source, pointer);
  if (!value) return kNothing;
  return format(*value) +
         (is_first_model(model) || !before || *before <= 0 ? "" : small(percent_change(*before, *value)));
}

double largest(const std::vector<Json>& entries, const char* pointer) {
  double most = 0;
  for (const Json& entry : entries) most = std::max(most, number(entry, pointer).value_or(0));
  return most;
}

std::string perplexity_cell(const Json& model, double most) {
  const auto value = number(model, "/perplexity/value");
  if (!value) return kNothing;
  return perplexity_text(*find(model, "/perplexity")).value_or(kNothing) + bar(*value / most, !is_first_model(model));
}

std::string bits_cell(const Json& model) {
  const auto bits = number(model, "/perplexity/bits_per_byte");
  return bits ? fixed(*bits, 3) : kNothing;
}

// One entry of a description list; nothing when the text is empty.
void add_fact(std::string& list, const char* name, const std::string& markup) {
  if (!markup.empty()) list += element("dt", "", name) + element("dd", "", markup) + "\n";
}

std::string code(const std::optional<std::string>& value) {
  return value && !value->empty() ? element("code", "", escaped(*value)) : "";
}

// "3 sequences", "" when absent.
std::string count_of(const Json& json, std::string_view pointer, const char* unit) {
  const auto count = integer(json, pointer);
  return count ? grouped(*count) + " " + plural(*count, unit) : "";
}

std::string joined(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& part : parts)
    if (!part.empty()) out += (out.empty() ? "" : " · ") + part;
  return out;
}

std::string command_line(const Json& report) {
  std::string line;
  for (const Json& word : elements(report, "/run/command")) {
    if (!word.is_string()) continue;
    const std::string plain = word.get<std::string>();
    const bool quoted = plain.empty() || plain.find_first_of(" \t\n\"'$&|;<>()*?#") != std::string::npos;
    line += (line.empty() ? "" : " ") + (quoted ? "'" + plain + "'" : plain);
  }
  return line;
}

std::string machine(const Json& report) {
  return joined({count_of(report, "/run/threads", "thread"), escaped(text(report, "/run/device").value_or("")),
                 escaped(text(report, "/run/dtype").value_or(""))});
}

// Of "calibration" or "training".
std::string text_read(const Json& read) {
  std::string shape = count_of(read, "/sequences", "sequence");
  if (const auto length = integer(read, "/seq_len"))
    shape += (shape.empty() ? "sequences of " : " × ") + grouped(*length) + " tokens";
  return joined({code(text(read, "/source")), shape, count_of(read, "/tokens", "token"),
                 count_of(read, "/documents", "document")});
}

void add_text(std::string& list, const Json& report, const char* pointer, const std::string& name) {
  const Json* read = find(report, pointer);
  if (read == nullptr) return;
  add_fact(list, name.c_str(), text_read(*read));
  add_fact(list, (name + " digest").c_str(), code(text(*read, "/digest")));
}

std::string output(const Json& report) {
  std::string kind, notes;
  if (flag(report, "/output/ordinary"))
    kind = "an ordinary checkpoint";
  else if (const auto format = text(report, "/output/format"))
    kind = "in the format " + escaped(*format);
  for (const Json& note : elements(report, "/output/notes"))
    if (note.is_string()) notes += "<br>" + escaped(note.get<std::string>());
  return joined({code(text(report, "/output/path")), kind}) + notes;
}

}  // namespace

std::string models_section(const Json& report) {
  const std::vector<Json> models = elements(report, "/models");
  if (models.empty()) return "";
  const Json source = first_model(report);
  const double most = largest(models, "/perplexity/value");
  std::vector<std::vector<std::string>> rows = {
      {"Model", "Perplexity", "Bits per byte", "Layers", "Parameters", "Size", "Prefill tokens/s", "Decode tokens/s"}};
  for (const Json& model : models) {
    const auto layers = integer(model, "/layers");
    rows.push_back({escaped(text(model, "/name").value_or("?")), perplexity_cell(model, most), bits_cell(model),
                    layers ? std::to_string(*layers) : kNothing, compared(model, source, "/parameters", format_count),
                    compared(model, source, "/bytes", bytes_text),
                    compared(model, source, "/prefill_tokens_per_second", rate_text),
                    compared(model, source, "/decode_tokens_per_second", rate_text)});
  }
  rows = without_empty_columns(rows, kNothing);
  const std::vector<std::string> heading = rows.front();
  rows.erase(rows.begin());
  const std::string note = escaped(measured_on(report));
  return section("The models side by side", "",
                 html_table(heading, rows, "The models side by side") +
                     (note.empty() ? "" : element("p", "class=\"note\"", note)));
}

std::string estimates_section(const Json& report) {
  const std::vector<Json> units = elements(report, "/choice/estimates/units");
  if (units.empty()) return "";
  const double most = std::max(largest(units, "/value"), 1e-300);
  std::vector<std::vector<std::string>> rows;
  for (const Json& unit : units) {
    const auto value = number(unit, "/value"), error = number(unit, "/standard_error");
    if (!value) continue;
    rows.push_back({escaped(text(unit, "/unit").value_or("?")),
                    significant(*value, 4) + (error ? " ± " + significant(*error, 2) : std::string()) +
                        bar(std::clamp(*value / most, 0.0, 1.0))});
  }
  const std::string measure = escaped(text(report, "/choice/estimates/measure").value_or("the measure"));
  return section("What each part is worth",
                 "By how much leaving the part out changes the measure (" + measure +
                     "), ± one standard error; parts that differ by less may well be equal. L: a layer, A: the "
                     "attention of a layer, M: its MLP.",
                 html_table({"Part", "Cost of leaving it out"}, rows, "What each part is worth"));
}

std::string stages_section(const Json& report) {
  const std::vector<Json> stages = elements(report, "/stages");
  if (stages.empty()) return "";
  const double slowest = largest(stages, "/seconds"), fattest = largest(stages, "/peak_memory");
  double total = 0;
  std::vector<std::vector<std::string>> rows;
  for (const Json& stage : stages) {
    const auto seconds = number(stage, "/seconds"), memory = number(stage, "/peak_memory");
    total += seconds.value_or(0);
    rows.push_back({escaped(text(stage, "/name").value_or("?")),
                    seconds ? format_seconds(*seconds) + bar(*seconds / std::max(slowest, 1e-9)) : kNothing,
                    memory ? bytes_text(*memory) + bar(*memory / std::max(fattest, 1e-9)) : kNothing});
  }
  rows.push_back({"all", format_seconds(total), fattest > 0 ? bytes_text(fattest) : kNothing});
  return section("What it took", "Time and peak memory of each stage.",
                 html_table({"Stage", "Time", "Peak memory"}, rows, "Time and memory of each stage"));
}

std::string provenance_section(const Json& report) {
  std::string list;
  add_fact(list, "Source",
           joined({code(text(report, "/source/path")), escaped(text(report, "/source/family").value_or("")),
                   count_of(report, "/source/parameters", "parameter")}));
  add_fact(list, "Source digest", code(text(report, "/source/digest")));
  add_text(list, report, "/calibration", "Calibration");
  add_text(list, report, "/looked_at", "Methods looked at");
  add_text(list, report, "/training", "Training text");
  add_fact(list, "Output", output(report));
  add_fact(list, "Seed", find(report, "/run/seed") == nullptr ? "" : escaped(find(report, "/run/seed")->dump()));
  add_fact(list, "Computed with", machine(report));
  add_fact(list, "Program", text(report, "/run/version") ? "streamline " + escaped(*text(report, "/run/version")) : "");
  add_fact(list, "Date", escaped(text(report, "/run/date").value_or("")));
  const std::string command = command_line(report);
  if (list.empty() && command.empty()) return "";
  return section(
      "How to get this again", "The command, and what it read.",
      (command.empty() ? "" : element("pre", "", element("code", "", escaped(command)))) + element("dl", "", list));
}

}  // namespace streamline::report
