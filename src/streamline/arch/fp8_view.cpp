// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/fp8_view.h"

#include <algorithm>
#include <array>

#include "streamline/base/error.h"

namespace streamline {
namespace {

constexpr std::array<std::string_view, 2> kFactors = {"_scale_inv", "_scale"};  // behind "….weight"
constexpr std::array<std::string_view, 9> kScales = {".weight_scale_inv", ".weight_scale", ".input_scale",
                                                     ".input_scale_ub",   ".k_scale",      ".v_scale",
                                                     ".q_scale",          ".output_scale", ".activation_scale"};

struct Block {
  std::int64_t rows = 0, columns = 0;
};

bool is_float8(DType dtype) { return dtype == DType::f8_e4m3 || dtype == DType::f8_e5m2; }

const TensorInfo* find_factors(const Checkpoint& checkpoint, const TensorInfo& weight) {
  for (const std::string_view suffix : kFactors)
    if (const TensorInfo* found = checkpoint.find(weight.name + std::string(suffix))) return found;
  return nullptr;
}

// [rows, columns] of `weight_block_size` or of the compressed-tensors group with `block_structure`.
std::optional<Block> block_size(const Json& config, const std::string& where) {
  const auto described = config.find("quantization_config");
  if (described == config.end() || !described->is_object()) return std::nullopt;
  Json size = described->value("weight_block_size", Json());
  if (const auto groups = described->find("config_groups"); groups != described->end() && groups->is_object())
    for (const auto& [name, group] : groups->items())
      if (group.is_object() && group.contains("weights") && group.at("weights").is_object() && size.is_null())
        size = group.at("weights").value("block_structure", Json());
  if (size.is_null()) return std::nullopt;
  const auto is_side = [](const Json& side) {
    return side.is_number_integer() && side > Json(0) && side < Json(1 << 22);
  };
  if (!size.is_array() || size.size() != 2 || !is_side(size[0]) || !is_side(size[1]))
    fail(ErrorKind::format, where, ": 'weight_block_size' is ", size.dump().substr(0, 60),
         "; expected two positive numbers, rows and columns");
  return Block{size[0].get<std::int64_t>(), size[1].get<std::int64_t>()};
}

std::int64_t blocks_in(std::int64_t length, std::int64_t block) { return (length + block - 1) / block; }

// The block that each factor is for.
Block factor_block(const Checkpoint& checkpoint, const TensorInfo& weight, const TensorInfo& factors,
                   const std::optional<Block>& given) {
  const std::string where = checkpoint.path_of(factors);
  if (weight.shape.size() != 2)
    fail(ErrorKind::unsupported, checkpoint.path_of(weight), ": '", weight.name, "' is FP8, but no matrix");
  if (is_quantised(factors.dtype) || !is_floating(factors.dtype) || dtype_size(factors.dtype) < 2 ||
      factors.dtype == DType::c64)
    fail(ErrorKind::unsupported, where, ": '", factors.name, "' is ", dtype_name(factors.dtype),
         "; factors of F32, F16 or BF16 are supported");
  const std::int64_t rows = weight.shape[0], columns = weight.shape[1];
  const std::vector<std::int64_t>& shape = factors.shape;
  if (factors.elements() == 1) return {rows, columns};
  if (shape == std::vector{rows} || shape == std::vector<std::int64_t>{rows, 1}) return {1, columns};
  if (given && shape == std::vector{blocks_in(rows, given->rows), blocks_in(columns, given->columns)}) return *given;
  const std::string size =
      given ? "in blocks of " + std::to_string(given->rows) + " x " + std::to_string(given->columns) : "no block size";
  fail(ErrorKind::mismatch, where, ": '", factors.name, "' is ", Json(shape).dump(), "; '", weight.name, "' is ",
       Json(weight.shape).dump(), " and config.json says ", size);
}

}  // namespace

bool is_scale(std::string_view name) {
  return std::any_of(kScales.begin(), kScales.end(), [&](std::string_view scale) { return name.ends_with(scale); });
}

bool is_fp8(const Checkpoint& checkpoint) {
  bool found = false;
  for (const TensorInfo& tensor : checkpoint.tensors()) {
    if (tensor.dtype == DType::f8_e8m0) return false;
    for (const std::string_view suffix : kFactors) {
      if (!tensor.name.ends_with(".weight" + std::string(suffix))) continue;
      const auto matrix = std::string_view(tensor.name).substr(0, tensor.name.size() - suffix.size());
      const TensorInfo* weight = checkpoint.find(matrix);
      if (weight == nullptr || !is_float8(weight->dtype)) return false;
      found = true;
    }
  }
  return found;
}

std::vector<TensorInfo> with_factors(const Checkpoint& checkpoint) {
  const std::optional<Block> given = block_size(checkpoint.config(), checkpoint.config_label());
  std::vector<TensorInfo> tensors = checkpoint.tensors();
  for (TensorInfo& tensor : tensors) {
    if (!is_float8(tensor.dtype) || is_scale(tensor.name)) continue;
    const TensorInfo* factors = find_factors(checkpoint, tensor);
    if (factors == nullptr)
      fail(ErrorKind::mismatch, checkpoint.path_of(tensor), ": '", tensor.name, "' is FP8, and there is no '",
           tensor.name, "_scale_inv' or '", tensor.name, "_scale' with its factors");
    const Block block = factor_block(checkpoint, tensor, *factors, given);
    tensor.factors = factors->name;
    tensor.factor_rows = block.rows;
    tensor.factor_columns = block.columns;
  }
  return tensors;
}

std::shared_ptr<const Checkpoint> fp8_view(std::shared_ptr<const Checkpoint> checkpoint) {
  if (!checkpoint->is_safetensors() || !is_fp8(*checkpoint)) return checkpoint;
  return checkpoint->described_as(with_factors(*checkpoint));
}

}  // namespace streamline
