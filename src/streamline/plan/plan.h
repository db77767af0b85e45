// SPDX-License-Identifier: Apache-2.0
// A plan: what happens to each layer of a source model. The decision as data; surgery carries it out.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "streamline/arch/layer_slice.h"
#include "streamline/base/json.h"

namespace streamline {

enum class Action { keep, drop, replace, drop_attention, drop_mlp };

// Layers first … last (inclusive) of the source model.
struct Segment {
  std::int64_t first = 0, last = 0;
  Action action = Action::keep;
  std::string replacement = {};   // for replace: a registered replacement's name ("layer", "ffn", …)
  std::string weights_file = {};  // trained weights, relative to the plan's file; empty: initial weights
  std::string weights_sha256 = {};

  std::int64_t count() const { return last - first + 1; }
};

// Which single weights of the source become zero.
struct PlanMasks {
  std::string file = {};    // plan/masks_file.h, relative to the plan's file
  std::string sha256 = {};  // of the whole file

  bool operator==(const PlanMasks&) const = default;
};

struct PlanBase {
  std::int64_t layers = 0;  // of the source model
  std::string model = {};   // label, for people
  std::string digest = {};  // Checkpoint::digest() of the source; empty when unknown
};

// Who decided, from what.
struct MethodUse {
  std::string name = {};  // registered method, "manual", "sparsify", or "merge" (plan/merge.h)
  Json parameters = Json::object();
  std::string calibration_digest = {};
  std::uint64_t seed = 0;
};

struct Plan {
  PlanBase base = {};
  MethodUse method = {};
  std::vector<Segment> segments = {};  // in order, tiling 0 … layers-1
  // By layer of the source: what stays inside the halves that it keeps (plan/slice.h).
  std::map<std::int64_t, LayerSlice> slices = {};
  // Weights become zero before anything is sliced.
  std::optional<PlanMasks> masks = {};
  Json scores = Json::object();  // what the method looked at
};

// Errors: mismatch, e.g. "layers 1..2 are covered twice", "layer 5 is not covered", "layer 3 is dropped and sliced".
void validate(const Plan& plan);

// One layer of the result: a source layer or what is left of it, or the replacement of segments[segment].
struct OutputLayer {
  std::int64_t source = -1;  // the layer it comes from; for a replacement the first layer of its segment
  std::int64_t segment = 0;
  bool replaced = false;
  bool attention = true, mlp = true;  // which halves it has
  std::int64_t mlp_source = -1;       // the layer that its MLP comes from
  LayerSlice slice = {};              // what stays inside its halves

  bool whole() const { return attention && mlp; }
  // Whether it is layer `source` as it was.
  bool untouched() const { return !replaced && whole() && source == mlp_source && slice.empty(); }
  bool operator==(const OutputLayer&) const = default;
};
// Layer by layer as the plan says; plan/stack.h joins what can be joined.
std::vector<OutputLayer> lower(const Plan& plan);

// Whether it drops or replaces layers, or drops halves of them.
bool cuts_layers(const Plan& plan);

Plan keep_all(std::int64_t layers);
// Layers first … first+count-1 dropped, or replaced when `replacement` is neither empty nor "none".
Plan cut_window(std::int64_t layers, std::int64_t first, std::int64_t count, const std::string& replacement = {});
// The same for several runs of layers, disjoint and in order.
struct LayerRun {
  std::int64_t first = 0, count = 0;
};
Plan cut_windows(std::int64_t layers, const std::vector<LayerRun>& runs, const std::string& replacement = {});
Plan drop_layers(std::int64_t layers, const std::vector<std::int64_t>& dropped);

Json to_json(const Plan& plan);
// Validated. Errors: format, naming `where` and the key; unknown keys and versions are errors.
Plan plan_from_json(const Json& json, const std::string& where);

// "replaced layers 13..18 by one ffn (of 30)"; "dropped layers 2, 5..6 (of 12)"; "sliced layers 2..9: without 24 of
// 96 heads for keys and values in 8 layers and 3072 of 12288 channels in 8 layers (of 12)"; with masks each is followed
// by ", single weights masked".
std::string summary(const Plan& plan);

}  // namespace streamline
