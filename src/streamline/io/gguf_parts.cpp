// SPDX-License-Identifier: Apache-2.0
// Models split over files named name-00001-of-0000N.gguf: each is a GGUF file with its share of the tensors, and says
// which part it is ("split.no", from 0), of how many ("split.count"), with how many tensors ("split.tensors.count").
#include <algorithm>
#include <charconv>

#include "streamline/base/error.h"
#include "streamline/io/gguf.h"

namespace streamline {
namespace {

constexpr std::string_view kSuffix = ".gguf";
constexpr std::size_t kDigits = 5;
constexpr std::string_view kOf = "-of-";

struct PartName {
  std::string stem;  // before "-00001-of-00003.gguf"
  std::int64_t number = 1, count = 1;
};

std::int64_t parse_digits(std::string_view text) {
  std::int64_t value = -1;
  const bool digits = std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (digits) std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::optional<PartName> parse_part_name(std::string_view name) {
  constexpr std::size_t kTail = 1 + kDigits + kOf.size() + kDigits;  // "-00001-of-00003"
  if (!name.ends_with(kSuffix)) return std::nullopt;
  name.remove_suffix(kSuffix.size());
  if (name.size() <= kTail) return std::nullopt;
  const std::string_view tail = name.substr(name.size() - kTail);
  if (tail[0] != '-' || tail.substr(1 + kDigits, kOf.size()) != kOf) return std::nullopt;
  const std::int64_t number = parse_digits(tail.substr(1, kDigits)), count = parse_digits(tail.substr(kTail - kDigits));
  if (number < 1 || count < number) return std::nullopt;
  return PartName{std::string(name.substr(0, name.size() - kTail)), number, count};
}

std::string five_digits(std::int64_t value) {
  const std::string text = std::to_string(value);
  return std::string(kDigits - std::min(kDigits, text.size()), '0') + text;
}

std::string part_name(const PartName& name, std::int64_t number) {
  return name.stem + "-" + five_digits(number) + std::string(kOf) + five_digits(name.count) + std::string(kSuffix);
}

GgufPart open_part(const FileSet& files, const std::string& name) {
  GgufPart part{name, files.open(name), {}};
  part.gguf = parse_gguf(part.blob.bytes, files.label() + "/" + name);
  for (TensorInfo& tensor : part.gguf.tensors) tensor.file = name;
  return part;
}

void check_part(const GgufPart& part, const PartName& name, std::int64_t number) {
  const std::int64_t stored_number = part.gguf.integer("split.no").value_or(0) + 1;
  const std::int64_t stored_count = part.gguf.integer("split.count").value_or(1);
  if (stored_number != number || stored_count != name.count)
    fail(ErrorKind::format, part.gguf.where, ": says that it is part ", stored_number, " of ", stored_count,
         "; its name says ", number, " of ", name.count);
}

void check_tensors(const std::vector<GgufPart>& parts) {
  std::vector<const TensorInfo*> tensors;
  for (const GgufPart& part : parts)
    for (const TensorInfo& tensor : part.gguf.tensors) tensors.push_back(&tensor);
  const std::string& where = parts.front().gguf.where;
  const auto promised = parts.front().gguf.integer("split.tensors.count");
  if (promised && *promised != static_cast<std::int64_t>(tensors.size()))
    fail(ErrorKind::format, where, ": the ", parts.size(), " parts have ", tensors.size(), " tensors; ",
         "'split.tensors.count' says ", *promised);
  std::sort(tensors.begin(), tensors.end(), [](const TensorInfo* a, const TensorInfo* b) { return a->name < b->name; });
  const auto twice = std::adjacent_find(tensors.begin(), tensors.end(),
                                        [](const TensorInfo* a, const TensorInfo* b) { return a->name == b->name; });
  if (twice != tensors.end())
    fail(ErrorKind::format, where, ": tensor '", (*twice)->name, "' is in two parts, '", (*twice)->file, "' and '",
         (*(twice + 1))->file, "'");
}

}  // namespace

std::string find_gguf(const FileSet& files) {
  std::string found;
  for (const std::string& name : files.names()) {
    if (!name.ends_with(kSuffix)) continue;
    const std::optional<PartName> split = parse_part_name(name);
    if (split && split->number > 1) continue;
    if (!found.empty())
      fail(ErrorKind::usage, files.label(), ": has several GGUF models, '", found, "' and '", name,
           "'; name the file instead of the directory");
    found = name;
  }
  return found;
}

std::vector<GgufPart> open_gguf(const FileSet& files, const std::string& name) {
  const std::optional<PartName> split = parse_part_name(name);
  std::vector<GgufPart> parts;
  if (!split || split->count == 1) {
    parts.push_back(open_part(files, name));
    const std::int64_t count = parts.front().gguf.integer("split.count").value_or(1);
    if (count > 1)
      fail(ErrorKind::format, parts.front().gguf.where, ": is one of ", count,
           " parts, which are found by their names; expected a name like 'model-00001-of-", five_digits(count),
           ".gguf'");
    return parts;
  }
  for (std::int64_t number = 1; number <= split->count; ++number) {
    const std::string file = part_name(*split, number);
    if (!files.contains(file))
      fail(ErrorKind::io, files.label(), "/", file, ": this part is missing; the model is split into ", split->count);
    parts.push_back(open_part(files, file));
    check_part(parts.back(), *split, number);
  }
  check_tensors(parts);
  return parts;
}

}  // namespace streamline
