// SPDX-License-Identifier: Apache-2.0
// The models that `compare` looks at: checkpoints, plans on one of them, and what pruning methods make of it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "options.h"

namespace streamline::cli {

struct CompareModelOptions {
  std::vector<std::string> models;  // the first is the source
  std::vector<std::string> plans;   // views of the source
  std::vector<std::string> methods;
  std::vector<std::string> layers;  // layers that each method takes out
  DataOptions data;                 // that the methods look at
};

struct ComparedModel {
  std::string name;
  std::shared_ptr<const OpenedModel> opened;  // views share their source's
  Model model;
  Json about = Json::object();  // method, layers taken out, plan, and in words what was cut
  std::string plan_digest = {};
  std::vector<std::string> warnings = {};  // of the method
};

// Errors: usage for no model, for methods without sizes or text; those of opening and of the methods.
std::vector<ComparedModel> open_compared(const CompareModelOptions& options, const Placement& placement,
                                         std::uint64_t seed);

}  // namespace streamline::cli
