// SPDX-License-Identifier: Apache-2.0
// The end of every result that is a directory: its card, what the caller adds, and the rename.
#pragma once

#include "streamline/surgery/apply.h"
#include "streamline/surgery/model_card.h"

namespace streamline {

// `facts` hold what is known of the source; what `applied`, `options` and `out` say is filled in. Errors: io.
void finish_result(OutputDirectory& directory, const std::filesystem::path& out, const Checkpoint& source,
                   const Plan& plan, const AppliedPlan& applied, const ApplyOptions& options, CardFacts facts);

}  // namespace streamline
