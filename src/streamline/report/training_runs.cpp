// SPDX-License-Identifier: Apache-2.0
#include "streamline/report/training_runs.h"

#include <algorithm>

#include "streamline/report/fields.h"

namespace streamline::report {
namespace {

constexpr std::int64_t kFewestSmoothed = 20;  // steps

std::string loss_title(const std::string& loss) {
  if (loss == "mse") return "mean squared error";
  if (loss == "normalised-mse") return "squared error over the target's energy";
  if (loss == "state") return "squared error over the target's energy, and 1 - cosine";
  if (loss == "lm") return "cross entropy, nats a token";
  return loss == "kl" ? "KL divergence, nats a token" : loss;
}

bool trains_whole(const Json& window) {
  const std::string name = text(window, "/replacement").value_or("");
  return name == "adapters" || name == "sherl";
}

void add(std::vector<TrainingRun>& runs, const std::string& title, const Json& window, bool candidate) {
  for (const Json& stage : elements(window, "/stages")) {
    if (elements(stage, "/steps").empty()) continue;
    const std::string loss = text(stage, "/loss").value_or("");
    runs.push_back({.chart = "training-" + std::to_string(runs.size()),
                    .title = title + (title.empty() ? "" : ", ") + loss,
                    .loss = loss_title(loss),
                    .candidate = candidate,
                    .whole = trains_whole(window),
                    .window = window,
                    .stage = stage});
  }
}

std::string layers_of(const Json& window) {
  const auto first = integer(window, "/first"), count = integer(window, "/count");
  return first && count ? named_layers({{.start = *first, .cut = *count}}) : "";
}

}  // namespace

std::int64_t smoothing_reach(const Json& stage) {
  const auto steps = std::ssize(elements(stage, "/steps"));
  return steps < kFewestSmoothed ? 0 : std::min<std::int64_t>(steps / 10, 12);
}

std::vector<TrainingRun> training_runs(const Json& report) {
  std::vector<TrainingRun> runs;
  const std::vector<Json> windows = elements(report, "/healing");
  for (const Json& window : windows) add(runs, windows.size() > 1 ? layers_of(window) : "", window, false);
  if (runs.size() == 1) runs.front().title.clear();
  for (const Json& result : elements(report, "/candidates/results"))
    for (const Json& window : elements(result, "/windows"))
      add(runs, text(result, "/name").value_or("?"), window, true);
  return runs;
}

}  // namespace streamline::report
