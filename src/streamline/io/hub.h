// SPDX-License-Identifier: Apache-2.0
// Models by name: a repository of the Hugging Face hub, found in its local cache. Nothing is ever downloaded.
#pragma once

#include <filesystem>
#include <string_view>

namespace streamline {

// Where the hub's own tools keep repositories: HF_HUB_CACHE, else HF_HOME/hub, else XDG_CACHE_HOME/huggingface/hub,
// else ~/.cache/huggingface/hub. Empty where none of these variables, nor HOME, is set.
std::filesystem::path hub_cache();

// What a user calls a model, as a path: one that exists is taken as it is; `org/name`, `org/name@revision` and
// `hf:name[@revision]` are the snapshot of that revision (a branch, a tag or a commit; `main` unless given) in the
// cache. Errors: io, naming what is missing and the command that gets it; usage for a name that no repository can have.
std::filesystem::path find_model(std::string_view name, const std::filesystem::path& cache);
std::filesystem::path find_model(std::string_view name);  // in hub_cache()

}  // namespace streamline
