// SPDX-License-Identifier: Apache-2.0
#include "streamline/io/gguf_writer.h"

#include "streamline/io/gguf_cursor.h"
#include "support/core/expect.h"
#include "support/core/temporary_directory.h"

namespace streamline {
namespace {

GgufTensor tensor(const std::string& name, DType dtype, std::vector<std::int64_t> shape, const std::string& bytes) {
  return {.name = name, .dtype = dtype, .shape = std::move(shape), .write = [bytes](const ByteSink& sink) {
            const auto all = std::as_bytes(std::span(bytes));  // in two pieces, as a large one would come
            sink(all.first(all.size() / 2));
            sink(all.subspan(all.size() / 2));
          }};
}

GgufFields some_fields() {
  GgufFields fields;
  fields.string("general.architecture", "llama");
  fields.u32("llama.block_count", 7);
  fields.i32("a.negative", -3);
  fields.f32("a.number", 0.25);
  fields.boolean("a.flag", true);
  fields.strings("a.words", std::vector<std::string>{"one", "", "drei"});
  fields.i32s("a.types", std::vector<std::int32_t>{1, -2, 3, 4});
  fields.f32s("a.scores", std::vector<float>{0.5f, -1});
  fields.booleans("a.pattern", {true, false, true});
  fields.strings("a.nothing", {});
  return fields;
}

Gguf written(const test::TemporaryDirectory& directory, const GgufFields& fields,
             const std::vector<GgufTensor>& tensors, Blob& blob) {
  const std::filesystem::path path = directory.path() / "out.gguf";
  OutputFile file(path);
  write_gguf(file, fields, tensors);
  file.commit();
  blob = map_file(path);
  return parse_gguf(blob.bytes, "out.gguf");
}

TEST(GgufWriter, WritesWhatTheReaderReads) {
  const test::TemporaryDirectory directory;
  Blob blob;
  const std::string norm(12, '\1'), matrix(2 * 34, '\2');
  const Gguf gguf = written(directory, some_fields(),
                            {tensor("output_norm.weight", DType::f32, {3}, norm),
                             tensor("blk.0.attn_q.weight", DType::q8_0, {2, 32}, matrix)},
                            blob);
  EXPECT_EQ(gguf.version, 3u);
  EXPECT_EQ(gguf.metadata.size(), 9u);
  EXPECT_EQ(gguf.string("general.architecture"), "llama");
  EXPECT_EQ(gguf.integer("llama.block_count"), 7);
  EXPECT_EQ(gguf.integer("a.negative"), -3);
  EXPECT_EQ(gguf.number("a.number"), 0.25);
  EXPECT_EQ(gguf.boolean("a.flag"), true);
  EXPECT_EQ(gguf.strings("a.words"), (std::vector<std::string_view>{"one", "", "drei"}));
  EXPECT_EQ(gguf.integers("a.types"), (std::vector<std::int64_t>{1, -2, 3, 4}));
  EXPECT_EQ(gguf.numbers("a.scores"), (std::vector<double>{0.5, -1}));
  EXPECT_EQ(gguf.integers("a.pattern"), (std::vector<std::int64_t>{1, 0, 1}));
  ASSERT_EQ(gguf.tensors.size(), 2u);
  EXPECT_EQ(gguf.tensors[1].name, "blk.0.attn_q.weight");
  EXPECT_EQ(gguf.tensors[1].shape, (std::vector<std::int64_t>{2, 32}));
  EXPECT_EQ(gguf.tensors[1].dtype, DType::q8_0);
  EXPECT_EQ(gguf.tensors[1].offset % 32, 0u);
  const auto bytes = blob.bytes.subspan(gguf.tensors[1].offset, gguf.tensors[1].size);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()), matrix);
}

TEST(GgufWriter, KeepsTheAlignmentOfItsFields) {
  const test::TemporaryDirectory directory;
  GgufFields fields = some_fields();
  fields.u32("general.alignment", 128);
  Blob blob;
  const Gguf gguf =
      written(directory, fields, {tensor("a", DType::f32, {1}, "1234"), tensor("b", DType::f32, {1}, "5678")}, blob);
  EXPECT_EQ(gguf.alignment, 128u);
  EXPECT_EQ(gguf.tensors[1].offset - gguf.tensors[0].offset, 128u);
  EXPECT_EQ(blob.bytes.size() % 128, 0u);
}

TEST(GgufFields, ReplaceInPlaceAndSlice) {
  const std::string file = gguf_header(some_fields(), {});
  const Gguf gguf = parse_gguf(std::as_bytes(std::span(file)), "in memory");
  GgufFields fields;
  for (const GgufEntry& entry : gguf.metadata) fields.copy(entry);
  const std::vector<std::int64_t> kept = {0, 2};
  fields.copy_some(*gguf.find("a.types"), kept);
  fields.copy_some(*gguf.find("a.pattern"), kept);
  fields.copy_with(*gguf.find("llama.block_count"), 2);
  fields.remove("a.words");
  const std::string again = gguf_header(fields, {});
  const Gguf changed = parse_gguf(std::as_bytes(std::span(again)), "in memory");
  EXPECT_EQ(changed.metadata.size(), 8u);
  EXPECT_EQ(changed.metadata[1].key, "llama.block_count");
  EXPECT_EQ(changed.integer("llama.block_count"), 2);
  EXPECT_EQ(changed.metadata[1].type, GgufType::u32);
  EXPECT_EQ(changed.integers("a.types"), (std::vector<std::int64_t>{1, 3}));
  EXPECT_EQ(changed.integers("a.pattern"), (std::vector<std::int64_t>{1, 1}));
  EXPECT_EQ(changed.find("a.words"), nullptr);
}

}  // namespace
}  // namespace streamline
