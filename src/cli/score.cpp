// SPDX-License-Identifier: Apache-2.0
// `streamline score`: one sweep over calibration text, every window of every length.
#include <algorithm>
#include <memory>

#include "command.h"
#include "options.h"
#include "rank_group.h"
#include "shipped_text.h"
#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/base/log.h"
#include "streamline/base/number_text.h"
#include "streamline/base/resources.h"
#include "streamline/prune/scores.h"
#include "streamline/report/report.h"

namespace streamline::cli::score_command {
namespace {

struct Options {
  CommonOptions common;
  std::string model, out;
  DataOptions data;
  std::int64_t cut = 1, best = 5;
  bool overwrite = false;
};

constexpr const char* kMassive = "massive activations in";

std::string window_name(const Window& window) {
  const std::string first = std::to_string(window.start);
  return window.count == 1 ? first : first + ".." + std::to_string(window.start + window.count - 1);
}

// "11": those of a window whose massive activations the model needs; "-" of most.
std::string massive_layers_in(const Scores& scores, const Window& window) {
  std::string layers;
  for (const std::int64_t layer : massive_activation_layers(scores))
    if (layer >= window.start && layer < window.start + window.count)
      layers += (layers.empty() ? "" : ", ") + std::to_string(layer);
  return layers.empty() ? "-" : layers;
}

std::string best_windows(const Scores& scores, std::int64_t count, std::int64_t shown) {
  const std::vector<Window> windows = ranked_windows(scores, count, {});
  std::vector<std::vector<std::string>> rows = {{"layers", "cosine", "behind the best", kMassive}};
  for (std::size_t i = 0; i < windows.size() && i < static_cast<std::size_t>(shown); ++i)
    rows.push_back({window_name(windows[i]), fixed(windows[i].cosine, 6),
                    fixed(windows[0].cosine - windows[i].cosine, 6), massive_layers_in(scores, windows[i])});
  return "Best windows of " + counted(count, "layer") + " (cosine of the hidden states before and after)\n" +
         format_table(rows);
}

std::string best_of_each_length(const Scores& scores) {
  std::vector<std::vector<std::string>> rows = {{"length", "layers", "cosine", "margin to the next", kMassive}};
  for (std::int64_t count = 1; count <= std::max<std::int64_t>(1, scores.layers / 2); ++count) {
    const std::vector<Window> windows = ranked_windows(scores, count, {});
    rows.push_back({std::to_string(count), window_name(windows[0]), fixed(windows[0].cosine, 6),
                    windows.size() > 1 ? fixed(windows[0].cosine - windows[1].cosine, 6) : "-",
                    massive_layers_in(scores, windows[0])});
  }
  return "Best window of each length, up to half of the layers (--json has all)\n" + format_table(rows);
}

void warn_of_massive_activations(const Scores& scores) {
  for (const std::int64_t layer : massive_activation_layers(scores))
    log_warning("layer " + std::to_string(layer) +
                " makes massive activations (an attention sink); a window that takes it ruins the model whatever its "
                "cosine says");
}

Output run(const Options& options) {
  if (ranks().first()) check_output(options.out, options.overwrite);
  const Placement placement = start(options.common);
  const OpenedModel opened = open_model(options.model, placement);
  if (const std::int64_t layers = opened.model.layer_count(); options.cut < 1 || options.cut > layers)
    fail(ErrorKind::usage, "--cut ", options.cut, ": the model has ", layers, " layers, give 1 to ", layers);
  tell_of_shipped_text(options.data);
  TokenBatches calibration = load_calibration(opened, options.data, options.common.seed);
  const Stopwatch watch;
  Scores scores;
  naming_bad_tensors(opened.model, [&] {
    scores = score_layers(opened.model, calibration, {.batch_tokens = 0, .label = "scoring", .beyond_positions = true});
  });
  const double seconds = watch.seconds();

  Json result = {{"run", computing_record(placement, options.common.seed)},
                 {"model",
                  {{"path", options.model},
                   {"family", opened.model.config().family->name},
                   {"digest", opened.model.checkpoint().digest()}}},
                 {"calibration", text_record(calibration)},
                 {"seconds", seconds},
                 {"peak_memory", peak_resident_memory()}};
  result.update(to_json(scores));
  if (!options.out.empty() && ranks().first()) write_text(options.out, dump_json(result));
  warn_of_massive_activations(scores);
  log_info(std::to_string(scores.tokens) + " tokens in " + format_seconds(seconds) + " (" +
           format_count(static_cast<double>(scores.tokens) / seconds) + " tokens/s)");
  return {std::move(result), best_windows(scores, options.cut, options.best) + "\n" + best_of_each_length(scores)};
}

std::function<Output()> declare(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  add_model(arguments, options->model);
  add_data_options(arguments, options->data, DataNeed::choosing);
  arguments.add("--cut", options->cut, "show the best windows of this many layers");
  arguments.add("--best", options->best, "how many of them", {.limits = kPositive});
  arguments.add("--out", options->out, "also write everything as JSON to this file");
  arguments.flag("--overwrite", options->overwrite, "replace an existing --out");
  add_sweep_options(arguments, options->common);
  return [options] {
    take_shipped_text(options->data);
    return run(*options);
  };
}

}  // namespace

const Command& command() {
  static const Command declared{"score", "how little each run of layers changes the hidden states",
                                "  streamline score models/books-5m --data models/text/calibration.jsonl --cut 4\n"
                                "  streamline score MODEL\n"
                                "  streamline score MODEL --data FILE --seq-len 512 --samples 32 --json\n"
                                "  torchrun --no-python --nproc-per-node 2 streamline score MODEL --data FILE\n",
                                declare, true};
  return declared;
}

}  // namespace streamline::cli::score_command
