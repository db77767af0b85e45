// SPDX-License-Identifier: Apache-2.0
#include "streamline/engine/placement.h"

#include <ATen/Parallel.h>

#include <array>
#include <sstream>

#include "streamline/base/error.h"
#include "streamline/base/resources.h"

namespace streamline {
namespace {

struct TypeWord {
  std::string_view word;
  torch::ScalarType type;
  bool canonical;  // what describe() says
};

constexpr std::array<TypeWord, 8> kTypeWords = {{{"float32", torch::kFloat, true},
                                                 {"fp32", torch::kFloat, false},
                                                 {"f32", torch::kFloat, false},
                                                 {"bfloat16", torch::kBFloat16, true},
                                                 {"bf16", torch::kBFloat16, false},
                                                 {"float16", torch::kHalf, true},
                                                 {"fp16", torch::kHalf, false},
                                                 {"f16", torch::kHalf, false}}};

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
  for (const TypeWord& entry : kTypeWords)
    if (entry.word == dtype) return entry.type;
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
  text << placement.device.str();
  for (const TypeWord& entry : kTypeWords)
    if (entry.canonical && entry.type == placement.dtype) text << ", " << entry.word;
  if (placement.device.is_cpu())
    text << ", " << at::get_num_threads() << (at::get_num_threads() == 1 ? " thread" : " threads");
  if (!placement.ranks.alone()) text << " in each of " << placement.ranks.size() << " ranks";
  return text.str();
}

}  // namespace streamline
