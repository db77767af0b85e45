// SPDX-License-Identifier: Apache-2.0
// The states of one token are gathered slice by slice into a block that stays in the cache and multiplied in 4 x 4
// tiles of registers, so that each is read from memory once.
#include "streamline/prune/pair_kernel.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "streamline/base/simd.h"

namespace streamline {
namespace {

constexpr std::int64_t kTile = 4;
// Elements of each state that are worked on together: with 23 states they and the sums fit the first-level cache.
constexpr std::int64_t kSlice = 256;

std::int64_t round_up(std::int64_t value, std::int64_t step) { return (value + step - 1) / step * step; }

// One 64-byte register of AVX-512, and what other machines make of it. Never passed by value.
using FloatLanes = float __attribute__((vector_size(64)));
constexpr int kLanes = 16;

SL_INLINE void load(FloatLanes& lanes, const float* from) { std::memcpy(&lanes, from, sizeof lanes); }

SL_INLINE double sum(const float* lanes) {
  double quarters[4] = {};
  for (int k = 0; k < kLanes; ++k) quarters[k % 4] += static_cast<double>(lanes[k]);
  return (quarters[0] + quarters[2]) + (quarters[1] + quarters[3]);
}

SL_INLINE void widen_row_body(const simd::Bf16* from, float* to, std::int64_t count) {
  for (std::int64_t k = 0; k < count; ++k) to[k] = simd::load(from + k);
}
SL_DISPATCH(widen_row, (const simd::Bf16* from, float* to, std::int64_t count), (from, to, count))

// rows: [padded, width], width a multiple of kLanes. sums: [tiles with i <= j, 4, 4, kLanes], added to.
SL_INLINE void add_products_body(const float* rows, std::int64_t padded, std::int64_t width, float* sums) {
  for (std::int64_t i = 0; i < padded; i += kTile) {
    for (std::int64_t j = i; j < padded; j += kTile, sums += kTile * kTile * kLanes) {
      FloatLanes tile[kTile][kTile];
      std::memcpy(tile, sums, sizeof tile);
      for (std::int64_t k = 0; k < width; k += kLanes) {
        FloatLanes a[kTile], b[kTile];
#pragma GCC unroll 4
        for (int r = 0; r < kTile; ++r) load(a[r], rows + (i + r) * width + k);
#pragma GCC unroll 4
        for (int c = 0; c < kTile; ++c) load(b[c], rows + (j + c) * width + k);
#pragma GCC unroll 4
        for (int r = 0; r < kTile; ++r) {
#pragma GCC unroll 4
          for (int c = 0; c < kTile; ++c) tile[r][c] += a[r] * b[c];
        }
      }
      std::memcpy(sums, tile, sizeof tile);
    }
  }
}
SL_DISPATCH(add_products, (const float* rows, std::int64_t padded, std::int64_t width, float* sums),
            (rows, padded, width, sums))

template <class Element>
SL_INLINE void add_distance(const Element* a, const Element* b, std::int64_t count, double& total) {
  std::int64_t k = 0;
  for (; k + kLanes <= count; k += kLanes) {
    float squares[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) {
      const float difference = simd::load(b + k + lane) - simd::load(a + k + lane);
      squares[lane] = difference * difference;
    }
    total += sum(squares);
  }
  for (; k < count; ++k) {
    const double difference = static_cast<double>(simd::load(b + k)) - static_cast<double>(simd::load(a + k));
    total += difference * difference;
  }
}

SL_INLINE void distance_f32_body(const float* a, const float* b, std::int64_t count, double& total) {
  add_distance(a, b, count, total);
}
SL_DISPATCH(distance_f32, (const float* a, const float* b, std::int64_t count, double& total), (a, b, count, total))

SL_INLINE void distance_bf16_body(const simd::Bf16* a, const simd::Bf16* b, std::int64_t count, double& total) {
  add_distance(a, b, count, total);
}
SL_DISPATCH(distance_bf16, (const simd::Bf16* a, const simd::Bf16* b, std::int64_t count, double& total),
            (a, b, count, total))

}  // namespace

PairKernel::PairKernel(std::int64_t states, std::int64_t width)
    : states_(states), padded_(round_up(states, kTile)), slice_(std::min(round_up(width, kLanes), kSlice)) {
  const std::int64_t tile_rows = padded_ / kTile;
  rows_.assign(static_cast<std::size_t>(padded_ * slice_), 0.0F);
  sums_.resize(static_cast<std::size_t>(tile_rows * (tile_rows + 1) / 2 * kTile * kTile * kLanes));
  products_.resize(static_cast<std::size_t>(padded_ * padded_));
}

void PairKernel::gather(const TokenStates& token, std::int64_t first, std::int64_t count, std::int64_t stride) {
  for (std::int64_t i = 0; i < states_; ++i) {
    float* row = rows_.data() + i * stride;
    const void* source = token.rows[static_cast<std::size_t>(i)];
    if (token.type == StateType::bf16) {
      widen_row(static_cast<const simd::Bf16*>(source) + first, row, count);
    } else {
      std::memcpy(row, static_cast<const float*>(source) + first, static_cast<std::size_t>(count) * sizeof(float));
    }
    std::fill(row + count, row + stride, 0.0F);
  }
  std::fill(rows_.begin() + states_ * stride, rows_.begin() + padded_ * stride, 0.0F);
}

void PairKernel::multiply(const TokenStates& token) {
  std::fill(sums_.begin(), sums_.end(), 0.0F);
  for (std::int64_t first = 0; first < token.width; first += slice_) {
    const std::int64_t count = std::min(slice_, token.width - first);
    const std::int64_t stride = round_up(count, kLanes);
    gather(token, first, count, stride);
    add_products(rows_.data(), padded_, stride, sums_.data());
  }
  const float* lanes = sums_.data();
  for (std::int64_t i = 0; i < padded_; i += kTile) {
    for (std::int64_t j = i; j < padded_; j += kTile) {
      for (std::int64_t k = 0; k < kTile * kTile; ++k, lanes += kLanes) {
        products_[index(i + k / kTile, j + k % kTile)] = sum(lanes);
      }
    }
  }
}

double squared_distance(const TokenStates& token, std::int64_t i, std::int64_t j) {
  const void* a = token.rows[static_cast<std::size_t>(i)];
  const void* b = token.rows[static_cast<std::size_t>(j)];
  double total = 0;
  if (token.type == StateType::f32) {
    distance_f32(static_cast<const float*>(a), static_cast<const float*>(b), token.width, total);
  } else {
    distance_bf16(static_cast<const simd::Bf16*>(a), static_cast<const simd::Bf16*>(b), token.width, total);
  }
  return total;
}

}  // namespace streamline
