// SPDX-License-Identifier: Apache-2.0
#include "streamline/arch/gguf_slice.h"

#include "streamline/io/gguf_writer.h"
#include "support/core/expect.h"

namespace streamline {
namespace {

// A model of six layers with every kind of entry.
GgufFields six_layers() {
  GgufFields fields;
  fields.string("general.architecture", "arch");
  fields.string("general.name", "Six");
  fields.u32("split.count", 2);
  fields.u32("arch.block_count", 6);
  fields.u32("arch.leading_dense_block_count", 2);
  fields.u32("arch.attention.head_count", 8);
  fields.i32s("arch.attention.head_count_kv", std::vector<std::int32_t>{1, 2, 4, 8, 1, 2});
  fields.f32s("arch.swiglu_clamp_exp", std::vector<float>{0, 1, 2, 3, 4, 5});
  fields.booleans("arch.attention.sliding_window_pattern", {true, true, false, true, true, false});
  fields.i32s("arch.rope.dimension_sections", std::vector<std::int32_t>{1, 2, 3, 4, 5, 6});
  fields.i32s("arch.other", std::vector<std::int32_t>{1, 2, 3});
  fields.i32s("other.six", std::vector<std::int32_t>{1, 2, 3, 4, 5, 6});
  fields.strings("arch.words", std::vector<std::string>{"a", "b", "c", "d", "e", "f"});
  return fields;
}

struct Sliced {
  std::string file;
  Gguf gguf;
  std::vector<std::string> notes;
};

Sliced sliced(const GgufFields& fields, const std::vector<std::int64_t>& layers) {
  const std::string before = gguf_header(fields, {});
  Sliced result;
  const GgufFields after =
      sliced_gguf_metadata(parse_gguf(std::as_bytes(std::span(before)), "six.gguf"), layers, result.notes);
  result.file = gguf_header(after, {});
  result.gguf = parse_gguf(std::as_bytes(std::span(result.file)), "sliced.gguf");
  return result;
}

TEST(GgufSlice, CutsWhatHasAValueALayer) {
  const Sliced result = sliced(six_layers(), {0, 2, 5});
  const Gguf& gguf = result.gguf;
  EXPECT_EQ(gguf.integer("arch.block_count"), 3);
  EXPECT_EQ(gguf.integers("arch.attention.head_count_kv"), (std::vector<std::int64_t>{1, 4, 2}));
  EXPECT_EQ(gguf.numbers("arch.swiglu_clamp_exp"), (std::vector<double>{0, 2, 5}));
  EXPECT_EQ(gguf.integers("arch.attention.sliding_window_pattern"), (std::vector<std::int64_t>{1, 0, 0}));
  ASSERT_EQ(result.notes.size(), 3u);
  EXPECT_EQ(result.notes[0], "arch.attention.head_count_kv has a value a layer and was cut with the layers");
}

TEST(GgufSlice, KeepsEverythingElse) {
  const Sliced result = sliced(six_layers(), {0, 2, 5});
  const Gguf& gguf = result.gguf;
  EXPECT_EQ(gguf.string("general.name"), "Six");
  EXPECT_EQ(gguf.integer("arch.attention.head_count"), 8);
  EXPECT_EQ(gguf.integers("arch.rope.dimension_sections")->size(), 6u);
  EXPECT_EQ(gguf.integers("arch.other")->size(), 3u);
  EXPECT_EQ(gguf.integers("other.six")->size(), 6u);
  EXPECT_EQ(gguf.strings("arch.words")->size(), 6u);
  EXPECT_EQ(gguf.find("split.count"), nullptr);
}

TEST(GgufSlice, CountsTheLeadingLayersThatStay) {
  EXPECT_EQ(sliced(six_layers(), {0, 1, 2, 3}).gguf.integer("arch.leading_dense_block_count"), 2);
  EXPECT_EQ(sliced(six_layers(), {1, 2, 3, 4}).gguf.integer("arch.leading_dense_block_count"), 1);
  EXPECT_EQ(sliced(six_layers(), {3, 4}).gguf.integer("arch.leading_dense_block_count"), 0);
}

TEST(GgufSlice, TakesAReplacedLayersValuesTwice) {
  EXPECT_EQ(sliced(six_layers(), {0, 1, 1, 5}).gguf.integers("arch.attention.head_count_kv"),
            (std::vector<std::int64_t>{1, 2, 2, 2}));
}

TEST(GgufSlice, RefusesLayersCountedFromTheEnd) {
  GgufFields fields = six_layers();
  fields.u32("arch.nextn_predict_layers", 1);
  EXPECT_ERROR(sliced(fields, {0, 1, 2}), unsupported,
               "six.gguf: 'arch.nextn_predict_layers' counts layers from the end");
  EXPECT_EQ(sliced(fields, {0, 1, 2, 3, 4, 5}).gguf.integer("arch.nextn_predict_layers"), 1);
  fields.u32("arch.nextn_predict_layers", 0);
  EXPECT_EQ(sliced(fields, {0}).gguf.integer("arch.block_count"), 1);
}

TEST(GgufSlice, NeedsToKnowTheDepth) {
  GgufFields fields = six_layers();
  fields.remove("arch.block_count");
  EXPECT_ERROR(sliced(fields, {0}), format, "six.gguf: has no 'arch.block_count'");
  fields.remove("general.architecture");
  EXPECT_ERROR(sliced(fields, {0}), format, "six.gguf: has no 'general.architecture'");
}

}  // namespace
}  // namespace streamline
