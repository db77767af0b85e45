// SPDX-License-Identifier: Apache-2.0
// `streamline spectra`: how heavy the tails of a model's matrices are, and how much of each layer that says may go.
#include <memory>

#include "allocation_file.h"
#include "command.h"
#include "options.h"
#include "streamline/base/file.h"
#include "streamline/base/log.h"
#include "streamline/base/number_text.h"
#include "streamline/base/resources.h"
#include "streamline/report/report.h"

namespace streamline::cli::spectra_command {
namespace {

struct Options {
  CommonOptions common;
  SpreadOptions spread;
  std::string model, out, html;
  bool overwrite = false;
};

std::string as_text(const Json& record) {
  std::vector<std::vector<std::string>> rows = {{"layer", "mean alpha", "lowest", "highest", "share that goes"}};
  for (const Json& layer : record["layers"]) {
    double low = std::numeric_limits<double>::infinity(), high = 0;
    for (const Json& matrix : record["matrices"])
      if (matrix["layer"] == layer["layer"]) {
        low = std::min(low, matrix["alpha"].get<double>());
        high = std::max(high, matrix["alpha"].get<double>());
      }
    rows.push_back({layer["layer"].dump(), fixed(layer["alpha"].get<double>(), 3), fixed(low, 3), fixed(high, 3),
                    fixed(layer["ratio"].get<double>(), 4)});
  }
  std::string text = format_table(rows) + "All together lose " + fixed(record["ratio"].get<double>(), 4) +
                     " at a spread of " + fixed(record["spread"].get<double>(), 3);
  if (!record["largest_spread"].is_null())
    text += "; up to " + fixed(record["largest_spread"].get<double>(), 3) + " no layer would lose more than the cap";
  return text + ".\n";
}

Output run(const Options& options) {
  for (const std::string& file : {options.out, options.html}) check_output(file, options.overwrite);
  check_spread(options.spread);
  const Placement placement = start(options.common);
  const Model model = Model::open(open_checkpoint(options.model), placement);
  const Stopwatch watch;
  Json record = spectra_record(model, options.spread, options.common.seed);
  record["run"] = computing_record(placement, options.common.seed);
  record["model"] = {{"path", options.model}, {"family", model.config().family->name}};
  record["seconds"] = watch.seconds();
  if (!options.out.empty()) write_text(options.out, dump_json(record));
  if (!options.html.empty()) write_text(options.html, spectra_html(record));
  std::string text = as_text(record);
  const LayerExponents exponents = exponents_of(record);
  if (const std::string doubt = doubt_about_exponents(exponents.values, exponents.errors); !doubt.empty())
    log_warning(doubt + "; compare with equal shares");
  return {std::move(record), std::move(text)};
}

std::function<Output()> declare(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  SpreadOptions& spread = options->spread;
  add_model(arguments, options->model);
  arguments.add("--tail", spread.tail,
                "where the tail of a spectrum begins: near the peak of its density, there by the released code's rule, "
                "or at the median",
                {.choices = {"peak", "peak-released", "middle"}});
  arguments.add("--largest-side", spread.largest_side,
                "matrices whose smaller side is longer are represented by random rows and columns",
                {.limits = kPositive});
  arguments.add("--ratio", spread.ratio, "share of the weights of all layers that goes", {.limits = Limits{0, 1}});
  arguments.add("--spread", spread.spread, "how far layers may differ: raw ratios lie in 1 ± this (tau)",
                {.limits = Limits{0, 1}});
  arguments.add("--cap", spread.cap, "the most that a layer may lose", {.limits = Limits{0, 1}});
  arguments.flag("--clip", spread.clip,
                 "layers above the cap stand at it and the others lose more, instead of an error");
  arguments.add("--out", options->out, "also write everything as JSON to this file, for sparsify --allocation");
  arguments.add("--html", options->html, "also draw it as a page");
  arguments.flag("--overwrite", options->overwrite, "replace existing files");
  add_compute_options(arguments, options->common);
  return [options] { return run(*options); };
}

}  // namespace

const Command& command() {
  static const Command declared{"spectra",
                                "how heavy the tails of the matrices' spectra are, and what that says may go",
                                "  streamline spectra MODEL --ratio 0.5 --spread 0.2\n"
                                "  streamline spectra MODEL --out spectra.json --html spectra.html\n",
                                declare};
  return declared;
}

}  // namespace streamline::cli::spectra_command
