// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/resources.h"

#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "streamline/base/control_group.h"
#include "streamline/base/number_text.h"

namespace streamline {
namespace {

// The value of "Name:  123 kB" in a file of /proc, in bytes; 0 when absent.
std::uint64_t proc_value(const char* file, const std::string& name) {
  std::ifstream input(file);
  for (std::string line; std::getline(input, line);)
    if (line.compare(0, name.size(), name) == 0) return std::strtoull(line.c_str() + name.size(), nullptr, 10) * 1024;
  return 0;
}

// Whether this process may run on a processor, by number; where the system does not say, on all.
bool may_run_on(int processor) {
#ifdef __linux__
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (processor < CPU_SETSIZE && ::sched_getaffinity(0, sizeof allowed, &allowed) == 0)
    return CPU_ISSET(processor, &allowed);
#endif
  static_cast<void>(processor);
  return true;
}

// `full`: from which on the format would round to 1000 of a unit.
std::string scaled(double value, double full, const char* const* units, std::size_t count, const char* format) {
  std::size_t unit = 0;
  while (value >= full && unit + 1 < count) {
    value /= 1000;
    ++unit;
  }
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), unit == 0 ? "%.0f%s" : format, value, units[unit]);
  return text.data();
}

}  // namespace

std::uint64_t peak_resident_memory() { return proc_value("/proc/self/status", "VmHWM:"); }

void reset_peak_memory() { std::ofstream("/proc/self/clear_refs") << "5"; }

std::uint64_t private_memory() { return proc_value("/proc/self/status", "RssAnon:"); }

std::uint64_t available_memory() {
  const std::uint64_t machine = proc_value("/proc/meminfo", "MemAvailable:");
  return std::min(machine, group_memory_left().value_or(machine));
}

int usable_cores() {
  std::ifstream input("/proc/cpuinfo");
  std::set<std::string> cores;
  std::string package;
  int processor = 0;
  for (std::string line; std::getline(input, line);) {
    if (line.starts_with("processor")) processor = std::atoi(line.c_str() + line.find(':') + 1);
    if (line.starts_with("physical id")) package = line;
    if (line.starts_with("core id") && may_run_on(processor)) cores.insert(package + line);
  }
  int usable = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));  // this counts what may be used
  if (!cores.empty()) usable = std::min(usable, static_cast<int>(cores.size()));
  // A part of a core is left idle: threads that wait for one another all run at the pace of the one that must pause.
  if (const auto quota = group_cpu_quota()) usable = std::min(usable, std::max(1, static_cast<int>(*quota)));
  return usable;
}

std::string processor_name() {
  std::ifstream input("/proc/cpuinfo");
  for (std::string line; std::getline(input, line);)
    if (line.starts_with("model name")) return line.substr(std::min(line.size(), line.find(':') + 2));
  utsname system{};
  return ::uname(&system) == 0 ? system.machine : "";
}

std::string format_bytes(std::uint64_t bytes) {
  constexpr const char* kUnits[] = {" B", " kB", " MB", " GB", " TB"};
  return scaled(static_cast<double>(bytes), 999.95, kUnits, 5, "%.1f%s");
}

std::string format_count(double count) {
  constexpr const char* kUnits[] = {"", "K", "M", "B", "T"};
  return scaled(count, 999.5, kUnits, 5, "%.3g%s");
}

std::string format_millions(std::int64_t count) { return fixed(static_cast<double>(count) / 1e6, 2) + "M"; }

std::string format_seconds(double seconds) {
  std::array<char, 32> text{};
  const auto whole = static_cast<long long>(std::llround(seconds));
  if (seconds < 10)
    std::snprintf(text.data(), text.size(), "%.1f s", seconds);
  else if (whole < 60)
    std::snprintf(text.data(), text.size(), "%lld s", whole);
  else if (whole < 3600)
    std::snprintf(text.data(), text.size(), "%lld m %02lld s", whole / 60, whole % 60);
  else
    std::snprintf(text.data(), text.size(), "%lld h %02lld m", whole / 3600, whole / 60 % 60);
  return text.data();
}

std::string utc_now() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text.data();
}

}  // namespace streamline
