// SPDX-License-Identifier: Apache-2.0
// LLM-Streamline (Chen et al., "Streamlining Redundant Layers to Compress Large Language Models", arXiv 2403.19135):
// cut the one run of layers across which the hidden state turns least, and train a small network in its place.
#include <algorithm>
#include <cmath>

#include "streamline/base/error.h"
#include "streamline/prune/cut_size.h"
#include "streamline/prune/disjoint_windows.h"
#include "streamline/prune/method.h"

namespace streamline {
namespace {

// What was asked for, checked against the model as far as it can be without scores.
struct Request {
  std::optional<std::int64_t> count = {};  // layers to cut; empty: from `sparsity`
  double sparsity = 0;
  std::optional<std::int64_t> start = {};
  std::vector<std::int64_t> protect = {};
  std::int64_t layers = 0;   // of the model
  std::int64_t windows = 1;  // that the cut is divided into
  std::int64_t before = 0;   // layers that must stay before each
};

std::string window_text(std::int64_t start, std::int64_t count) {
  return std::to_string(start) + ".." + std::to_string(start + count - 1);
}

template <class Number>
std::optional<Number> optional_value(const Json& params, const char* name) {
  const Json& value = params.at(name);
  return value.is_null() ? std::nullopt : std::optional<Number>(value.get<Number>());
}

// A model of no layers is none: something must stay, or stand in.
std::int64_t most_layers(const PruneContext& context) {
  return context.model.layer_count() - (context.replacement.name == "none" ? 1 : 0);
}

void check_count(std::int64_t count, const PruneContext& context) {
  if (count < 1 || count > most_layers(context)) {
    fail(ErrorKind::usage, "cutting ", count, " of ", context.model.layer_count(), " layers",
         context.replacement.layers > 0 ? " (more than --layers, for what is put back)" : "", ": 1 to ",
         most_layers(context), " can be cut");
  }
}

void check_forced_window(const Request& request, std::int64_t count) {
  const std::int64_t start = *request.start;
  if (start >= 0 && start < request.before)
    fail(ErrorKind::usage, "--start ", start, ": this replacement changes the layer before the window");
  if (start < 0 || start + count > request.layers) {
    fail(ErrorKind::usage, "--start ", start, " with ", count, " layers to cut: the window must lie in layers 0..",
         request.layers - 1);
  }
  for (const std::int64_t layer : request.protect) {
    if (layer >= start && layer < start + count) {
      fail(ErrorKind::usage, "--start ", start, " cuts layers ", window_text(start, count),
           " but --protect keeps layer ", layer);
    }
  }
}

Request read_request(const PruneContext& context, const Json& params) {
  const auto layers = optional_value<std::int64_t>(params, "layers");
  const auto cut = optional_value<std::int64_t>(params, "cut");
  const auto sparsity = optional_value<double>(params, "sparsity");
  const int given = (layers ? 1 : 0) + (cut ? 1 : 0) + (sparsity ? 1 : 0);
  if (given != 1) {
    fail(ErrorKind::usage, "llm-streamline needs exactly one of --layers, --cut and --sparsity; ", given, " are given");
  }
  Request request{.start = optional_value<std::int64_t>(params, "start"),
                  .protect = params.at("protect").get<std::vector<std::int64_t>>(),
                  .layers = context.model.layer_count(),
                  .windows = params.at("windows").get<std::int64_t>(),
                  .before = context.replacement.before};
  if (request.windows > 1 && request.start)
    fail(ErrorKind::usage, "--start names one window; without it --windows ", request.windows, " are chosen");
  for (const std::int64_t layer : request.protect) {
    if (layer < 0 || layer >= request.layers) {
      fail(ErrorKind::usage, "--protect ", layer, ": the model has layers 0..", request.layers - 1);
    }
  }
  if (sparsity) {
    // resolve_params allows the ends of a range; here they are outside. NaN fails too.
    if (!(*sparsity > 0 && *sparsity < 1)) {
      fail(ErrorKind::usage, "--sparsity ", *sparsity, ": must lie between 0 and 1, both excluded");
    }
    request.sparsity = *sparsity;
    if (request.start) check_forced_window(request, 1);
    return request;
  }
  if (layers && *layers < 1) fail(ErrorKind::usage, "--layers ", *layers, ": at least 1");
  request.count = cut ? *cut : *layers + request.windows * context.replacement.layers;
  check_count(*request.count, context);
  if (request.start) check_forced_window(request, *request.count);
  return request;
}

// Parameters of the whole model, embeddings and head included, that are gone after the cut.
std::int64_t parameters_saved(const PruneContext& context, std::int64_t start, std::int64_t count) {
  const Config& config = context.model.config();
  std::int64_t removed = 0;
  for (std::int64_t layer = start; layer < start + count; ++layer) {
    removed += layer_parameters(config, config.layers[static_cast<std::size_t>(layer)]);
  }
  return removed - context.replacement.parameters_at(start);
}

double sparsity_of(const PruneContext& context, std::int64_t start, std::int64_t count) {
  return static_cast<double>(parameters_saved(context, start, count)) / static_cast<double>(context.model.parameters());
}

// The window of `count` layers that would be cut; empty when none may be.
std::optional<std::int64_t> chosen_start(const Scores& scores, const Request& request, std::int64_t count) {
  const auto is_protected = [&](std::int64_t start) {
    return std::any_of(request.protect.begin(), request.protect.end(),
                       [&](std::int64_t layer) { return layer >= start && layer < start + count; });
  };
  if (request.start) {
    const bool possible = *request.start + count <= request.layers && !is_protected(*request.start);
    return possible ? request.start : std::nullopt;
  }
  std::optional<std::int64_t> best;
  for (std::int64_t start = request.before; start + count <= request.layers; ++start) {
    if (is_protected(start)) continue;
    if (!best || scores.window_cosine(start, count) > scores.window_cosine(*best, count)) best = start;
  }
  return best;
}

std::int64_t chosen_count(const PruneContext& context, const Scores& scores, const Request& request) {
  if (request.count) return *request.count;
  return closest_cut(request.sparsity, most_layers(context),
                     [&](std::int64_t count) -> std::optional<double> {
                       const auto start = chosen_start(scores, request, count);
                       return start ? std::optional(sparsity_of(context, *start, count)) : std::nullopt;
                     })
      .count;
}

std::vector<std::string> warnings(const Scores& scores, const Window& window) {
  std::vector<std::string> lines;
  for (const std::int64_t layer : massive_activation_layers(scores)) {
    if (layer < window.start || layer > window.last()) continue;
    const auto at = static_cast<std::size_t>(layer);
    std::ostringstream line;
    line.precision(3);
    line << "the window " << window_text(window.start, window.count) << " takes layer " << layer
         << ", where massive activations are born (largest token norm over the median: "
         << scores.states[at].largest_over_median << " before it, " << scores.states[at + 1].largest_over_median
         << " after); cutting it tends to ruin a model whatever the cosine says: compare --protect " << layer;
    lines.push_back(line.str());
  }
  return lines;
}

Json score_summary(const PruneContext& context, const std::vector<Window>& chosen, const std::vector<Window>& ranked) {
  Json summary = Json::object();
  std::int64_t saved = 0;
  for (const Window& window : chosen) saved += parameters_saved(context, window.start, window.count);
  if (chosen.size() > 1) {
    for (const Window& window : chosen)
      summary["windows"].push_back({{"start", window.start}, {"count", window.count}, {"cosine", window.cosine}});
  } else {
    const Window& window = chosen.front();
    summary = {{"start", window.start},
               {"count", window.count},
               {"cosine", window.cosine},
               {"half_cosine", 0.5 + 0.5 * window.cosine}};
  }
  summary["parameters_saved"] = saved;
  summary["sparsity"] = static_cast<double>(saved) / static_cast<double>(context.model.parameters());
  if (chosen.size() == 1 && ranked.size() > 1) {
    const Window& other = ranked[0].start == chosen[0].start ? ranked[1] : ranked[0];
    summary["margin"] = chosen[0].cosine - other.cosine;  // negative when a worse window was forced
    summary["best_other_start"] = other.start;
  }
  return summary;
}

std::vector<Window> chosen_windows(const Scores& scores, const Request& request, std::int64_t count) {
  if (request.windows > 1) return disjoint_windows(scores, count, request.windows, request.before, request.protect);
  const auto start = chosen_start(scores, request, count);
  if (!start) fail(ErrorKind::usage, "no window of ", count, " layers is left to cut");
  return {{*start, count, scores.window_cosine(*start, count)}};
}

Proposal propose(PruneContext& context, const Json& params) {
  const Request request = read_request(context, params);
  Proposal proposal;
  proposal.scores = context.scores ? *context.scores : score_layers(context.model, context.calibration, context.sweep);
  const Scores& scores = proposal.scores;
  const std::int64_t count = chosen_count(context, scores, request);
  proposal.windows = ranked_windows(scores, count, request.protect);
  const std::vector<Window> chosen = chosen_windows(scores, request, count);
  std::vector<LayerRun> runs;
  for (const Window& window : chosen) {
    runs.push_back({window.start, window.count});
    for (std::string& line : warnings(scores, window)) proposal.warnings.push_back(std::move(line));
  }
  proposal.plan = cut_windows(request.layers, runs, context.replacement.name);
  proposal.plan.base.model = context.model.checkpoint().label();
  proposal.plan.base.digest = context.model.checkpoint().digest();
  proposal.plan.method = {.name = "llm-streamline",
                          .parameters = params,
                          .calibration_digest = scores.calibration_digest,
                          .seed = context.seed};
  proposal.plan.scores = score_summary(context, chosen, proposal.windows);
  return proposal;
}

}  // namespace

extern const Method llm_streamline_method;
const Method llm_streamline_method = {
    .name = "llm-streamline",
    .title = "LLM-Streamline: the run of layers that turns the hidden state least",
    .paper = "Chen et al., ICLR 2025, arXiv 2403.19135",
    .params =
        {{.name = "layers",
          .type = ParamType::integer,
          .help = "layers fewer in the result, as the paper counts: a replacement that is a layer is put back "
                  "for one more that is cut",
          .minimum = 1},
         {.name = "cut", .type = ParamType::integer, .help = "layers to cut, whatever replaces them", .minimum = 1},
         {.name = "sparsity",
          .type = ParamType::number,
          .help = "share of all parameters (embeddings and head included) to save, between 0 and 1: the cut that "
                  "comes closest, what the replacement adds counted"},
         {.name = "windows",
          .type = ParamType::integer,
          .help = "divide the cut into so many windows, each with a replacement of its own",
          .default_value = 1,
          .minimum = 1},
         {.name = "start", .type = ParamType::integer, .help = "first layer to cut, whatever the scores say"},
         {.name = "protect",
          .type = ParamType::integers,
          .help = "layers never to cut, e.g. 0,1,28-29",
          .default_value = Json::array()}},
    .propose = propose,
};

}  // namespace streamline
