// SPDX-License-Identifier: Apache-2.0
// LLM-Streamline (Chen et al., "Streamlining Redundant Layers to Compress Large Language Models", arXiv 2403.19135):
// cut the one run of layers across which the hidden state turns least, and train a small network in its place.
#include "streamline/base/error.h"
#include "streamline/prune/cut_size.h"
#include "streamline/prune/disjoint_windows.h"
#include "streamline/prune/proposal.h"
#include "streamline/prune/window_choice.h"

namespace streamline::llm_streamline_method {
namespace {

// What was asked for, checked against the model as far as it can be without scores.
struct Request {
  CutRequest cut = {};
  std::optional<std::int64_t> count = {};  // layers to cut; empty: from the sparsity
  std::optional<std::int64_t> start = {};
  std::int64_t windows = 1;  // that the cut is divided into
  CutRule rule = {};
};

void check_forced_window(const Request& request, std::int64_t count) {
  const std::int64_t start = *request.start;
  if (start >= 0 && start < request.rule.before)
    fail(ErrorKind::usage, "--start ", start, ": this replacement changes the layer before the window");
  if (start < 0 || start + count > request.rule.layers) {
    fail(ErrorKind::usage, "--start ", start, " with ", count, " layers to cut: the window must lie in layers 0..",
         request.rule.layers - 1);
  }
  for (const std::int64_t layer : request.rule.protect) {
    if (layer >= start && layer < start + count) {
      fail(ErrorKind::usage, "--start ", start, " cuts layers ", run_text({start, count}),
           " but --protect keeps layer ", layer);
    }
  }
}

Request read_request(const PruneContext& context, const Json& params) {
  Request request{.cut = read_cut_request(context, params, "llm-streamline"),
                  .start = optional_value<std::int64_t>(params, "start"),
                  .windows = params.at("windows").get<std::int64_t>()};
  request.rule = {context.model.layer_count(), context.replacement.before, request.cut.protect};
  if (request.windows > 1 && request.start)
    fail(ErrorKind::usage, "--start names one window; without it --windows ", request.windows, " are chosen");
  request.count = requested_count(request.cut, context, request.windows);
  if (request.count) check_count(*request.count, context);
  if (const std::int64_t most = request.count.value_or(most_layers(context)); request.windows > most)
    fail(ErrorKind::usage, request.windows, " windows of ", most, " layers to cut: each takes at least one");
  if (request.start) check_forced_window(request, request.count.value_or(1));
  return request;
}

Likeness likeness_of(const Scores& scores) {
  return [&scores](std::int64_t start, std::int64_t count) { return scores.window_cosine(start, count); };
}

std::vector<LayerRun> runs_in(const std::vector<Window>& windows) {
  std::vector<LayerRun> runs;
  runs.reserve(windows.size());
  for (const Window& window : windows) runs.push_back({window.start, window.count});
  return runs;
}

// The one window of `count` layers that would be cut; empty when none may be.
std::optional<std::int64_t> chosen_start(const Scores& scores, const Request& request, std::int64_t count) {
  if (request.start) {
    const bool possible =
        *request.start + count <= request.rule.layers && !holds_any(request.rule.protect, *request.start, count);
    return possible ? request.start : std::nullopt;
  }
  return best_start(likeness_of(scores), request.rule, count);
}

std::int64_t chosen_count(const PruneContext& context, const Scores& scores, const Request& request) {
  if (request.count) return *request.count;
  if (request.windows == 1)
    return closest_window_count(context, request.cut.sparsity,
                                [&](std::int64_t count) { return chosen_start(scores, request, count); });
  const auto sparsity = [&](std::int64_t count) -> std::optional<double> {
    const auto found = possible_windows(scores, count, request.windows, request.rule.before, request.rule.protect);
    return found ? std::optional(sparsity_of(context, runs_in(*found))) : std::nullopt;
  };
  return closest_cut(request.cut.sparsity, most_layers(context), sparsity).count;
}

Json score_summary(const PruneContext& context, const std::vector<Window>& chosen, const std::vector<Window>& ranked) {
  Json summary = Json::object();
  const std::vector<LayerRun> runs = runs_in(chosen);
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
  summary["parameters_saved"] = parameters_saved(context, runs);
  summary["sparsity"] = sparsity_of(context, runs);
  if (chosen.size() == 1 && ranked.size() > 1) {
    const Window& other = ranked[0].start == chosen[0].start ? ranked[1] : ranked[0];
    summary["margin"] = chosen[0].cosine - other.cosine;  // negative when a worse window was forced
    summary["best_other_start"] = other.start;
  }
  return summary;
}

std::vector<Window> chosen_windows(const Scores& scores, const Request& request, std::int64_t count) {
  if (request.windows > 1)
    return disjoint_windows(scores, count, request.windows, request.rule.before, request.rule.protect);
  const auto start = chosen_start(scores, request, count);
  if (!start)
    fail(ErrorKind::usage, "every window of ", count, " layers ",
         request.rule.before > 0 ? "begins with the first layer, which this replacement needs, or " : "",
         "holds a protected layer; protect fewer or cut fewer");
  return {{*start, count, scores.window_cosine(*start, count)}};
}

// All that could be cut instead, the best first.
std::vector<Window> all_windows(const Scores& scores, const CutRule& rule, std::int64_t count) {
  std::vector<Window> windows;
  for (const std::int64_t start : ranked_starts(likeness_of(scores), rule, count))
    windows.push_back({start, count, scores.window_cosine(start, count)});
  return windows;
}

Proposal propose(PruneContext& context, const Json& params) {
  const Request request = read_request(context, params);
  Proposal proposal;
  proposal.scores = scores_for(context);
  const Scores& scores = proposal.scores;
  const std::int64_t count = chosen_count(context, scores, request);
  const std::vector<Window> chosen = chosen_windows(scores, request, count);
  if (request.windows == 1) proposal.windows = all_windows(scores, request.rule, count);
  const std::vector<LayerRun> runs = runs_in(chosen);
  for (const LayerRun& run : runs)
    for (std::string& line : massive_activation_warnings(scores, run)) proposal.warnings.push_back(std::move(line));
  proposal.plan = cut_windows(request.rule.layers, runs, context.replacement.name);
  sign(proposal.plan, context, "llm-streamline", params);
  proposal.plan.scores = score_summary(context, chosen, proposal.windows);
  return proposal;
}

Params params() {
  Params params = cut_params();
  params.push_back({.name = "windows",
                    .type = ParamType::integer,
                    .help = "divide the cut into so many windows, each with a replacement of its own",
                    .default_value = 1,
                    .minimum = 1});
  params.push_back(
      {.name = "start", .type = ParamType::integer, .help = "first layer to cut, whatever the scores say"});
  return params;
}

}  // namespace

extern const Method kMethod;
const Method kMethod = {
    .name = "llm-streamline",
    .title = "LLM-Streamline: the run of layers that turns the hidden state least",
    .paper = "Chen et al., ICLR 2025, arXiv 2403.19135",
    .params = params(),
    .replacement = "layer",
    .propose = propose,
};

}  // namespace streamline::llm_streamline_method
