// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/nf4.h"

#include <array>

namespace streamline {
namespace {

constexpr std::int64_t kBlock = 64;
// Quantiles of a standard normal distribution, scaled to [-1, 1], zero among them (appendix E).
constexpr std::array<float, 16> kValues = {-1.0F,
                                           -0.6961928009986877F,
                                           -0.5250730514526367F,
                                           -0.39491748809814453F,
                                           -0.28444138169288635F,
                                           -0.18477343022823334F,
                                           -0.09105003625154495F,
                                           0.0F,
                                           0.07958029955625534F,
                                           0.16093020141124725F,
                                           0.24611230194568634F,
                                           0.33791524171829224F,
                                           0.44070982933044434F,
                                           0.5626170039176941F,
                                           0.7229568362236023F,
                                           1.0F};

torch::Tensor values_on(torch::Device device) {
  return torch::tensor(at::ArrayRef<float>(kValues.data(), kValues.size()), torch::kFloat32).to(device);
}

// What each byte of codes stands for: two values, [256, 2].
torch::Tensor pairs_on(torch::Device device) {
  const auto values = values_on(device);
  return torch::stack({values.repeat_interleave(16), values.repeat({16})}, 1);
}

}  // namespace

Nf4Matrix quantise_nf4(const torch::Tensor& matrix) {
  const torch::NoGradGuard no_grad;
  auto elements = matrix.to(torch::kFloat32).reshape({-1});
  const std::int64_t missing = (kBlock - elements.numel() % kBlock) % kBlock;
  if (missing > 0) elements = torch::cat({elements, elements.new_zeros({missing})});
  const auto blocks = elements.view({-1, kBlock});
  const auto largest = blocks.abs().amax(-1);
  const auto scaled = blocks / largest.clamp_min(1e-38).unsqueeze(-1);
  const auto values = values_on(matrix.device());
  const auto between = (values.narrow(0, 0, 15) + values.narrow(0, 1, 15)) / 2;
  const auto codes = torch::bucketize(scaled, between, /*out_int32=*/true).to(torch::kUInt8).view({-1, 2});
  return {.codes = codes.select(1, 0) * 16 + codes.select(1, 1), .largest = largest, .shape = matrix.sizes().vec()};
}

torch::Tensor dequantise(const Nf4Matrix& matrix, torch::ScalarType dtype) {
  const torch::NoGradGuard no_grad;
  const auto scaled =
      pairs_on(matrix.codes.device()).index_select(0, matrix.codes.to(torch::kInt32)).view({-1, kBlock});
  const auto elements = (scaled * matrix.largest.unsqueeze(-1)).reshape({-1});
  std::int64_t count = 1;
  for (const std::int64_t size : matrix.shape) count *= size;
  return elements.narrow(0, 0, count).view(matrix.shape).to(dtype);
}

}  // namespace streamline
