// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/resources.h"
#include "streamline/base/version.h"
#include "streamline/report/report.h"

namespace streamline {

Json run_record(const std::vector<std::string>& command, std::uint64_t seed) {
  return {{"command", command}, {"version", program_version()}, {"date", utc_now()}, {"seed", seed}};
}

}  // namespace streamline
