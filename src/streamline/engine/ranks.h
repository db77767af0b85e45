// SPDX-License-Identifier: Apache-2.0
// Several processes that share one piece of work: each takes a part of the sequences, and what they found is summed or
// gathered. Alone, nothing is connected and every call gives back what it was given.
#pragma once

#include <chrono>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "streamline/engine/rank_environment.h"
#include "streamline/nn/torch.h"

namespace streamline {

// A handle; copies are the same group. Every rank makes the same calls in the same order. Each of them ends with Error:
// io, naming the rank that is gone, failed or silent; interrupted.
class Ranks {
 public:
  Ranks();  // one process
  // Finds the others and connects to them; `patience`: how long to wait for one that says nothing, here and later.
  // Errors: io, naming who did not come; mismatch for another version of the program.
  static Ranks join(const RankEnvironment& environment, std::chrono::seconds patience);
  // From here on a rank that goes makes check_interrupted() throw in this process, until finish() or the last copy
  // ends.
  void watch() const;

  int rank() const;
  int size() const;
  int local_rank() const;  // among those of this machine
  int local_size() const;
  bool alone() const { return size() == 1; }
  bool first() const { return rank() == 0; }  // who prints and writes
  // Whether the k-th part of the work is this rank's; in turn, so that equal parts are shared out evenly.
  bool takes(std::int64_t part) const { return part % size() == rank(); }

  // Element by element, added in the order of the ranks: the same bits on every rank.
  void sum(std::span<double> values) const;
  void sum(std::span<float> values) const;
  // The same in place of dense tensors, float32 or float64 on any device.
  void sum(const std::vector<torch::Tensor>& tensors) const;
  double sum(double value) const;
  // Of every rank, in their order.
  std::vector<std::string> gather(std::string_view mine) const;
  std::vector<double> concatenate(std::span<const double> mine) const;
  // What the first rank has.
  std::string broadcast(std::string_view mine) const;
  void broadcast(const std::vector<torch::Tensor>& tensors) const;

  // The end of the work: the first rank tells the others its exit status, which they return. Errors as above.
  int finish(int status) const;
  // The end of a failed one: the others are told, and one rank says it. `message`: what went wrong here; `interrupted`:
  // by a signal or by watch(), for which another rank may have the reason. Returns the line that this rank is to print:
  // empty where another does.
  std::string fail_together(bool interrupted, const std::string& message) const noexcept;

 private:
  class Group;
  std::shared_ptr<Group> group_;  // none when alone
};

}  // namespace streamline
