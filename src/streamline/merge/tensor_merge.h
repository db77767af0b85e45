// SPDX-License-Identifier: Apache-2.0
// One tensor of a merged model: what it is made of, and its values, a block of rows at a time in float32.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "streamline/io/checkpoint.h"
#include "streamline/io/safetensors.h"
#include "streamline/merge/rule.h"

namespace streamline::merge {

// A stored tensor of a model, which may be changed by an adapter.
struct Stored {
  std::shared_ptr<const Checkpoint> checkpoint;
  const TensorInfo* tensor = nullptr;
  // Adds an update to rows first … first+count-1, [count, width]; empty: there is none.
  std::function<void(std::int64_t first, std::int64_t count, std::span<float> rows)> update = {};
  // Rows of the result that the tensor does not have (a smaller vocabulary) are the mean of those of these that have
  // them; each row is in one of them.
  std::vector<Stored> beyond = {};
};

// One model's part.
struct Operand {
  Stored stored;
  // With an adapter beside the base itself the task vector is the update alone.
  bool beside_base = false;
  std::uint64_t seed = 0;  // of the entries that Keep::random keeps
  // Of Keep::largest over whole models: magnitudes below are left out. Negative: taken over the tensor.
  float threshold = -1;
};

struct TensorMerge {
  TensorHeader header;      // of the result
  std::int64_t layer = -1;  // of the result; < 0 outside the layers
  Stored base = {};         // without a tensor where the rule takes none
  std::vector<Operand> operands = {};
  const Rule* rule = nullptr;  // nullptr: the first operand's bytes (what is no floating-point number)
  Parameters parameters = {};
};

// Sums over entries of a merged task vector before it is scaled by depth, and of the plain sum of the task vectors.
struct Norms {
  double l1 = 0, squared = 0;  // of the merged one
  double summed_l1 = 0;        // of the plain sum, nothing left out, nothing weighted

  Norms& operator+=(const Norms& other);
};

// Memory for one result after the other: new pages for each would cost more than the merge.
class ResultMemory {
 public:
  // What was given last, if that is large enough and nobody holds it any more.
  std::shared_ptr<std::byte[]> take(std::uint64_t size);

 private:
  std::shared_ptr<std::byte[]> last_;
  std::uint64_t size_ = 0;
};

// The values in the result's type, in `memory` or some of their own. Errors: numeric where one is NaN or infinite, or
// beyond the type; unsupported for stored types that are no numbers.
Blob merged_bytes(const TensorMerge& merge, ResultMemory* memory = nullptr);

// Without a base all of them are zero.
Norms norms(const TensorMerge& merge);

}  // namespace streamline::merge
