// SPDX-License-Identifier: Apache-2.0
#include "streamline/io/gguf.h"

#include "support/core/expect.h"
#include "support/core/gguf_files.h"

namespace streamline {
namespace {

using test::gguf_array;
using test::gguf_file;
using test::gguf_header;
using test::gguf_key;
using test::gguf_string;
using test::gguf_tensor;
using test::raw;

constexpr std::uint32_t kF32 = 0, kQ40 = 2, kQ6K = 14, kBF16 = 30;  // GGUF's numbers

Gguf parse(const std::string& file) { return parse_gguf(std::as_bytes(std::span(file)), "m.gguf"); }

TEST(Gguf, ReadsTensorsWithTheContiguousDimensionLast) {
  const std::string file = gguf_file({}, {gguf_tensor("a", {64, 3}, kQ40, 0), gguf_tensor("b", {5}, kF32, 128)},
                                     std::string(128 + 20, '\1'));
  const Gguf gguf = parse(file);
  ASSERT_EQ(gguf.tensors.size(), 2u);
  EXPECT_EQ(gguf.tensors[0].name, "a");
  EXPECT_EQ(gguf.tensors[0].dtype, DType::q4_0);
  EXPECT_EQ(gguf.tensors[0].shape, (std::vector<std::int64_t>{3, 64}));
  EXPECT_EQ(gguf.tensors[0].size, 3u * 2 * 18);  // 3 rows of 2 blocks of 18 bytes
  EXPECT_EQ(gguf.tensors[1].offset, file.size() - 20);
  EXPECT_EQ(gguf.tensors[1].size, 20u);
  EXPECT_EQ(gguf.data_start % 32, 0u);
}

TEST(Gguf, ReadsMetadataOfEveryType) {
  const std::string file = gguf_header(
      {gguf_key("u8", GgufType::u8) + raw<std::uint8_t>(200), gguf_key("i8", GgufType::i8) + raw<std::int8_t>(-3),
       test::u16("u16", 65535), gguf_key("i16", GgufType::i16) + raw<std::int16_t>(-300), test::u32("u32", 4000000000u),
       gguf_key("i32", GgufType::i32) + raw<std::int32_t>(-7), test::f32("f32", 0.5f), test::flag("bool", true),
       test::text("string", "a\nb"), test::texts("strings", {"x", "", "yz"}),
       gguf_key("u64", GgufType::u64) + raw<std::uint64_t>(1ull << 40),
       gguf_key("i64", GgufType::i64) + raw<std::int64_t>(-5), gguf_key("f64", GgufType::f64) + raw(0.1),
       test::numbers<std::int32_t>("i32s", GgufType::i32, {1, -2, 3}),
       test::numbers<float>("f32s", GgufType::f32, {0.25f, 2}),
       gguf_array("flags", GgufType::boolean, 2, std::string("\1\0", 2))},
      {});
  const Gguf gguf = parse(file);
  EXPECT_EQ(gguf.integer("u8"), 200);
  EXPECT_EQ(gguf.integer("i8"), -3);
  EXPECT_EQ(gguf.integer("u16"), 65535);
  EXPECT_EQ(gguf.integer("i16"), -300);
  EXPECT_EQ(gguf.integer("u32"), 4000000000);
  EXPECT_EQ(gguf.integer("i32"), -7);
  EXPECT_EQ(gguf.integer("u64"), std::int64_t{1} << 40);
  EXPECT_EQ(gguf.integer("i64"), -5);
  EXPECT_EQ(gguf.number("f32"), 0.5);
  EXPECT_EQ(gguf.number("f64"), 0.1);
  EXPECT_EQ(gguf.number("i32"), -7.0);
  EXPECT_EQ(gguf.boolean("bool"), true);
  EXPECT_EQ(gguf.string("string"), "a\nb");
  EXPECT_EQ(gguf.strings("strings"), (std::vector<std::string_view>{"x", "", "yz"}));
  EXPECT_EQ(gguf.integers("i32s"), (std::vector<std::int64_t>{1, -2, 3}));
  EXPECT_EQ(gguf.integers("u8"), (std::vector<std::int64_t>{200}));
  EXPECT_EQ(gguf.integers("flags"), (std::vector<std::int64_t>{1, 0}));
  EXPECT_EQ(gguf.numbers("f32s"), (std::vector<double>{0.25, 2}));
  EXPECT_EQ(gguf.integer("none"), std::nullopt);
}

TEST(Gguf, SaysWhichKeyHasAValueOfAnotherKind) {
  const std::string file =
      gguf_header({test::text("name", "x"), test::f32("ratio", 1), test::flag("flag", true), test::texts("list", {"a"}),
                   gguf_key("big", GgufType::u64) + raw(~std::uint64_t{0})},
                  {});
  const Gguf gguf = parse(file);
  EXPECT_ERROR(gguf.integer("name"), format, "m.gguf: 'name' is not an integer");
  EXPECT_ERROR(gguf.integer("ratio"), format, "'ratio' is not an integer");
  EXPECT_ERROR(gguf.integer("flag"), format, "'flag' is not an integer");
  EXPECT_ERROR(gguf.integer("big"), format, "'big' is not an integer below 2^63");
  EXPECT_ERROR(gguf.number("flag"), format, "'flag' is not a number");
  EXPECT_ERROR(gguf.boolean("ratio"), format, "'ratio' is not a boolean");
  EXPECT_ERROR(gguf.string("list"), format, "'list' is not a string");
  EXPECT_ERROR(gguf.integers("list"), format, "'list' is not an integer or an array of them");
  EXPECT_ERROR(gguf.numbers("name"), format, "'name' is not a number or an array of them");
  EXPECT_ERROR(gguf.strings("ratio"), format, "'ratio' is not a string or an array of them");
}

TEST(Gguf, HonoursTheAlignmentInItsMetadata) {
  const std::vector<std::string> tensors = {gguf_tensor("a", {3}, kF32, 0), gguf_tensor("b", {3}, kF32, 64)};
  const Gguf gguf = parse(gguf_file({test::u32("general.alignment", 64)}, tensors, std::string(64 + 12, '\0'), 64));
  EXPECT_EQ(gguf.alignment, 64u);
  EXPECT_EQ(gguf.tensors[1].offset - gguf.tensors[0].offset, 64u);
}

TEST(Gguf, AcceptsVersionTwoAndAFileWithoutTensors) {
  EXPECT_EQ(parse(gguf_header({}, {}, 2)).version, 2u);
  EXPECT_TRUE(parse(gguf_header({test::text("a", "b")}, {})).tensors.empty());
}

struct BrokenGguf {
  const char* what;
  std::string file;
  ErrorKind kind;
  const char* message;
};

std::string entries(std::uint64_t tensors, std::uint64_t metadata, const std::string& rest) {
  return "GGUF" + raw<std::uint32_t>(3) + raw(tensors) + raw(metadata) + rest;
}

std::string one(const std::string& tensor, std::size_t data_bytes) {
  return gguf_file({}, {tensor}, std::string(data_bytes, '\0'));
}

std::string two(const std::string& first, const std::string& second, std::size_t data_bytes) {
  return gguf_file({}, {first, second}, std::string(data_bytes, '\0'));
}

std::string nested(int levels) {
  std::string bytes;
  for (int i = 1; i < levels; ++i) bytes += raw(static_cast<std::uint32_t>(GgufType::array)) + raw<std::uint64_t>(1);
  return gguf_array("deep", GgufType::array, 1, bytes + raw<std::uint32_t>(0) + raw<std::uint64_t>(0));
}

std::vector<BrokenGguf> broken_headers() {
  constexpr ErrorKind format = ErrorKind::format, unsupported = ErrorKind::unsupported;
  return {
      {"empty", "", format, "0 bytes are too few for a GGUF file"},
      {"only the magic", "GGUF", format, "4 bytes are too few"},
      {"another magic", std::string("PK\x03\x04\x14\0\x08\0", 8), format, "does not begin with 'GGUF'"},
      {"version 1", gguf_header({}, {}, 1), unsupported, "is GGUF version 1"},
      {"version 0", gguf_header({}, {}, 0), unsupported, "is GGUF version 0; versions 2 and 3 are read"},
      {"version 4", gguf_header({}, {}, 4), unsupported, "is GGUF version 4; versions 2 and 3 are read"},
      {"big-endian", gguf_header({}, {}, 3u << 24), unsupported, "is a big-endian GGUF file"},
      {"counts cut", gguf_header({}, {}).substr(0, 12), format, "ends within the header"},
      {"more tensors than bytes", entries(~0ull, 0, ""), format, "claims 18446744073709551615 tensors"},
      {"more entries than bytes", entries(0, 1ull << 40, ""), format, "claims 1099511627776 metadata entries"},
      {"entry missing", entries(0, 1, gguf_string("abcdefgh")), format, "ends within a metadata entry"},
      {"key longer than the file", entries(0, 1, raw(~0ull) + "12345"), format, "ends within a metadata key"},
      {"empty key", gguf_header({test::u32("", 1)}, {}), format, "a metadata key is empty"},
      {"unknown value type", gguf_header({gguf_string("k") + raw<std::uint32_t>(13) + raw(0ull)}, {}), format,
       "'k' has a value of the unknown type 13"},
      {"string longer than the file", gguf_header({gguf_key("k", GgufType::string) + raw(1ull << 60)}, {}), format,
       "ends within a string of the metadata"},
      {"boolean two", gguf_header({gguf_key("k", GgufType::boolean) + "\2"}, {}), format, "'k' is the boolean 2"},
      {"number cut", entries(0, 1, gguf_key("kkk", GgufType::f64) + "1234"), format, "'kkk' has 1 values"},
      {"array longer than the file", gguf_header({gguf_array("k", GgufType::u64, 1ull << 61, "12345678")}, {}), format,
       "'k' has 2305843009213693952 values"},
      {"array of strings cut", gguf_header({gguf_array("k", GgufType::string, 3, gguf_string("a"))}, {}), format,
       "ends within a string of the metadata"},
      {"array of an unknown type", gguf_header({gguf_array("k", GgufType{99}, 1, "12345678")}, {}), format,
       "'k' has a value of the unknown type 99"},
      {"arrays without end", gguf_header({nested(6)}, {}), format, "'deep' nests arrays deeper than 4 levels"},
      {"key twice", gguf_header({test::u32("k", 1), test::u32("k", 2)}, {}), format,
       "the metadata key 'k' occurs twice"},
      {"alignment zero", gguf_header({test::u32("general.alignment", 0)}, {}), format, "not a 32-bit power of two"},
      {"alignment 24", gguf_header({test::u32("general.alignment", 24)}, {}), format, "not a 32-bit power of two"},
      {"alignment text", gguf_header({test::text("general.alignment", "32")}, {}), format, "not a 32-bit power of two"},
  };
}

std::vector<BrokenGguf> broken_tensors() {
  constexpr ErrorKind format = ErrorKind::format, unsupported = ErrorKind::unsupported;
  constexpr std::int64_t kHuge = std::int64_t{1} << 32;
  return {
      {"name missing", one(gguf_tensor("", {8}, kF32, 0), 32), format, "a tensor has no name"},
      {"five dimensions", one(gguf_tensor("w", {1, 1, 1, 1, 1}, kF32, 0), 32), format, "'w' has 5 dimensions"},
      {"negative dimension", one(gguf_tensor("w", {-8}, kF32, 0), 32), format, "'w' has the impossible shape [-8]"},
      {"shape overflow", one(gguf_tensor("w", {kHuge, kHuge}, kF32, 0), 32), format,
       "'w' has the impossible shape [4294967296, 4294967296]"},
      {"bytes overflow", one(gguf_tensor("w", {INT64_MAX}, kBF16, 0), 32), format, "has the impossible shape"},
      {"unknown type", one(gguf_tensor("w", {8}, 999, 0), 32), unsupported, "'w' has the type 999, which is not known"},
      {"removed type", one(gguf_tensor("w", {32}, 4, 0), 32), unsupported, "'w' has the type 4, which is not known"},
      {"half a block", one(gguf_tensor("w", {48, 2}, kQ40, 0), 64), format,
       "'w' has rows of 48 elements; Q4_0 stores blocks of 32"},
      {"half a super-block", one(gguf_tensor("w", {128, 2}, kQ6K, 0), 224), format,
       "'w' has rows of 128 elements; Q6_K stores blocks of 256"},
      {"not aligned", one(gguf_tensor("w", {4}, kF32, 8), 32), format,
       "'w' lies at 8, which is not a multiple of the alignment 32"},
      {"data cut", one(gguf_tensor("w", {8}, kF32, 0), 31), format,
       "'w' takes 32 bytes at 0 of the data but the file has 31; is the download complete?"},
      {"offset beyond the file", one(gguf_tensor("w", {8}, kF32, 1ull << 63), 32), format,
       "takes 32 bytes at 9223372036854775808 of the data"},
      {"no data at all", gguf_header({}, {gguf_tensor("w", {8}, kF32, 0)}), format, "but the file has 0"},
      {"no data, none needed", gguf_header({}, {gguf_tensor("w", {0}, kF32, 0)}), format, "'w' takes 0 bytes at 0"},
      {"overlap", two(gguf_tensor("w", {16}, kF32, 0), gguf_tensor("v", {8}, kF32, 32), 64), format,
       "'v' overlaps tensor 'w'"},
      {"hole", two(gguf_tensor("w", {8}, kF32, 0), gguf_tensor("v", {8}, kF32, 64), 96), format,
       "'v' is preceded by a hole of 32 bytes"},
      {"hole at the start", one(gguf_tensor("w", {8}, kF32, 32), 64), format, "'w' is preceded by a hole of 32 bytes"},
      {"name twice", two(gguf_tensor("w", {8}, kF32, 0), gguf_tensor("w", {8}, kF32, 32), 64), format,
       "tensor 'w' occurs twice"},
      {"bytes after the data", one(gguf_tensor("w", {8}, kF32, 0), 33), format, "1 bytes follow the last tensor"},
      {"description cut", entries(1, 0, gguf_tensor("w", {8}, kF32, 0).substr(0, 28)), format,
       "ends within a tensor's description"},
  };
}

void expect_refused(const BrokenGguf& broken) {
  SCOPED_TRACE(broken.what);
  try {
    parse(broken.file);
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), broken.kind) << error.what();
    EXPECT_THAT(error.what(), testing::HasSubstr(broken.message));
    EXPECT_THAT(error.what(), testing::StartsWith("m.gguf: "));
  }
}

