// SPDX-License-Identifier: Apache-2.0
// Hidden states around windows on disk, so that later epochs, candidates and runs need not compute them again: shards
// of some sequences, each a safetensors file whose SHA-256 stands beside it in cache.json. What is not there, or is
// damaged, is computed and written anew; what does not fit under the limit is computed each time.
#pragma once

#include <cstdint>
#include <filesystem>

#include "streamline/heal/window_states.h"

namespace streamline {

struct StateCacheOptions {
  std::filesystem::path directory = {};
  std::uint64_t limit = 0;       // bytes of all shards in the directory
  std::string view_digest = {};  // of what a view has otherwise than its checkpoint; empty: nothing. Healing sets it
  torch::ScalarType dtype = torch::kBFloat16;  // that states are stored in
};

// States of `window` of the model that `body` is the beginning of, for any text, through the cache. A directory serves
// one model; what belongs to other windows, texts or types in it is kept until room is needed, the least recently used
// first. `teacher`, when given, is asked once and kept beside the states; it tells `teacher_tokens` apart. `body` must
// outlive the source, whose copies share the cache. Errors: mismatch for the directory of another model, format for a
// damaged cache.json, io (disk full: what was written before stays, and the next run goes on from there).
StateSource cached_states(const Model& body, const HealedWindow& window, const StateCacheOptions& options,
                          const std::function<TopTokens(const torch::Tensor&)>& teacher = {},
                          std::int64_t teacher_tokens = 0);

}  // namespace streamline
