// SPDX-License-Identifier: Apache-2.0
// Loops that the compiler vectorises: number conversions, exp, and one body compiled for several instruction sets, of
// which the best that the machine has is chosen once. (Chosen by hand rather than with target_clones, whose resolvers
// run before AddressSanitizer is ready.)
#pragma once

#include <bit>
#include <cstdint>

#if defined(__x86_64__) && defined(__GNUC__)
#define SL_X86_VARIANTS 1
#define SL_X86_V4 __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,bmi2")))
#define SL_X86_V3 __attribute__((target("avx2,fma,bmi2")))
#else
#define SL_X86_VARIANTS 0
#endif

#define SL_INLINE [[gnu::always_inline]] inline

namespace streamline::simd {

enum class Level { plain, v3, v4 };  // of x86-64

inline Level level() {
#if SL_X86_VARIANTS
  static const Level found = [] {
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Level::plain;
    const bool v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                    __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    return v4 ? Level::v4 : Level::v3;
  }();
  return found;
#else
  return Level::plain;
#endif
}

// bfloat16 as its bits.
using Bf16 = std::uint16_t;

SL_INLINE float load(const float* x) { return *x; }
SL_INLINE float load(const Bf16* x) { return std::bit_cast<float>(static_cast<std::uint32_t>(*x) << 16); }

SL_INLINE void store(float* x, float value) { *x = value; }
// Rounds to the nearest, ties to even; a NaN stays one.
SL_INLINE void store(Bf16* x, float value) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  *x = static_cast<Bf16>(value != value ? 0x7fc0u : rounded);
}

// e^x to 2e-7 relative: 2^n times a polynomial on [-ln 2 / 2, ln 2 / 2] (Cephes' coefficients). Below -87 it gives
// what -87 gives (1.6e-38), above 88 what 88 gives.
SL_INLINE float exp(float x) {
  x = x < -87.0f ? -87.0f : x;
  x = x > 88.0f ? 88.0f : x;
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer in the low bits
  const float shifted = x * 1.44269504f + kShift;
  const float n = shifted - kShift;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const std::uint32_t power = (std::bit_cast<std::uint32_t>(shifted) + 127u) << 23;
  return p * std::bit_cast<float>(power);
}

// For 0 <= value < infinity: rounds to the nearest, ties up; three instructions fewer than store().
SL_INLINE void store_positive(Bf16* x, float value) {
  *x = static_cast<Bf16>((std::bit_cast<std::uint32_t>(value) + 0x8000u) >> 16);
}

// 2^x for x <= 0: `polynomial` gives 2^f for f in [-1/2, 1/2]; 0 below -127.
template <class Polynomial>
SL_INLINE float power_of_two(float x, Polynomial&& polynomial) {
  constexpr float kShift = 12582912.0f;
  x = x < -150 ? -150 : x;  // below -1e7 the shift holds no more
  const float shifted = x + kShift;
  const float p = polynomial(x - (shifted - kShift));
  // Not a branch on x: the compiler would vectorise both sides of it.
  const auto n =
      static_cast<std::int32_t>(std::bit_cast<std::uint32_t>(shifted) - std::bit_cast<std::uint32_t>(kShift));
  const std::int32_t exponent = n + 127 > 0 ? n + 127 : 0;
  return p * std::bit_cast<float>(static_cast<std::uint32_t>(exponent) << 23);
}

// To 3e-6 relative, which is far below what bfloat16 keeps. Least squares in relative error, iterated to minimax.
SL_INLINE float exp2_coarse(float x) {
  return power_of_two(x, [](float f) {
    float p = 9.570091425e-3f;
    p = p * f + 5.591786763e-2f;
    p = p * f + 0.2402474516f;
    p = p * f + 0.6931218139f;
    return p * f + 0.9999992613f;
  });
}

// To 2e-7 relative (Cephes' coefficients).
SL_INLINE float exp2(float x) {
  return power_of_two(x, [](float f) {
    float p = 1.535336188e-4f;
    p = p * f + 1.339887440e-3f;
    p = p * f + 9.618437358e-3f;
    p = p * f + 5.550332471e-2f;
    p = p * f + 0.2402264791f;
    p = p * f + 0.6931472029f;
    return p * f + 1.0f;
  });
}

// To 4e-7 relative: an odd polynomial near zero (Cephes' coefficients), elsewhere from e^(-2|x|).
SL_INLINE float tanh(float x) {
  const float magnitude = x < 0 ? -x : x, square = x * x;
  float p = -5.70498872745e-3f;
  p = p * square + 2.06390887954e-2f;
  p = p * square - 5.37397155531e-2f;
  p = p * square + 1.33314422036e-1f;
  p = p * square - 3.33332819422e-1f;
  const float near = p * square * x + x;
  const float power = exp2(magnitude * -2.88539008f), far = (1.0f - power) / (1.0f + power);
  return magnitude < 0.625f ? near : x < 0 ? -far : far;
}

// Sum and maximum of lanes, by halves: a chain of additions would cost more than the loop before it.
template <int kLanes>
SL_INLINE float sum(float (&lanes)[kLanes]) {
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  return lanes[0];
}
template <int kLanes>
SL_INLINE float largest(float (&lanes)[kLanes]) {
  for (int width = kLanes / 2; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) lanes[i] = lanes[i] > lanes[i + width] ? lanes[i] : lanes[i + width];
  return lanes[0];
}

}  // namespace streamline::simd

// Defines `void name parameters`, which runs `name_body arguments` compiled for the machine at hand.
#if SL_X86_VARIANTS
#define SL_DISPATCH(name, parameters, arguments)                            \
  SL_X86_V4 void name##_v4 parameters { name##_body arguments; }            \
  SL_X86_V3 void name##_v3 parameters { name##_body arguments; }            \
  void name parameters {                                                    \
    const ::streamline::simd::Level level = ::streamline::simd::level();    \
    if (level == ::streamline::simd::Level::v4) return name##_v4 arguments; \
    if (level == ::streamline::simd::Level::v3) return name##_v3 arguments; \
    name##_body arguments;                                                  \
  }
#else
#define SL_DISPATCH(name, parameters, arguments) \
  void name parameters { name##_body arguments; }
#endif
