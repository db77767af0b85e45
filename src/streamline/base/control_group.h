// SPDX-License-Identifier: Apache-2.0
// What the control groups that hold this process (cgroups of either version: containers, services, batch jobs) leave it
// of the machine.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

namespace streamline {

// Bytes that may still be allocated before a group reaches its limit; files in its page cache count as free, because
// the kernel takes them back. Nothing where no limit is set. `root`: where /proc and /sys are looked for.
std::optional<std::uint64_t> group_memory_left(const std::filesystem::path& root = "/");

// Cores' worth of time that a quota grants, the smallest of all groups, e.g. 1.5. Nothing where no quota is set.
std::optional<double> group_cpu_quota(const std::filesystem::path& root = "/");

}  // namespace streamline
