// SPDX-License-Identifier: Apache-2.0
// Any bytes as plan.json: an Error, or a plan that survives being written and read again.
#include <cstdlib>

#include "streamline/base/error.h"
#include "streamline/plan/plan.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace streamline;
  try {
    const Plan plan = plan_from_json(parse_json({reinterpret_cast<const char*>(data), size}, "plan"), "plan");
    const Json json = to_json(plan);
    const Plan again = plan_from_json(parse_json(dump_json(json), "again"), "again");
    if (lower(again).size() != lower(plan).size()) std::abort();
    summary(plan);
  } catch (const Error&) {
  }
  return 0;
}
