// SPDX-License-Identifier: Apache-2.0
// Matrices that were pruned, a file a layer: a model may be larger than the memory, and an interrupted run goes on. The
// file has the matrices, or which of their weights stay.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "streamline/base/file.h"
#include "streamline/base/json.h"
#include "streamline/engine/weight_change.h"
#include "streamline/nn/torch.h"

namespace streamline::sparse {

// Of a layer; expert < 0 outside experts, and of one tensor that has the matrices of all of them.
struct MatrixPlace {
  Role role = Role::q;
  std::int64_t expert = -1;

  auto operator<=>(const MatrixPlace&) const = default;
};
using PrunedMatrices = std::map<MatrixPlace, torch::Tensor>;
using Unpruned = std::function<torch::Tensor(std::int64_t layer, const MatrixPlace& place)>;

class PrunedStore {
 public:
  // A folder that is there, and the key (base/state_key.h) of all that the matrices depend on. durable: whether a run
  // may go on from the files when the machine has failed. unpruned: what a matrix was, given where weights only go;
  // files then say which stay.
  PrunedStore(std::filesystem::path folder, Json run, Durable durable = Durable::now, Unpruned unpruned = {})
      : folder_(std::move(folder)), run_(std::move(run)), durable_(durable), unpruned_(std::move(unpruned)) {}

  // Whether the layer was pruned by this run, now or before. Errors: format; mismatch for a file of another run.
  bool has(std::int64_t layer) const;
  // Its matrices, [out, in] in the stored type ([experts, in, out] of all experts); empty where there are none yet.
  // Errors: io and those of has().
  PrunedMatrices layer(std::int64_t layer) const;
  // One of them; undefined where there is none in that place.
  torch::Tensor matrix(std::int64_t layer, const MatrixPlace& place) const;
  // What was put beside them.
  Json notes(std::int64_t layer) const;
  void put(std::int64_t layer, const PrunedMatrices& matrices, const Json& notes = Json::object());

  // What changes a model: every matrix of the store stands for what its checkpoint has in that place.
  static std::shared_ptr<const WeightChange> change(const std::shared_ptr<const PrunedStore>& store);

 private:
  std::filesystem::path file(std::int64_t layer) const;
  void look_up(std::int64_t layer) const;  // under the lock

  std::filesystem::path folder_;
  Json run_;
  Durable durable_;
  Unpruned unpruned_;
  mutable std::mutex mutex_;
  mutable std::int64_t last_ = -1;  // the layer that was asked for last, and its matrices
  mutable PrunedMatrices matrices_;
  mutable Json notes_;
};

}  // namespace streamline::sparse
