// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>

#include "streamline/base/error.h"
#include "streamline/base/resources.h"

namespace streamline {
namespace {

// Set by a signal handler, which can reach nothing but a variable of static storage.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
std::atomic<bool> interrupted{false};
// Not the same flag: a signal that comes after it must not count as the second one, which ends the process at once.
// NOLINTNEXTLINE(cppcoreguidelines-avoid-non-const-global-variables)
std::atomic<bool> ended{false};

spdlog::logger& logger() {
  static const std::shared_ptr<spdlog::logger> instance = [] {
    auto created =
        std::make_shared<spdlog::logger>("streamline", std::make_shared<spdlog::sinks::stderr_color_sink_mt>());
    created->set_pattern("%v");
    return created;
  }();
  return *instance;
}

bool on_terminal() { return ::isatty(STDERR_FILENO) != 0; }

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

constexpr double kSecondsBeforeFirst = 2;
constexpr double kSecondsBetweenRewrites = 0.2;
constexpr double kSecondsBetweenLines = 15;

}  // namespace

void set_log_level(LogLevel level) {
  logger().set_level(level == LogLevel::none     ? spdlog::level::off
                     : level == LogLevel::quiet  ? spdlog::level::warn
                     : level == LogLevel::normal ? spdlog::level::info
                                                 : spdlog::level::debug);
}

void log_info(std::string_view message) { logger().info("{}", message); }
void log_warning(std::string_view message) { logger().warn("warning: {}", message); }
void log_detail(std::string_view message) { logger().debug("{}", message); }

Progress::Progress(std::string label, std::int64_t total, std::string unit)
    : label_(std::move(label)), unit_(std::move(unit)), total_(total), started_(now()), printed_(started_) {}

Progress::~Progress() {
  if (visible_ && on_terminal()) std::fputs("\r\033[K", stderr);
}

void Progress::advance(std::int64_t by, std::string_view note) {
  check_interrupted();
  done_ += by;
  if (label_.empty() || !logger().should_log(spdlog::level::info)) return;
  const double time = now();
  const double pause = on_terminal() ? kSecondsBetweenRewrites : kSecondsBetweenLines;
  if (time - started_ < kSecondsBeforeFirst || time - printed_ < pause) return;
  printed_ = time;
  print(time - started_, note);
}

void Progress::print(double elapsed, std::string_view note) {
  const double rate = static_cast<double>(done_) / elapsed;
  const double left = rate > 0 ? static_cast<double>(std::max<std::int64_t>(total_ - done_, 0)) / rate : 0;
  // Ranks that take pieces in turn count those of all, of which the last may lack some.
  const std::int64_t percent = total_ > 0 ? std::min<std::int64_t>(done_ * 100 / total_, 100) : 0;
  const std::string pace = rate >= 1 || rate <= 0 ? format_count(rate) + " " + unit_ + "/s"
                                                  : format_seconds(1 / rate) + " for each of the " + unit_;
  const std::string line = label_ + ": " + std::to_string(percent) + "%, " + pace + ", " + format_seconds(left) +
                           " left" + (note.empty() ? "" : ", " + std::string(note));
  visible_ = true;
  std::fprintf(stderr, on_terminal() ? "\r\033[K%s" : "%s\n", line.c_str());
  std::fflush(stderr);
}

struct InterruptHandler::Saved {
  struct sigaction interrupt {
  }, terminate{}, file_size{};
};

InterruptHandler::InterruptHandler() : saved_(std::make_unique<Saved>()) {
  struct sigaction ignore {};
  ignore.sa_handler = SIG_IGN;
  struct sigaction action {};
  action.sa_handler = [](int) {
    if (interrupted.exchange(true)) ::_exit(130);
  };
  ::sigaction(SIGXFSZ, &ignore, &saved_->file_size);
  ::sigaction(SIGINT, &action, &saved_->interrupt);
  ::sigaction(SIGTERM, &action, &saved_->terminate);
}

InterruptHandler::~InterruptHandler() {
  ::sigaction(SIGXFSZ, &saved_->file_size, nullptr);
  ::sigaction(SIGINT, &saved_->interrupt, nullptr);
  ::sigaction(SIGTERM, &saved_->terminate, nullptr);
  interrupted = false;
  ended = false;
}

void end_work() { ended = true; }

void check_interrupted() {
  if (interrupted.load(std::memory_order_relaxed) || ended.load(std::memory_order_relaxed))
    fail(ErrorKind::interrupted, "interrupted; nothing is left half written");
}

}  // namespace streamline
