// SPDX-License-Identifier: Apache-2.0
#include "streamline/text/text_lines.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "streamline/base/error.h"
#include "streamline/base/file.h"

namespace streamline {
namespace {

using Take = std::function<bool(std::string_view)>;

constexpr std::size_t kChunk = 1 << 18;

[[noreturn]] void fail_damaged(const std::filesystem::path& path, const char* format, std::string_view reason) {
  fail(ErrorKind::format, path.string(), ": the ", format, " data is damaged: ", reason);
}

[[noreturn]] void fail_short(const std::filesystem::path& path, const char* format) {
  fail(ErrorKind::format, path.string(), ": the ", format, " data ends early; is the download complete?");
}

struct Inflater {
  z_stream stream{};
  Inflater() {
    constexpr int kGzipOrZlib = 15 + 32;  // the largest window, header detected
    if (inflateInit2(&stream, kGzipOrZlib) != Z_OK) fail(ErrorKind::resource, "zlib: not enough memory");
  }
  ~Inflater() { inflateEnd(&stream); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
};

void read_gzip(const std::filesystem::path& path, std::span<const std::byte> bytes, const Take& take) {
  Inflater inflater;
  z_stream& stream = inflater.stream;
  std::vector<char> buffer(kChunk);
  std::size_t used = 0;
  bool inside = true;  // a member; a file may have several
  while (used < bytes.size() || inside) {
    const std::size_t share = std::min<std::size_t>(bytes.size() - used, kChunk);
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(bytes.data() + used));
    stream.avail_in = static_cast<uInt>(share);
    stream.next_out = reinterpret_cast<Bytef*>(buffer.data());
    stream.avail_out = static_cast<uInt>(buffer.size());
    const int status = inflate(&stream, Z_NO_FLUSH);
    const std::size_t consumed = share - stream.avail_in, produced = buffer.size() - stream.avail_out;
    used += consumed;
    if (status != Z_OK && status != Z_STREAM_END && status != Z_BUF_ERROR)
      fail_damaged(path, "gzip", stream.msg == nullptr ? "not gzip" : stream.msg);
    if (produced > 0 && !take({buffer.data(), produced})) return;
    inside = status != Z_STREAM_END;
    if (!inside) inflateReset(&stream);
    if (inside && consumed == 0 && produced == 0) fail_short(path, "gzip");
  }
}

void read_zstd(const std::filesystem::path& path, std::span<const std::byte> bytes, const Take& take) {
  const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(ZSTD_createDCtx(), ZSTD_freeDCtx);
  if (context == nullptr) fail(ErrorKind::resource, "zstd: not enough memory");
  std::vector<char> buffer(kChunk);
  ZSTD_inBuffer in{bytes.data(), bytes.size(), 0};
  std::size_t expected = 1;  // 0 between frames
  while (in.pos < in.size || expected != 0) {
    ZSTD_outBuffer out{buffer.data(), buffer.size(), 0};
    const std::size_t before = in.pos;
    expected = ZSTD_decompressStream(context.get(), &out, &in);
    if (ZSTD_isError(expected)) fail_damaged(path, "zstd", ZSTD_getErrorName(expected));
    if (out.pos > 0 && !take({buffer.data(), out.pos})) return;
    if (expected != 0 && out.pos == 0 && in.pos == before) fail_short(path, "zstd");
  }
}

void read_plain(std::span<const std::byte> bytes, const Take& take) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  for (std::size_t at = 0; at < text.size(); at += kChunk)
    if (!take(text.substr(at, kChunk))) return;
}

}  // namespace

Compression compression_of(const std::filesystem::path& path) {
  const auto end = path.extension();
  return end == ".gz" ? Compression::gzip : end == ".zst" ? Compression::zstd : Compression::none;
}

std::filesystem::path without_compression(const std::filesystem::path& path) {
  return compression_of(path) == Compression::none ? path : path.parent_path() / path.stem();
}

void read_chunks(const std::filesystem::path& path, const Take& take) {
  const Blob blob = map_file(path);
  switch (compression_of(path)) {
    case Compression::gzip:
      return read_gzip(path, blob.bytes, take);
    case Compression::zstd:
      return read_zstd(path, blob.bytes, take);
    case Compression::none:
      return read_plain(blob.bytes, take);
  }
}

void read_lines(const std::filesystem::path& path,
                const std::function<bool(std::string_view, std::int64_t, std::int64_t)>& take) {
  std::string line;  // begun in an earlier chunk
  std::int64_t number = 1, offset = 0;
  bool stopped = false;
  read_chunks(path, [&](std::string_view chunk) {
    for (std::size_t end; (end = chunk.find('\n')) != chunk.npos; chunk.remove_prefix(end + 1)) {
      line += chunk.substr(0, end);
      if (!take(line, number, offset)) return !(stopped = true);
      offset += static_cast<std::int64_t>(line.size()) + 1;
      ++number;
      line.clear();
    }
    line += chunk;
    return true;
  });
  if (!stopped && !line.empty()) take(line, number, offset);
}

}  // namespace streamline
