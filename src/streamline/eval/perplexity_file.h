// SPDX-License-Identifier: Apache-2.0
// A finished perplexity as a file, RESULTS/perplexity/TEXT-DIGEST.json, so that an evaluation goes on where it was.
#pragma once

#include <filesystem>
#include <optional>

#include "streamline/eval/divergence.h"

namespace streamline {

struct KeptPerplexity {
  Json key;  // whatever decides the figures: digests of model, text and source, windows, dtype, …
  PerplexityResult result;
  std::optional<Divergence> divergence = {};  // from the source that the key names
};

// The text's own name and the beginning of its digest: two texts of one name are two files.
std::filesystem::path perplexity_path(const std::filesystem::path& results, const EvaluationText& text);

// Replaces an older file only when it is whole; numbers come back to the last bit. Errors: io; numeric for one that is
// not finite.
void write_perplexity(const std::filesystem::path& file, const KeptPerplexity& kept);
// Errors: io; format, naming the file and what is missing.
KeptPerplexity read_perplexity(const std::filesystem::path& file);

}  // namespace streamline
