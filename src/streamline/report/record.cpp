// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/resources.h"
#include "streamline/report/report.h"

namespace streamline {

std::string version() { return STREAMLINE_VERSION; }

Json run_record(const std::vector<std::string>& command, std::uint64_t seed) {
  return {{"command", command}, {"version", version()}, {"date", utc_now()}, {"seed", seed}};
}

}  // namespace streamline
