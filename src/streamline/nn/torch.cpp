// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/torch.h"

#include <array>

#include "streamline/base/error.h"

namespace streamline {
namespace {

struct TypePair {
  DType stored;
  torch::ScalarType computed;
};

constexpr std::array<TypePair, 11> kTypes = {{{DType::f64, torch::kDouble},
                                              {DType::f32, torch::kFloat},
                                              {DType::f16, torch::kHalf},
                                              {DType::bf16, torch::kBFloat16},
                                              {DType::f8_e4m3, torch::kFloat8_e4m3fn},
                                              {DType::f8_e5m2, torch::kFloat8_e5m2},
                                              {DType::i64, torch::kLong},
                                              {DType::i32, torch::kInt},
                                              {DType::i16, torch::kShort},
                                              {DType::i8, torch::kChar},
                                              {DType::u8, torch::kByte}}};

// The first line of a libtorch message; what follows is a backtrace.
std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

torch::ScalarType scalar_type(DType dtype) {
  for (const TypePair& pair : kTypes)
    if (pair.stored == dtype) return pair.computed;
  if (dtype == DType::boolean) return torch::kBool;
  fail(ErrorKind::unsupported, "tensors of type ", dtype_name(dtype), " cannot be computed with");
}

DType stored_dtype(torch::ScalarType type) {
  for (const TypePair& pair : kTypes)
    if (pair.computed == type) return pair.stored;
  if (type == torch::kBool) return DType::boolean;
  fail(ErrorKind::unsupported, "tensors of type ", torch::toString(type), " cannot be stored");
}

void rethrow_torch_error(const c10::Error& error) {
  const std::string message = first_line(error.what_without_backtrace());
  const bool memory = message.find("memory") != std::string::npos;
  if (memory) fail(ErrorKind::resource, "not enough memory for this computation (", message, "); use smaller batches");
  fail(ErrorKind::internal, "the tensor library refused an operation: ", message);
}

}  // namespace streamline
