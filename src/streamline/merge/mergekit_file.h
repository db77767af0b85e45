// SPDX-License-Identifier: Apache-2.0
// The YAML files of mergekit (github.com/arcee-ai/mergekit), so that its users can bring theirs: `models` or `slices`,
// merged by linear, slerp, task_arithmetic, ties, dare_linear, dare_ties or passthrough.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "streamline/merge/merge_plan.h"

namespace streamline::merge {

struct MergekitFile {
  Request request;
  std::string tokenizer = {};           // the model whose tokenizer the result has; empty: the base, or the first
  std::vector<std::string> notes = {};  // what of the file says nothing to its method
};

// `open` finds a model by its name in the file. Errors: format and unsupported, naming `where` and the key; those of
// open().
MergekitFile read_mergekit(std::string_view yaml, const std::string& where,
                           const std::function<Source(const std::string& model)>& open);

}  // namespace streamline::merge
