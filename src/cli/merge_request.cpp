// SPDX-License-Identifier: Apache-2.0
#include "merge_request.h"

#include <algorithm>
#include <filesystem>
#include <numeric>

#include "merge_depth.h"
#include "options.h"
#include "streamline/base/error.h"
#include "streamline/merge/adapter_source.h"
#include "streamline/merge/mergekit_file.h"

namespace streamline::cli {
namespace {

std::vector<double> parse_weights(const MergeOptions& options) {
  std::vector<double> weights;
  for (const std::string& word : options.weights) weights.push_back(parse_number(word, "--weights"));
  if (!weights.empty() && weights.size() != options.models.size())
    fail(ErrorKind::usage, "--weights has ", weights.size(), " numbers for ", options.models.size(), " models");
  weights.resize(options.models.size(), 1);
  if (std::ranges::all_of(weights, [](double weight) { return weight == 0; }))
    fail(ErrorKind::usage, "--weights are all 0: nothing would be merged");
  if (merge::find_rule(options.rule).normalise && std::reduce(weights.begin(), weights.end()) == 0)
    fail(ErrorKind::usage, "--weights add up to 0, by which the rule ", options.rule, " divides");
  return weights;
}

MergeInput from_file(const MergeOptions& options) {
  if (!options.models.empty()) fail(ErrorKind::usage, "--mergekit names its models; give none beside it");
  MergeModels models(options);
  const std::string text = read_text(options.file);
  merge::MergekitFile file =
      merge::read_mergekit(text, options.file, [&](const std::string& name) { return models.open(name); });
  MergeInput input{.request = std::move(file.request), .configuration = text};
  input.tokenizer = std::move(file.tokenizer);
  input.notes = std::move(file.notes);
  for (const merge::Slice& slice : input.request.slices)
    input.tuned = std::max(input.tuned, static_cast<std::int64_t>(slice.operands.size()));
  input.recipe = {{"rule", input.request.rule->name}, {"configuration", text}};
  return input;
}

MergeInput from_words(const MergeOptions& options) {
  const merge::Rule& rule = merge::find_rule(options.rule);
  if (options.models.empty()) fail(ErrorKind::usage, "which models are merged? name them, or a file with --mergekit");
  const std::vector<double> weights = parse_weights(options);
  if (rule.needs_base && options.base.empty())
    fail(ErrorKind::usage, "the rule ", rule.name,
         " merges task vectors; say with --base what the models were tuned from");
  MergeInput input{.request = {.rule = &rule}};
  input.tuned = static_cast<std::int64_t>(options.models.size());
  MergeModels models(options);
  std::vector<std::size_t> operands;
  std::optional<std::size_t> base;
  if (!options.base.empty()) {
    base = 0;
    input.request.models.push_back(models.open(options.base));
  }
  for (const std::string& name : options.models) {
    operands.push_back(input.request.models.size());
    input.request.models.push_back(models.open(name));
  }
  input.request.slices = merge::whole_models(input.request.models, operands, base);
  const double density = options.density.value_or(rule.density);
  input.request.parameters = [&rule, weights, density, scale = options.scale, t = options.t](const merge::Place&) {
    merge::Parameters parameters{.weights = weights, .densities = std::vector<double>(weights.size(), density)};
    parameters.normalise = rule.normalise;
    if (rule.keep == merge::Keep::random) parameters.rescale = merge::Rescale::density;
    parameters.scale = scale;
    parameters.t = t;
    return parameters;
  };
  input.recipe = {{"rule", rule.name}, {"base", options.base}, {"models", options.models}, {"weights", weights}};
  if (rule.keep != merge::Keep::all) input.recipe["density"] = density;
  if (rule.keep == merge::Keep::largest) input.recipe["threshold"] = options.threshold;
  if (rule.combine == merge::Combine::slerp) {
    input.recipe["t"] = options.t;
  } else {
    input.recipe["scale"] = options.scale;
  }
  if (rule.keep == merge::Keep::random) input.recipe["seed"] = options.seed;
  return input;
}

}  // namespace

merge::Source MergeModels::open(const std::string& name) {
  if (const auto found = opened_.find(name); found != opened_.end()) return found->second;
  const auto keep = [&](merge::Source source) { return opened_[name] = std::move(source); };
  if (merge::is_adapter(name)) {
    if (base_.empty() || base_ == name)
      fail(ErrorKind::usage, name, ": is an adapter; say with --base, or as MODEL+", name, ", which model it is for");
    return keep(merge::adapter_source(name, open(base_), name, any_weights_));
  }
  const std::size_t plus = name.find('+');
  std::error_code error;
  if (plus != std::string::npos && !std::filesystem::exists(name, error)) {
    const std::string adapter = name.substr(plus + 1);
    return keep(merge::adapter_source(name, open(name.substr(0, plus)), adapter, any_weights_));
  }
  const auto checkpoint = open_checkpoint(name);
  check_writes_text(*checkpoint);
  return keep(merge::make_source(name, checkpoint));
}

MergeInput merge_input(const MergeOptions& options) {
  MergeInput input = options.file.empty() ? from_words(options) : from_file(options);
  input.request.seed = options.seed;
  input.request.union_vocabulary = options.union_vocabulary;
  const auto is_adapted = [](const merge::Source& model) { return static_cast<bool>(model.adapter); };
  if (options.any_weights && std::ranges::none_of(input.request.models, is_adapted))
    fail(ErrorKind::usage, "--any-weights goes with adapters; none of the models is one");
  return input;
}

}  // namespace streamline::cli
