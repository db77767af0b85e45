// SPDX-License-Identifier: Apache-2.0
#include "streamline/base/resources.h"

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

namespace streamline {
namespace {

// The value of "Name:  123 kB" in a file of /proc, in bytes; 0 when absent.
std::uint64_t proc_value(const char* file, const std::string& name) {
  std::ifstream input(file);
  for (std::string line; std::getline(input, line);)
    if (line.compare(0, name.size(), name) == 0) return std::strtoull(line.c_str() + name.size(), nullptr, 10) * 1024;
  return 0;
}

// A number in a file of the control group; nothing for "max" or where there is none.
std::uint64_t number_in(const char* file) {
  std::ifstream input(file);
  std::uint64_t value = 0;
  return input >> value ? value : 0;
}

std::string scaled(double value, double base, const char* const* units, std::size_t count, const char* format) {
  std::size_t unit = 0;
  while (value >= base && unit + 1 < count) {
    value /= base;
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
  const std::uint64_t limit = number_in("/sys/fs/cgroup/memory.max");
  const std::uint64_t used = number_in("/sys/fs/cgroup/memory.current");
  return limit > used ? std::min(machine, limit - used) : machine;
}

int physical_cores() {
  std::ifstream input("/proc/cpuinfo");
  std::set<std::string> cores;
  std::string package;
  for (std::string line; std::getline(input, line);) {
    if (line.starts_with("physical id")) package = line;
    if (line.starts_with("core id")) cores.insert(package + line);
  }
  const int logical = std::max(1U, std::thread::hardware_concurrency());
  return cores.empty() ? logical : std::min<int>(logical, static_cast<int>(cores.size()));
}

std::string format_bytes(std::uint64_t bytes) {
  constexpr const char* kUnits[] = {" B", " kB", " MB", " GB", " TB"};
  return scaled(static_cast<double>(bytes), 1000, kUnits, 5, "%.1f%s");
}

std::string format_count(double count) {
  constexpr const char* kUnits[] = {"", "K", "M", "B", "T"};
  return scaled(count, 1000, kUnits, 5, "%.3g%s");
}

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
