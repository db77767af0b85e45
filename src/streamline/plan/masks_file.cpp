// SPDX-License-Identifier: Apache-2.0
#include "streamline/plan/masks_file.h"

#include <map>

#include "streamline/base/digest.h"
#include "streamline/base/error.h"
#include "streamline/base/json.h"
#include "streamline/base/json_fields.h"
#include "streamline/io/safetensors.h"

namespace streamline {
namespace {

constexpr const char* kMasksFormat = "streamline-masks";
constexpr const char* kMasksVersion = "1";

Mask mask_from_json(const std::string& tensor, const Json& json, const std::string& file) {
  const std::string where = file + ": '" + tensor + "'";
  if (!json.is_object()) fail(ErrorKind::format, where, " is not described by a JSON object");
  for (const auto& [key, value] : json.items())
    if (key != "layer" && key != "shape") fail(ErrorKind::format, where, ": unknown key '", key, "'");
  return {.tensor = tensor,
          .layer = required(json_integer(json, "layer", where), "layer", where),
          .shape = json_list<std::int64_t>(json, "shape", &Json::is_number_integer, where)};
}

// What the metadata says of each tensor, by name.
std::map<std::string, Mask> described_masks(std::span<const std::byte> bytes, const std::string& file) {
  std::map<std::string, std::string> metadata = safetensors_metadata(bytes, file);
  if (metadata["format"] != kMasksFormat)
    fail(ErrorKind::format, file, ": 'format' is not '", kMasksFormat, "'; these are no masks of a plan");
  if (metadata["version"] != kMasksVersion)
    fail(ErrorKind::format, file, ": masks of version '", metadata["version"], "'; this program reads version ",
         kMasksVersion);
  const std::string where = file + ": tensors";
  const Json tensors = parse_json(metadata["tensors"], where);
  if (!tensors.is_object()) fail(ErrorKind::format, where, " is not a JSON object");
  std::map<std::string, Mask> masks;
  for (const auto& [tensor, json] : tensors.items()) masks[tensor] = mask_from_json(tensor, json, file);
  return masks;
}

}  // namespace

std::uint64_t bytes_of_mask(const Mask& mask, const std::string& where) {
  std::uint64_t elements = 1;
  for (const std::int64_t size : mask.shape)
    if (size < 1 || __builtin_mul_overflow(elements, static_cast<std::uint64_t>(size), &elements) ||
        elements > static_cast<std::uint64_t>(INT64_MAX))
      fail(ErrorKind::format, where, ": '", mask.tensor, "': no tensor has the shape ", Json(mask.shape).dump());
  return (elements + 7) / 8;
}

MasksFile::MasksFile(const Blob& file, std::string name)
    : MasksFile(file, std::move(name), streamline::sha256(file.bytes)) {}

MasksFile::MasksFile(Blob file, std::string name, std::string digest)
    : file_(std::move(file)), name_(std::move(name)), sha256_(std::move(digest)) {
  std::map<std::string, Mask> described = described_masks(file_.bytes, name_);
  for (const TensorInfo& tensor : parse_safetensors(file_.bytes, name_)) {
    const auto found = described.find(tensor.name);
    if (found == described.end())
      fail(ErrorKind::format, name_, ": '", tensor.name, "' has no layer and shape among the metadata's 'tensors'");
    const std::uint64_t bytes = bytes_of_mask(found->second, name_);
    if (tensor.dtype != DType::u8 || tensor.size != bytes)
      fail(ErrorKind::format, name_, ": '", tensor.name, "' has ", tensor.size, " bytes of ", dtype_name(tensor.dtype),
           "; a mask of the shape ", Json(found->second.shape).dump(), " has ", bytes, " of U8");
    masks_.push_back(std::move(found->second));
    bits_.push_back(file_.bytes.subspan(tensor.offset, tensor.size));
    described.erase(found);
  }
  if (!described.empty()) fail(ErrorKind::format, name_, ": no tensor named '", described.begin()->first, "'");
}

MasksFile MasksFile::open(const std::filesystem::path& path, const std::string& sha256) {
  std::error_code error;
  if (!std::filesystem::exists(path, error) && !error)
    fail(ErrorKind::io, path.string(), ": the plan's masks are not there; they lie beside the plan, copy them with it");
  Blob file = map_file(path);
  const std::string digest = streamline::sha256(file.bytes);
  if (digest != sha256)
    fail(ErrorKind::mismatch, path.string(), ": these are not the plan's masks (sha256 ", digest, ", the plan says ",
         sha256, "); make both anew with `sparsify --plan-only`");
  return {std::move(file), path.string(), digest};
}

std::string write_masks(const std::filesystem::path& path, const std::vector<MaskSource>& masks) {
  std::map<std::string, Json> tensors;
  std::vector<TensorHeader> headers;
  for (const auto& [mask, bits] : masks) {
    tensors[mask.tensor] = {{"layer", mask.layer}, {"shape", mask.shape}};
    headers.push_back({mask.tensor, DType::u8, {static_cast<std::int64_t>(bytes_of_mask(mask, path.string()))}});
  }
  OutputFile file(path);
  Sha256 digest;
  const auto write = [&](std::span<const std::byte> bytes) {
    digest.update(bytes);
    file.write(bytes);
  };
  const std::string header = safetensors_header(
      headers, {{"format", kMasksFormat}, {"version", kMasksVersion}, {"tensors", Json(tensors).dump()}});
  write(std::as_bytes(std::span(header)));
  for (const auto& [mask, bits] : masks) {
    const Blob blob = bits();
    SL_ASSERT(blob.bytes.size() == bytes_of_mask(mask, path.string()));
    write(blob.bytes);
  }
  file.commit();
  return digest.hex();
}

std::filesystem::path masks_beside(const std::filesystem::path& plan) {
  std::filesystem::path masks = plan;
  if (masks.extension() == ".json") masks.replace_extension();
  return masks += ".masks.safetensors";
}

}  // namespace streamline