TEST(Gguf, SaysWhatIsWrongWithEachBrokenHeader) {
  for (const BrokenGguf& broken : broken_headers()) expect_refused(broken);
}

TEST(Gguf, SaysWhatIsWrongWithEachBrokenTensor) {
  for (const BrokenGguf& broken : broken_tensors()) expect_refused(broken);
}

TEST(Gguf, RefusesAFileCutAnywhere) {
  const std::string file =
      gguf_file({test::text("a", "bcd"), test::texts("list", {"x", "yy"})},
                {gguf_tensor("w", {8}, kF32, 0), gguf_tensor("v", {32}, kQ40, 32)}, std::string(32 + 18, '\1'));
  parse(file);
  for (std::size_t size = 0; size < file.size(); ++size)
    EXPECT_THROW(parse(file.substr(0, size)), Error) << size << " of " << file.size() << " bytes";
}

// Parts of a split model, by name.
std::string part(std::uint16_t number, std::uint16_t count, std::uint32_t tensors, const std::string& tensor) {
  return gguf_file({test::u16("split.no", number), test::u16("split.count", count),
                    gguf_key("split.tensors.count", GgufType::i32) + raw(tensors)},
                   {gguf_tensor(tensor, {8}, kF32, 0)}, std::string(32, '\0'));
}

