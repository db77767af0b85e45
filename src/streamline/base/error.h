// SPDX-License-Identifier: Apache-2.0
// Errors: one exception type whose message is the single line a user reads.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace streamline {

enum class ErrorKind {
  usage,        // the command line is wrong; the program exits with status 2
  io,           // the operating system refused a read or a write
  format,       // a file's bytes are not what its format promises
  mismatch,     // two things that must agree do not (config and tensors, plan and model)
  unsupported,  // understood, but not something this program can do
  resource,     // not enough memory, disk or text
  numeric,      // NaN or infinity where a number was needed
  interrupted,  // the user pressed Ctrl-C
  gate,         // the work was done, and a check said no; the program exits with status 3
  internal,     // a broken invariant of this program
};

class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message) : std::runtime_error(message), kind_(kind) {}
  ErrorKind kind() const { return kind_; }

 private:
  ErrorKind kind_;
};

// The process exit status for an error of this kind.
int exit_status(ErrorKind kind);

// Throws an Error whose message is the parts streamed one after the other:
// "where: what is there, what was expected; what to do".
template <class... Parts>
[[noreturn]] void fail(ErrorKind kind, const Parts&... parts) {
  std::ostringstream message;
  (message << ... << parts);
  throw Error(kind, message.str());
}

[[noreturn]] void fail_assertion(const char* condition, const char* file, int line);

}  // namespace streamline

// Documents what callers guarantee; a violation is a bug of this program, reported with its place.
#define SL_ASSERT(condition) \
  ((condition) ? static_cast<void>(0) : ::streamline::fail_assertion(#condition, __FILE__, __LINE__))
