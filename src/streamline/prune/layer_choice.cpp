// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/layer_choice.h"

#include <algorithm>

#include "streamline/base/error.h"
#include "streamline/prune/cut_size.h"
#include "streamline/prune/proposal.h"

namespace streamline {
namespace {

// The first `count` layers of the order, as runs.
std::vector<LayerRun> first_of(const std::vector<std::int64_t>& order, std::int64_t count) {
  std::vector<std::int64_t> layers(order.begin(), order.begin() + count);
  std::sort(layers.begin(), layers.end());
  return runs_of(layers);
}

// The fewest layers that make the result `layers` shorter, each run counting what is put back for it.
std::int64_t count_for_net(const PruneContext& context, const std::vector<std::int64_t>& order, std::int64_t layers) {
  const std::int64_t most = std::min(most_layers(context), std::ssize(order));
  std::int64_t closest = 0;
  for (std::int64_t count = 1; count <= most; ++count) {
    const auto runs = first_of(order, count);
    const std::int64_t net = count - std::ssize(runs) * context.replacement.layers;
    if (net == layers) return count;
    if (std::abs(net - layers) < std::abs(closest - layers)) closest = net;
  }
  fail(ErrorKind::usage, "--layers ", layers, " cannot be had of ", context.model.layer_count(), " layers",
       context.replacement.layers > 0 ? " with a layer put back for each run that is cut" : "", "; the closest is ",
       closest);
}

std::int64_t chosen_count(const PruneContext& context, const CutRequest& request,
                          const std::vector<std::int64_t>& order) {
  if (request.layers) return count_for_net(context, order, *request.layers);
  if (!request.cut) {
    const std::int64_t most = std::min(most_layers(context), std::ssize(order));
    return closest_cut(request.sparsity, most,
                       [&](std::int64_t count) { return sparsity_of(context, first_of(order, count)); })
        .count;
  }
  check_count(*request.cut, context);
  if (*request.cut > std::ssize(order))
    fail(ErrorKind::usage, "cutting ", *request.cut, " layers: ", order.size(), " are not protected");
  return *request.cut;
}

void check_room(const PruneContext& context, const std::vector<LayerRun>& runs) {
  std::int64_t next = 0;
  for (const LayerRun& run : runs) {
    if (run.first - next < context.replacement.before)
      fail(ErrorKind::usage, "'", context.replacement.name, "' changes the layer before what it replaces, and before ",
           run_text(run), " there is none; --protect ", run.first, ", or choose another --replace");
    next = run.first + run.count;
  }
}

Json summary(const PruneContext& context, const LayerImportance& importance, const std::vector<std::int64_t>& order,
             std::int64_t count, const std::vector<LayerRun>& runs) {
  Json json = {{"importance", importance.name},
               {"per_layer", importance.values},
               {"order", order},
               {"parameters_saved", parameters_saved(context, runs)},
               {"sparsity", sparsity_of(context, runs)}};
  const auto value = [&](std::int64_t place) {
    return importance.values[static_cast<std::size_t>(order[static_cast<std::size_t>(place)])];
  };
  if (count < std::ssize(order)) json["margin"] = value(count) - value(count - 1);  // of the next over the last taken
  return json;
}

}  // namespace

std::vector<std::int64_t> removal_order(const std::vector<double>& importance,
                                        const std::vector<std::int64_t>& protect) {
  std::vector<std::int64_t> order;
  for (std::int64_t layer = 0; layer < std::ssize(importance); ++layer)
    if (!holds_any(protect, layer, 1)) order.push_back(layer);
  std::stable_sort(order.begin(), order.end(), [&](std::int64_t a, std::int64_t b) {
    return importance[static_cast<std::size_t>(a)] < importance[static_cast<std::size_t>(b)];
  });
  return order;
}

Proposal drop_least_important(const PruneContext& context, const CutRequest& request,
                              const LayerImportance& importance) {
  const std::vector<std::int64_t> order = removal_order(importance.values, request.protect);
  const std::int64_t count = chosen_count(context, request, order);
  const std::vector<LayerRun> runs = first_of(order, count);
  check_room(context, runs);
  Proposal proposal;
  proposal.plan = cut_windows(context.model.layer_count(), runs, context.replacement.name);
  proposal.plan.scores = summary(context, importance, order, count, runs);
  return proposal;
}

}  // namespace streamline
