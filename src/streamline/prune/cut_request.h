// SPDX-License-Identifier: Apache-2.0
// How much to cut and what must stay, as every method that cuts whole layers takes it.
#pragma once

#include "streamline/prune/method.h"

namespace streamline {

// What is the same in all methods that have it.
Param sparsity_param();
Param protect_param();

// The parameters layers, cut, sparsity and protect.
Params cut_params();

struct CutRequest {
  std::optional<std::int64_t> layers = {};  // fewer in the result
  std::optional<std::int64_t> cut = {};     // cut, whatever is put back
  double sparsity = 0;                      // where neither is given
  std::vector<std::int64_t> protect = {};
};
// Errors: usage unless exactly one of the three sizes is given, and for what lies outside the model.
CutRequest read_cut_request(const PruneContext& context, const Json& params, std::string_view method);

// How much, where a method takes it by several parameters, of which one must be given, `sparsity` among them. Returns
// the sparsity if that is the one. Errors: usage, naming the parameters; for a sparsity outside (0, 1).
std::optional<double> read_sparsity(const Json& params, std::string_view method, const std::vector<std::string>& sizes);

// Errors: usage for layers outside the model.
void check_protected(const std::vector<std::int64_t>& protect, std::int64_t layers);

// Layers to cut when they make `runs` runs, of which each is replaced; empty: from the sparsity.
std::optional<std::int64_t> requested_count(const CutRequest& request, const PruneContext& context, std::int64_t runs);

// A model of no layers is none, also before what is put back is trained: one must stay.
std::int64_t most_layers(const PruneContext& context);
void check_count(std::int64_t count, const PruneContext& context);  // usage errors

bool holds_any(const std::vector<std::int64_t>& layers, std::int64_t start, std::int64_t count);

// Parameters of the whole model, embeddings and head included, that are gone after these cuts.
std::int64_t parameters_saved(const PruneContext& context, const std::vector<LayerRun>& runs);
double sparsity_of(const PruneContext& context, const std::vector<LayerRun>& runs);

// The same of a plan whose replacements are there already.
std::int64_t parameters_saved(const PruneContext& context, const Plan& plan, const Replacements& replacements = {});
// {"parameters_saved": …, "sparsity": …} of it, for Plan::scores.
Json savings(const PruneContext& context, const Plan& plan, const Replacements& replacements = {});

// The value of a parameter that may be absent.
template <class Value>
std::optional<Value> optional_value(const Json& params, const char* name) {
  const Json& value = params.at(name);
  return value.is_null() ? std::nullopt : std::optional<Value>(value.get<Value>());
}

}  // namespace streamline
