// SPDX-License-Identifier: Apache-2.0
// Plans by what happens to each layer.
#pragma once

#include <vector>

#include "streamline/plan/plan.h"

namespace streamline::test {

constexpr auto keep = Action::keep, drop = Action::drop, mlp_only = Action::drop_attention,
               attention_only = Action::drop_mlp;

inline Plan plan_of(const std::vector<Action>& actions) {
  Plan plan{.base = {.layers = static_cast<std::int64_t>(actions.size())}, .method = {.name = "manual"}};
  for (std::size_t i = 0; i < actions.size(); ++i) {
    const auto layer = static_cast<std::int64_t>(i);
    plan.segments.push_back({.first = layer, .last = layer, .action = actions[i]});
  }
  return plan;
}

}  // namespace streamline::test
