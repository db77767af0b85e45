// SPDX-License-Identifier: Apache-2.0
// Messages and progress on stderr. Only standard types here: spdlog stays inside log.cpp.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace streamline {

enum class LogLevel { none, quiet, normal, verbose };  // none: not even warnings
void set_log_level(LogLevel level);

void log_info(std::string_view message);
void log_warning(std::string_view message);
void log_detail(std::string_view message);  // shown with -v

// Rate and time left of work that takes longer than two seconds: one rewritten line on a terminal, a plain line now
// and then otherwise. Calls check_interrupted().
class Progress {
 public:
  Progress(std::string label, std::int64_t total, std::string unit);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void advance(std::int64_t by, std::string_view note = {});

 private:
  void print(double elapsed, std::string_view note);
  std::string label_, unit_;
  std::int64_t total_, done_ = 0;
  double started_, printed_;
  bool visible_ = false;
};

// As long as one lives, Ctrl-C and SIGTERM set a flag instead of ending the process (a second one ends it with status
// 130), and a limit on file sizes becomes an error of write(), like a full disk. Afterwards all is as it was.
class InterruptHandler {
 public:
  InterruptHandler();
  ~InterruptHandler();
  InterruptHandler(const InterruptHandler&) = delete;
  InterruptHandler& operator=(const InterruptHandler&) = delete;

 private:
  struct Saved;
  std::unique_ptr<Saved> saved_;
};
// Long loops call this; throws Error(interrupted) once the flag is set.
void check_interrupted();
// From here on it throws, as after a signal; from any thread. For work that has lost its sense, such as that of ranks
// of which one is gone.
void end_work();

}  // namespace streamline
