// SPDX-License-Identifier: Apache-2.0
// What libtorch holds while some work is done.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>

#include "streamline/nn/torch.h"

namespace streamline::test {

class HeldMemory : public c10::MemoryReportingInfoBase {
 public:
  void reportMemoryUsage(void*, std::int64_t size, std::size_t, std::size_t, c10::Device) override {
    held_ += size;
    peak = std::max(peak, held_);
  }
  bool memoryProfilingEnabled() const override { return true; }
  std::int64_t peak = 0;

 private:
  std::int64_t held_ = 0;
};

// Bytes that tensors made by `work`, in this thread, held at most at any time.
inline std::int64_t peak_of(const std::function<void()>& work) {
  auto held = std::make_shared<HeldMemory>();
  const c10::DebugInfoGuard guard(c10::DebugInfoKind::PROFILER_STATE, held);
  work();
  return held->peak;
}

}  // namespace streamline::test
