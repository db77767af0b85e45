// SPDX-License-Identifier: Apache-2.0
// What the process has used and the machine has left: time, memory, cores.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace streamline {

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// Bytes. Private memory leaves out pages of mapped files (the weights).
std::uint64_t peak_resident_memory();
void reset_peak_memory();  // from here on, where the kernel allows it
std::uint64_t private_memory();
// What can still be allocated without swapping (MemAvailable, or what a control group's limit leaves if that is less).
std::uint64_t available_memory();
// Physical cores that this process may use: those of its affinity, and no more than a control group's quota pays for.
int usable_cores();
std::string processor_name();  // "AMD EPYC 9554 64-Core Processor"; where the system does not say, the architecture

std::string format_bytes(std::uint64_t bytes);    // "1.2 GB"
std::string format_count(double count);           // "6.74B", "135M"
std::string format_millions(std::int64_t count);  // "6738.42M", for figures that are compared
std::string format_seconds(double seconds);       // "1 m 05 s"
std::string utc_now();                            // ISO 8601

}  // namespace streamline
