// SPDX-License-Identifier: Apache-2.0
// The first parts of a comparison's page, as markup.
#pragma once

#include <string>

#include "streamline/base/json.h"

namespace streamline::report {

// Who was held against whom, which differences are more than noise, and what the models' runs warned of. Of the whole
// record; the others take it without_repeats().
std::string comparison_header(const Json& record);
// The table of all models; columns that no model has are left out.
std::string comparison_models(const Json& record);

}  // namespace streamline::report
