// SPDX-License-Identifier: Apache-2.0
// Which heads and channels go, given what each is worth: how much, from where, and the plan that says so.
#pragma once

#include <map>
#include <string>

#include "streamline/arch/layer_slice.h"
#include "streamline/prune/method.h"
#include "streamline/prune/unit_scores.h"

namespace streamline {

// The parameters ratio, sparsity, keep-heads, keep-channels, inside, scope, spread and protect.
Params width_params(const char* scope = "local");

enum class Scope {
  local,   // every layer loses the same share
  global,  // layers lose what is worth least of all, each layer's scores over their mean
  alpha,   // layers lose shares by the spectra of their matrices, as AlphaPruning allocates them
};

// Under this name PruneContext::memory has the exponents of Scope::alpha, a list by layer: a budget asks for many
// sizes.
inline constexpr const char* kExponentsFact = "layer exponents";

struct WidthRequest {
  std::optional<double> ratio = {};           // of the groups and of the channels that go
  std::optional<double> sparsity = {};        // share of all parameters to save
  std::vector<std::int64_t> kv_heads = {};    // that each layer keeps, by layer; empty: not by number
  std::optional<std::int64_t> channels = {};  // likewise, one number for all
  bool heads = true, mlps = true;             // what may go
  Scope scope = Scope::local;
  std::vector<double> exponents = {};  // of Scope::alpha: of each layer's spectra
  double spread = 0;                   // and how far their shares may differ
  std::vector<std::int64_t> protect = {};
};
// Errors: usage unless there is a size, and for what contradicts itself; mismatch for a number of heads that breaks the
// groups of heads that share keys and values, with the nearest allowed.
WidthRequest read_width_request(const PruneContext& context, const Json& params, std::string_view method);

// What stays when this share of the units goes: of n units floor(ratio * n), those that are worth least, ties to the
// first. `scores` are those of the whole model. Locally in each layer; globally over all layers, heads and channels
// apart; by alpha in each layer the share that allocate() gives it among those that are not protected. Experts of one
// layer lose as many channels each, in the order of their mean worth.
std::map<std::int64_t, LayerSlice> kept_units(const Config& config, const UnitScores& scores,
                                              const WidthRequest& request, double ratio);

// The ratio whose slices come closest to the wanted share of parameters; that of the request where it has one.
double resolved_ratio(const PruneContext& context, const UnitScores& scores, const WidthRequest& request);

// The signed proposal of these scores; halves of which nothing would be left are dropped, and said.
Proposal width_proposal(const PruneContext& context, std::string_view method, const Json& params,
                        const UnitScores& scores, const WidthRequest& request);

// What `make` computes, or has computed before for the same model, text and parameters but those of the size: a budget
// asks for many sizes of the same scores. `beside`: what `make` sets there is remembered with the scores.
UnitScores remembered_scores(const PruneContext& context, std::string_view method, const Json& params,
                             const std::function<UnitScores()>& make, std::map<std::string, double>* beside = nullptr);

}  // namespace streamline
