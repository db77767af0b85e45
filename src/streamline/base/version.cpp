// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/version.h"

namespace streamline {

std::string_view program_version() { return STREAMLINE_VERSION; }

}  // namespace streamline
