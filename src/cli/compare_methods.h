// SPDX-License-Identifier: Apache-2.0
// What pruning methods make of a model: every one at every size, from one text or several, healed or not.
#pragma once

#include "compare_models.h"
#include "streamline/surgery/format.h"

namespace streamline::cli {

struct MethodViews {
  std::vector<ComparedModel> models;
  // Where several texts or draws choose: for each method and size its runs, of which "model" is an index into `models`,
  // how many cuts are distinct, and how far two of them overlap in the mean; else null.
  Json calibration = nullptr;
  std::vector<std::string> warnings = {};  // of no single model, as methods of "all" that cannot do a size, and why
  Json looked_at = nullptr;                // text_record() of the methods' text, where it is one, drawn once
};

// Whether --cache-limit says anything to one of these methods. Errors: usage for an unknown one.
bool try_many_candidates(const std::vector<std::string>& names);

// Whether methods are asked for, but no text is named for them to look at, where the one that comes with the program
// does: not where cuts would be healed on it too.
bool lacks_text_to_look_at(const CompareModelOptions& options);

// Nothing where no method is asked for. Sizes are those of what is written in that form. Errors: usage for methods
// without sizes or text; those of the methods.
MethodViews method_views(const CompareModelOptions& options, const std::shared_ptr<const OpenedModel>& source,
                         LayerForm form, std::uint64_t seed);

}  // namespace streamline::cli