using Files = std::map<std::string, std::string>;
Files split_model() {
  return {{"m-00001-of-00002.gguf", part(0, 2, 2, "a")}, {"m-00002-of-00002.gguf", part(1, 2, 2, "b")}};
}

TEST(GgufParts, FindsAllOfThemFromAnyOne) {
  for (const char* name : {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"}) {
    const auto parts = open_gguf(*memory_files("dir", split_model()), name);
    ASSERT_EQ(parts.size(), 2u);
    EXPECT_EQ(parts[0].file, "m-00001-of-00002.gguf");
    EXPECT_EQ(parts[1].gguf.tensors.front().name, "b");
    EXPECT_EQ(parts[1].gguf.tensors.front().file, "m-00002-of-00002.gguf");
  }
}

TEST(GgufParts, OpensAFileThatIsNotSplit) {
  const std::string file = gguf_file({}, {gguf_tensor("a", {8}, kF32, 0)}, std::string(32, '\0'));
  for (const char* name : {"m.gguf", "m-00001-of-00001.gguf", "-00001-of-00002.gguf", "m-00003-of-00002.gguf"})
    EXPECT_EQ(open_gguf(*memory_files("dir", {{name, file}}), name).size(), 1u) << name;
}

TEST(GgufParts, NamesThePartThatIsMissingOrCutOrForeign) {
  const auto open = [](const Files& files) { open_gguf(*memory_files("dir", files), "m-00001-of-00002.gguf"); };
  const std::string second = "m-00002-of-00002.gguf";
  Files files = split_model();
  files.erase(second);
  EXPECT_ERROR(open(files), io, "dir/m-00002-of-00002.gguf: this part is missing; the model is split into 2");
  files[second] = part(1, 2, 2, "b").substr(0, 180);
  EXPECT_ERROR(open(files), format, "dir/m-00002-of-00002.gguf: tensor 'b' takes 32 bytes");
  files[second] = part(1, 3, 2, "b");
  EXPECT_ERROR(open(files), format, "m-00002-of-00002.gguf: says that it is part 2 of 3; its name says 2 of 2");
  files[second] = part(0, 2, 2, "b");
  EXPECT_ERROR(open(files), format, "says that it is part 1 of 2; its name says 2 of 2");
  files[second] = part(1, 2, 2, "a");
  EXPECT_ERROR(open(files), format, "tensor 'a' is in two parts");
  files = {{"m-00001-of-00002.gguf", part(0, 2, 3, "a")}, {second, part(1, 2, 3, "b")}};
  EXPECT_ERROR(open(files), format, "the 2 parts have 2 tensors; 'split.tensors.count' says 3");
}

TEST(GgufParts, SaysHowPartsAreNamedWhenTheNameDoesNotTell) {
  EXPECT_ERROR(open_gguf(*memory_files("dir", {{"m.gguf", part(0, 2, 2, "a")}}), "m.gguf"), format,
               "is one of 2 parts, which are found by their names");
}

}  // namespace
}  // namespace streamline
