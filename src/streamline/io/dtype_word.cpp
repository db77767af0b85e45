// SPDX-License-Identifier: Apache-2.0
#include "streamline/io/dtype_word.h"

namespace streamline {

std::string_view dtype_word(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return "float64";
    case DType::f32:
      return "float32";
    case DType::f16:
      return "float16";
    case DType::bf16:
      return "bfloat16";
    default:
      return dtype_name(dtype);
  }
}

}  // namespace streamline
