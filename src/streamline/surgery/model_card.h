// SPDX-License-Identifier: Apache-2.0
// The README.md of a result: front matter that model hubs read, and the recipe for people.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "streamline/base/json.h"
#include "streamline/plan/plan.h"

namespace streamline {

struct CardFacts {
  std::string name = {};         // of the result
  std::string source_card = {};  // README.md of the source; empty when it has none
  std::int64_t layers_before = 0, layers_after = 0;
  std::int64_t parameters_before = 0, parameters_after = 0;  // 0: not known
  std::string format = "ordinary";                           // AppliedPlan::format
  bool converts = true;                                      // AppliedPlan::converts
  std::vector<std::string> notes = {};                       // how it is stored and who loads it
  bool repeatable = true;                                    // by the plan that lies inside
  bool multimodal = false;                                   // there are parts beside the text model
  Json provenance = Json::object();
  std::vector<std::string> base_models = {};  // that it was merged from; none: that of the plan
  std::string body = {};                      // Markdown; empty: made from the plan
  std::string pipeline = {};                  // what it does; empty: what the source does
  std::vector<std::string> tags = {};         // none: those of a smaller or a merged model
};

// Licence, language, pipeline tag and gating notes are inherited from the source card's front matter.
std::string model_card(const Plan& plan, const CardFacts& facts);

// The top-level entry of a YAML front matter ("license: mit\n", with its indented continuation lines); empty when
// there is none.
std::string front_matter_entry(std::string_view card, std::string_view key);

}  // namespace streamline
