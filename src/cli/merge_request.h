// SPDX-License-Identifier: Apache-2.0
// What `streamline merge` is asked to merge: the models, from the command line or from a file of mergekit's.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "streamline/merge/merge_plan.h"
#include "streamline/surgery/apply.h"

namespace streamline::cli {

struct MergeOptions {
  std::vector<std::string> models, weights;
  std::string base, rule = "mean", file;  // file: of mergekit's
  std::optional<double> density;          // the rule's
  std::string threshold = "model";
  double scale = 1, t = 0.5;
  std::uint64_t seed = 0;
  bool union_vocabulary = false;
  bool any_weights = false;  // of adapters: the base may be another than the one that they were trained on
};

struct MergeInput {
  merge::Request request;
  std::int64_t tuned = 0;          // models whose task vectors are merged
  std::string configuration = {};  // the text of mergekit's file
  std::string tokenizer = {};      // see merge::WriteOptions
  std::vector<std::string> notes = {};
  Json recipe = Json::object();  // for records
};

// Opens models by name, each checkpoint once. A directory of PEFT files is an adapter for the base; "MODEL+ADAPTER" is
// one for that model, as mergekit writes it.
class MergeModels {
 public:
  explicit MergeModels(const MergeOptions& options)
      : base_(options.base), any_weights_(options.any_weights ? AnyWeights::yes : AnyWeights::no) {}
  // Errors: those of open_checkpoint() and adapter_source(); usage for an adapter without a base.
  merge::Source open(const std::string& name);

 private:
  std::string base_;
  AnyWeights any_weights_;
  std::map<std::string, merge::Source> opened_;
};

// Errors: usage for options that do not go together, those of the library.
MergeInput merge_input(const MergeOptions& options);

}  // namespace streamline::cli
