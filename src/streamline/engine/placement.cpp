// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/placement.h"

#include <ATen/Parallel.h>

#include <array>
#include <sstream>

#include "streamline/base/error.h"
#include "streamline/base/number_text.h"
#include "streamline/base/resources.h"
#include "streamline/nn/type_name.h"

namespace streamline {
namespace {

constexpr std::array<torch::ScalarType, 3> kComputed = {torch::kFloat, torch::kBFloat16, torch::kHalf};

bool cpu_has_bf16_products() {
#if defined(__x86_64__) && defined(__GNUC__)
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx512bf16");
#else
  return false;
#endif
}

torch::Device parse_device(const std::string& device) {
  if (device == "auto") return torch::cuda::is_available() ? torch::kCUDA : torch::kCPU;
  if (device == "cpu") return torch::kCPU;
  const bool numbered = device.rfind("cuda:", 0) == 0 && device.size() > 5 && device.size() < 8 &&
                        device.find_first_not_of("0123456789", 5) == std::string::npos;
  if (device != "cuda" && !numbered)
    fail(ErrorKind::usage, "device '", device, "' is not known; use auto, cpu, cuda or cuda:N");
  if (!torch::cuda::is_available())
    fail(ErrorKind::usage, "device '", device,
         "' was asked for, but this PyTorch finds no CUDA device; use --device cpu");
  const torch::Device parsed(device);
  if (parsed.has_index() && parsed.index() >= static_cast<int>(torch::cuda::device_count()))
    fail(ErrorKind::usage, "device '", device, "' was asked for, but there are only ", torch::cuda::device_count());
  return parsed;
}

torch::ScalarType parse_type(const std::string& dtype, torch::Device device) {
  if (dtype == "auto") return device.is_cuda() || cpu_has_bf16_products() ? torch::kBFloat16 : torch::kFloat;
  for (const torch::ScalarType type : kComputed)
    if (type_name(type) == dtype) return type;
  fail(ErrorKind::usage, "dtype '", dtype, "' is not known; use auto, float32, bfloat16 or float16");
}

}  // namespace

Placement resolve_placement(const std::string& device, const std::string& dtype) {
  const torch::Device where = parse_device(device);
  return {.device = where, .dtype = parse_type(dtype, where), .ranks = {}};
}

void set_threads(int threads, int processes) {
  at::set_num_threads(threads > 0 ? threads : std::max(1, usable_cores() / processes));
}

std::string describe(const Placement& placement) {
  std::ostringstream text;
  text << placement.device.str() << ", " << type_name(placement.dtype);
  if (placement.device.is_cpu()) text << ", " << counted(at::get_num_threads(), "thread");
  if (!placement.ranks.alone()) text << " in each of " << placement.ranks.size() << " ranks";
  return text.str();
}

}  // namespace streamline
