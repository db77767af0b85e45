// SPDX-License-Identifier: Apache-2.0
#include "streamline/io/checkpoint_writer.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iomanip>
#include <set>
#include <sstream>

#include "streamline/base/error.h"
#include "streamline/base/log.h"

namespace streamline {
namespace {

using Shard = std::vector<const TensorSource*>;

// Filled in the given order; a tensor larger than the limit gets a shard of its own.
std::vector<Shard> split(const std::vector<TensorSource>& tensors, std::uint64_t limit) {
  std::vector<Shard> shards(1);
  std::uint64_t used = 0;
  for (const TensorSource& tensor : tensors) {
    const std::uint64_t size = tensor.header.size();
    if (!shards.back().empty() && (size > limit || used > limit - size)) {
      shards.emplace_back();
      used = 0;
    }
    shards.back().push_back(&tensor);
    used += size;
  }
  return shards;
}

std::string shard_name(std::size_t index, std::size_t count) {
  if (count == 1) return "model.safetensors";
  std::ostringstream name;
  name << std::setfill('0') << "model-" << std::setw(5) << index + 1 << "-of-" << std::setw(5) << count
       << ".safetensors";
  return name.str();
}

void write_bytes(OutputFile& file, const TensorSource& tensor) {
  const Blob blob = tensor.bytes();
  SL_ASSERT(blob.bytes.size() == tensor.header.size());
  file.write(blob.bytes);
}

void write_shard(const std::filesystem::path& path, Shard shard, const std::map<std::string, std::string>& metadata,
                 Progress& progress) {
  // Wide elements first keeps every tensor aligned to its element size, which views in other readers rely on.
  std::stable_sort(shard.begin(), shard.end(), [](const TensorSource* a, const TensorSource* b) {
    return dtype_size(a->header.dtype) > dtype_size(b->header.dtype);
  });
  std::vector<TensorHeader> headers;
  for (const TensorSource* tensor : shard) headers.push_back(tensor->header);
  OutputFile file(path);
  file.write(safetensors_header(headers, metadata));
  for (const TensorSource* tensor : shard) {
    write_bytes(file, *tensor);
    progress.advance(static_cast<std::int64_t>(tensor->header.size()));
  }
  file.commit(Durable::with_directory);
}

void check_names(const std::vector<TensorSource>& tensors) {
  std::set<std::string_view> names;
  for (const TensorSource& tensor : tensors) SL_ASSERT(names.insert(tensor.header.name).second);
}

std::uint64_t total_size(const std::vector<TensorSource>& tensors) {
  std::uint64_t total = 0;
  for (const TensorSource& tensor : tensors) total += tensor.header.size();
  return total;
}

void write_index(OutputDirectory& out, const std::vector<Shard>& shards, std::uint64_t total) {
  std::map<std::string, std::string> weight_map;  // sorted by tensor, as other writers do
  for (std::size_t i = 0; i < shards.size(); ++i)
    for (const TensorSource* tensor : shards[i]) weight_map[tensor->header.name] = shard_name(i, shards.size());
  const Json index = {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
  out.write("model.safetensors.index.json", dump_json(index));
}

struct Unit {
  std::string_view name;
  double bytes;
};
constexpr Unit kUnits[] = {{"", 1},       {"B", 1},        {"K", 1e3},      {"KB", 1e3},    {"M", 1e6},
                           {"MB", 1e6},   {"G", 1e9},      {"GB", 1e9},     {"T", 1e12},    {"TB", 1e12},
                           {"KIB", 1024}, {"MIB", 0x1p20}, {"GIB", 0x1p30}, {"TIB", 0x1p40}};

}  // namespace

void write_tensors(OutputDirectory& out, const std::vector<TensorSource>& tensors, const ShardOptions& options) {
  check_names(tensors);
  std::map<std::string, std::string> metadata = options.metadata;
  metadata["format"] = "pt";
  const std::vector<Shard> shards = split(tensors, options.max_shard_size);
  const std::uint64_t total = total_size(tensors);
  Progress progress("writing weights", static_cast<std::int64_t>(total), "bytes");
  for (std::size_t i = 0; i < shards.size(); ++i)
    write_shard(out.staging() / shard_name(i, shards.size()), shards[i], metadata, progress);
  if (shards.size() > 1) write_index(out, shards, total);
}

std::uint64_t parse_size(const std::string& text) {
  const auto refuse = [&]() {
    fail(ErrorKind::usage, "'", text, "' is not a size; expected a positive number with an optional unit, as in 5GB, ",
         "500MB or 1.5GiB");
  };
  std::size_t digits = 0;
  while (digits < text.size() && (std::isdigit(static_cast<unsigned char>(text[digits])) || text[digits] == '.'))
    ++digits;
  std::string unit = text.substr(digits);
  std::transform(unit.begin(), unit.end(), unit.begin(), [](unsigned char c) { return std::toupper(c); });
  const auto known = std::find_if(std::begin(kUnits), std::end(kUnits), [&](const Unit& u) { return u.name == unit; });
  char* end = nullptr;
  const std::string number = text.substr(0, digits);
  const double value = std::strtod(number.c_str(), &end);
  if (number.empty() || *end != '\0' || known == std::end(kUnits)) refuse();
  const double bytes = std::floor(value * known->bytes);
  if (!(bytes >= 1 && bytes < 0x1p63)) refuse();
  return static_cast<std::uint64_t>(bytes);
}

}  // namespace streamline
