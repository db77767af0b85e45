// SPDX-License-Identifier: Apache-2.0
// What every result has beside its tensors: a target that is safe to write, and a record of where it comes from.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "streamline/base/file.h"
#include "streamline/base/json.h"
#include "streamline/io/checkpoint.h"
#include "streamline/plan/plan.h"

namespace streamline {

// Errors: usage where the target is the source, or one lies inside the other. With a source of files in memory there is
// nothing to run into.
void check_target(const Checkpoint& source, const std::filesystem::path& out);

// Running out of disk after minutes of writing is worse than hearing it first. Errors: resource.
void check_space(const OutputDirectory& out, std::uint64_t bytes, const std::filesystem::path& target);

// The plan with the digest of the source where it has none, and its name where it has none or a path.
Plan completed_plan(const Checkpoint& source, Plan plan);

// What a reader can learn from a weights file or config.json alone; a function of the plan, so that applying it again
// gives the same bytes.
Json provenance_of(const Plan& plan);
// The same as metadata of a weights file.
std::map<std::string, std::string> metadata_of(const Json& provenance);

// README.md of the source; empty when it has none.
std::string source_card(const Checkpoint& source);

// "org/name" for a snapshot in the local hub cache (…/models--org--name/snapshots/…), else the directory's name.
std::string model_name(const std::string& label);

// The name of a directory or file.
std::string base_name(const std::string& label);

}  // namespace streamline
