// SPDX-License-Identifier: Apache-2.0
// Which of several processes this one is, as torchrun and other launchers say it: RANK, WORLD_SIZE, LOCAL_RANK,
// LOCAL_WORLD_SIZE, MASTER_ADDR, MASTER_PORT.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace streamline {

struct RankEnvironment {
  int rank = 0, size = 1;
  int local_rank = 0, local_size = 1;  // among the processes of this machine
  std::string address;                 // of the machine that rank 0 runs on
  std::uint16_t port = 0;              // of the launcher's store; without one, of rank 0 itself
  bool has_store = false;              // the launcher holds a c10d store there (torchrun)
  std::string run;                     // name of the run and its number of restarts: what other runs' keys differ in

  bool alone() const { return size == 1; }
  bool on_one_machine() const { return size == local_size; }
};

// `variable`: the value of an environment variable, if it has one. Without WORLD_SIZE, or with 1, there is one process
// whatever the others say. Errors: usage, naming the variable.
RankEnvironment rank_environment(const std::function<std::optional<std::string>(const char* name)>& variable);
RankEnvironment rank_environment();  // of this process

}  // namespace streamline
