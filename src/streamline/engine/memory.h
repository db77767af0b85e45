// SPDX-License-Identifier: Apache-2.0
// What a run may hold in memory, and what follows from it: how many tokens run together, whether the weights stay, what
// is refused. Decided here, from the limit in the placement (--memory).
#pragma once

#include "streamline/engine/model.h"

namespace streamline {

// Bytes that computing may take beside mapped files: the limit less what the program itself takes, or, without one,
// what is available. 0 where the limit is below what the program takes.
std::uint64_t working_memory(const Placement& placement);

// Error resource unless `needed` bytes may be taken, naming the least limit that would do: "WHAT needs at least …".
// Devices other than the CPU have memory of their own and are not checked.
void require_memory(const Placement& placement, std::uint64_t needed, const std::string& what,
                    const std::string& advice);

// Bytes of converted weights that a model keeps at most: a quarter of that, and no more than 1 GB. On other devices
// weights live there, all of them.
std::uint64_t conversion_cache(const Placement& placement);

// What somebody who watches a sweep keeps of a batch.
enum class Keeps { all_states, nothing };

// Bytes a sweep needs above the mapped weights.
std::uint64_t sweep_memory(const Model& model, std::int64_t seq_len, std::int64_t batch_tokens, Keeps keeps);

// What SweepOptions::batch_tokens = 0 means: enough tokens to pay for reading a layer's weights, few enough that a
// visitor that keeps every hidden state of a batch stays within about 1 GB, and that a sweep fits into
// working_memory().
std::int64_t default_batch_tokens(const Model& model, Keeps keeps = Keeps::nothing);

// Error resource when not even one such sequence can be swept in the memory there is.
void check_sweep_memory(const Model& model, std::int64_t seq_len, Keeps keeps = Keeps::nothing);

// Whether the weights of this stack can stay in memory beside a sweep that needs so many bytes. Where they cannot, they
// are best read once for all batches.
bool weights_stay(const Model& model, std::uint64_t sweep_bytes);

}  // namespace streamline
