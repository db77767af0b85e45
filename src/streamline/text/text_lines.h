// SPDX-License-Identifier: Apache-2.0
// Reading text files in chunks, plain or compressed, without holding more than a chunk.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

namespace streamline {

enum class Compression { none, gzip, zstd };
Compression compression_of(const std::filesystem::path& path);  // by the name's end: .gz, .zst

// The name without .gz or .zst.
std::filesystem::path without_compression(const std::filesystem::path& path);

// Hands over the file's (decompressed) bytes in order; return false to stop. Errors: io; format for compressed data
// that is damaged or ends early.
void read_chunks(const std::filesystem::path& path, const std::function<bool(std::string_view)>& take);

// Lines without their '\n'; the last one need not have it. `number` counts from 1.
void read_lines(const std::filesystem::path& path,
                const std::function<bool(std::string_view line, std::int64_t number, std::int64_t offset)>& take);

}  // namespace streamline
