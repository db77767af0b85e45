// SPDX-License-Identifier: Apache-2.0
// What the insides of layers are worth: a score for each group of heads and each channel, the least to go first.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "streamline/nn/weights.h"

namespace streamline {

// Of one layer. A negative score says that the unit is gone already; scores are otherwise not negative.
struct InsideScores {
  std::vector<double> heads = {};                  // by key and value head; empty where none can go
  std::vector<std::vector<double>> channels = {};  // of the MLP, or of each expert; empty where none can go

  bool operator==(const InsideScores&) const = default;
};
using UnitScores = std::vector<InsideScores>;  // by layer

Json to_json(const UnitScores& scores);
// What to_json() wrote. Errors: format.
UnitScores unit_scores_from_json(const Json& json, const std::string& where);

// Zeros for all units of a layer; no heads where a norm goes over all of them together.
InsideScores no_scores(const LayerConfig& layer);

// The magnitudes of slopes by the gates of a layer: heads [kv_heads]; channels [intermediate], or [experts,
// intermediate] of experts. Zeros where they are undefined.
InsideScores gate_scores(const LayerConfig& layer, const torch::Tensor& heads, const torch::Tensor& channels);

// Which unit each row (dimension 0) or column of a matrix belongs to.
struct UnitOwners {
  int dimension = 0;
  torch::Tensor owners = {};  // int64, [rows or columns]
};
// nullopt for roles that no unit has part in.
std::optional<UnitOwners> unit_owners(const LayerConfig& layer, Role role, Part part, std::int64_t expert);

// How what the members of a group say is put together.
enum class GroupSum {
  magnitudes,  // the sum of the elements, which are not negative
  signed_sum,  // the magnitude of the sum over all members
};
// Of one layer: adds up values [out, in] (or [out] of a bias) by unit, matrix by matrix.
class GroupedValues {
 public:
  explicit GroupedValues(const LayerConfig& layer);
  void add(Role role, Part part, std::int64_t expert, const torch::Tensor& values);
  InsideScores scores(GroupSum sum) const;

 private:
  LayerConfig layer_;
  torch::Tensor heads_;                  // [kv_heads] fp64; undefined where there are none
  std::vector<torch::Tensor> channels_;  // [intermediate] fp64 each
};

// Ranks of the values, ties sharing the mean of theirs, and the correlation of two lists' ranks; 0 where one is
// constant.
double spearman(const std::vector<double>& a, const std::vector<double>& b);

// All scores of a kind in one list: those of heads, then those of channels.
std::vector<double> all_scores(const UnitScores& scores);

}  // namespace streamline
