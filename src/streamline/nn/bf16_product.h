// SPDX-License-Identifier: Apache-2.0
// Small matrix products with sums in fp32, for kernels that lay their operands out themselves. Of bfloat16: through
// libtorch where it has them (AMX), else by AVX-512's bf16 instructions. Of fp32: by AVX-512. On other machines there
// are none.
#pragma once

#include <cstdint>

#include "streamline/base/simd.h"

namespace streamline {

// Sides of a product, in elements, and how far apart rows lie.
struct ProductShape {
  std::int64_t rows, columns, depth;          // columns in sixteens, depth in pairs
  std::int64_t a_stride, b_stride, c_stride;  // b_stride: columns between two pairs of rows of b
};

bool bf16_products_serve();
// Whether they are libtorch's.
bool bf16_products_are_library();

// c (+)= a b. a: [rows, depth]; b: pairs of rows side by side, [depth / 2][b_stride][2]; c: [rows, columns], fp32. With
// `add` to what c holds. Only where bf16_products_serve(). A thread that has multiplied calls bf16_products_done().
void bf16_product(const ProductShape& shape, const simd::Bf16* a, const simd::Bf16* b, float* c, bool add);
void bf16_products_done();

// The same of fp32: b is [depth, columns] with rows b_stride apart, of any depth. Only where float_products_serve().
bool float_products_serve();
void float_product(const ProductShape& shape, const float* a, const float* b, float* c, bool add);

}  // namespace streamline
