// SPDX-License-Identifier: Apache-2.0
// The sections of the report page, as markup. Each takes the whole report and is empty when its part is missing.
#pragma once

#include <string>

#include "streamline/base/json.h"

namespace streamline::report {

// "SmolLM2-135M", from the path of the source; "model" when unknown.
std::string model_name(const Json& report);
// What was trained in the layers' place: "layer"; empty where nothing was, or was refused.
std::string replacement(const Json& report);
// "Replaced layers 13..18 of 30 by one trained layer"; empty without a choice.
std::string deed(const Json& report);

std::string headline(const Json& report);
std::string notices(const Json& report);
std::string layer_strip(const Json& report);
std::string key_figures(const Json& report);
std::string models_section(const Json& report);
std::string windows_section(const Json& report);
std::string curve_section(const Json& report);
std::string norms_section(const Json& report);
std::string estimates_section(const Json& report);
std::string candidates_section(const Json& report);
std::string training_section(const Json& report);
std::string sparsity_section(const Json& report);
std::string refit_section(const Json& report);
std::string stages_section(const Json& report);
std::string provenance_section(const Json& report);

}  // namespace streamline::report
