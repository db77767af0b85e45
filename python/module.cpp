// SPDX-License-Identifier: Apache-2.0
// The program as a Python function: words of a command line in, its JSON out. streamline/__init__.py makes keyword
// arguments of it.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "run.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"

namespace nb = nanobind;

namespace {

struct Failed {
  streamline::cli::Failure failure;
};

std::string run_released(const std::vector<std::string>& words) {
  const nb::gil_scoped_release released;
  const streamline::InterruptHandler interrupts;
  try {
    return streamline::dump_json(streamline::cli::run(words).output.json);
  } catch (...) {
    throw Failed{streamline::cli::current_failure()};
  }
}

[[noreturn]] void raise(const streamline::cli::Failure& failure) {
  using streamline::ErrorKind;
  const nb::object errors = nb::module_::import_("streamline._errors");
  const char* kind = failure.status == exit_status(ErrorKind::usage)         ? "UsageError"
                     : failure.status == exit_status(ErrorKind::gate)        ? "Refused"
                     : failure.status == exit_status(ErrorKind::interrupted) ? "Interrupted"
                                                                             : "Error";
  PyErr_SetString(errors.attr(kind).ptr(), failure.message.c_str());
  throw nb::python_error();
}

std::string run(const std::vector<std::string>& words) {
  try {
    return run_released(words);
  } catch (const Failed& failed) {
    raise(failed.failure);
  }
}

}  // namespace

NB_MODULE(_streamline, module) {
  module.def("run", &run, nb::arg("words"), "Runs one command line (words[0] is the program) and returns its JSON.");
}
