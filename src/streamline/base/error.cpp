// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/error.h"

namespace streamline {

int exit_status(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::usage:
      return 2;
    case ErrorKind::gate:
      return 3;
    case ErrorKind::interrupted:
      return 130;
    default:
      return 1;
  }
}

void fail_assertion(const char* condition, const char* file, int line) {
  fail(ErrorKind::internal, file, ":", line, ": internal error, please report it: ", condition);
}

}  // namespace streamline
