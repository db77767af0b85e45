// SPDX-License-Identifier: Apache-2.0
// What pruning methods chose, kept in `compare --out`, so that a sweep that was interrupted does not search again.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "streamline/plan/plan.h"

namespace streamline::cli {

struct KeptChoice {
  Plan plan;
  std::vector<std::string> warnings = {};
  double seconds = 0;  // that choosing took when it was done
};

// `key`: all that decides the choice, "method" among it. Nothing where `folder` is empty, has no choice with this key,
// or one that cannot be read: it is then made again.
std::optional<KeptChoice> kept_choice(const std::string& folder, const Json& key);

// Nothing happens where `folder` is empty. Errors: io where it cannot be written.
void keep_choice(const std::string& folder, const Json& key, const KeptChoice& choice);

}  // namespace streamline::cli
