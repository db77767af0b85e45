// SPDX-License-Identifier: Apache-2.0
#include "streamline/io/safetensors.h"

#include "support/core/expect.h"
#include "support/core/tensor_files.h"

namespace streamline {
namespace {

using test::filled;
using test::raw_safetensors;
using test::safetensors_file;

std::vector<TensorInfo> parse_header(const std::string& file) {
  return parse_safetensors(std::as_bytes(std::span(file)), "model.safetensors");
}

TEST(Safetensors, ReadsWhatTheHeaderSays) {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[8,20]},)"
      R"("a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"none":{"dtype":"F32","shape":[0,4],"data_offsets":[8,8]}})";
  const std::string file = raw_safetensors(header, std::string(20, 'x'));
  const std::vector<TensorInfo> tensors = parse_header(file);
  ASSERT_EQ(tensors.size(), 3u);
  EXPECT_EQ(tensors[0].name, "b");
  EXPECT_EQ(tensors[0].dtype, DType::bf16);
  EXPECT_EQ(tensors[0].shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(tensors[0].elements(), 6);
  EXPECT_EQ(tensors[0].offset, 8 + header.size() + 8);
  EXPECT_EQ(tensors[0].size, 12u);
  EXPECT_EQ(tensors[2].elements(), 0);
  EXPECT_EQ(safetensors_metadata(std::as_bytes(std::span(file)), "m"),
            (std::map<std::string, std::string>{{"format", "pt"}}));
}

TEST(Safetensors, ReadsBackItsOwnHeader) {
  const std::string file = safetensors_file(
      {filled("x", DType::f32, {3, 5}), filled("scalar", DType::f16, {}), filled("\"quoted\" \u00e9", DType::i64, {2})},
      {{"format", "pt"}, {"note", "a\nb"}});
  const std::vector<TensorInfo> tensors = parse_header(file);
  ASSERT_EQ(tensors.size(), 3u);
  EXPECT_EQ(tensors[0].offset % 8, 0u);
  EXPECT_EQ(tensors[1].elements(), 1);
  EXPECT_EQ(tensors[2].name, "\"quoted\" \u00e9");
  EXPECT_EQ(safetensors_metadata(std::as_bytes(std::span(file)), "m").at("note"), "a\nb");
}

TEST(Safetensors, AcceptsAFileWithoutTensors) { EXPECT_TRUE(parse_header(safetensors_file({})).empty()); }

struct BrokenFile {
  const char* what;
  std::string file;
  const char* message;
};

std::string one_tensor(const std::string& entry, std::size_t data_bytes) {
  return raw_safetensors("{\"w\":" + entry + "}", std::string(data_bytes, '\0'));
}

std::string two_tensors(const std::string& first, const std::string& second, std::size_t data_bytes) {
  return raw_safetensors("{\"w\":" + first + ",\"v\":" + second + "}", std::string(data_bytes, '\0'));
}

std::string f32(int begin, int end) {
  return R"({"dtype":"F32","shape":[)" + std::to_string((end - begin) / 4) + R"(],"data_offsets":[)" +
         std::to_string(begin) + "," + std::to_string(end) + "]}";
}

std::vector<BrokenFile> broken_files() {
  const std::string good = one_tensor(f32(0, 8), 8);
  return {
      {"empty", "", "0 bytes are too few"},
      {"seven bytes", "1234567", "7 bytes are too few"},
      {"header longer than the file", good.substr(0, 20), "the file has only 20"},
      {"header length of a pickle", std::string("PK\x03\x04\x14\x00\x08\x08", 8) + "....", "not a safetensors file"},
      {"header length of all ones", std::string(8, '\xff') + "{}", "not a safetensors file"},
      {"header not JSON", raw_safetensors("{\"w\":", ""), "not valid JSON"},
      {"header not UTF-8", raw_safetensors("{\"\xff\xfe\":1}", ""), "not valid JSON"},
      {"header an array", raw_safetensors("[]", ""), "not a JSON object"},
      {"empty header", raw_safetensors("", ""), "not valid JSON"},
      {"duplicate name", raw_safetensors("{\"w\":" + f32(0, 8) + ",\"w\":" + f32(0, 8) + "}", std::string(8, '\0')),
       "'w' occurs twice"},
      {"entry not an object", one_tensor("3", 0), "'w' is not described by a JSON object"},
      {"no dtype", one_tensor(R"({"shape":[2],"data_offsets":[0,8]})", 8), "'w' has no 'dtype'"},
      {"dtype a number", one_tensor(R"({"dtype":32,"shape":[2],"data_offsets":[0,8]})", 8), "'w' has no 'dtype'"},
      {"unknown dtype", one_tensor(R"({"dtype":"F4","shape":[2],"data_offsets":[0,8]})", 8), "unknown dtype \"F4\""},
      {"no shape", one_tensor(R"({"dtype":"F32","data_offsets":[0,8]})", 8), "has no array 'shape'"},
      {"negative dimension", one_tensor(R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})", 8),
       "non-negative integer"},
      {"fractional dimension", one_tensor(R"({"dtype":"F32","shape":[2.0],"data_offsets":[0,8]})", 8),
       "non-negative integer"},
      {"shape overflow", one_tensor(R"({"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]})", 8),
       "impossible shape"},
      {"overflow to zero", one_tensor(R"({"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]})", 0),
       "impossible shape"},
      {"dimension above 2^63", one_tensor(R"({"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,8]})", 8),
       "impossible shape"},
      {"no offsets", one_tensor(R"({"dtype":"F32","shape":[2]})", 8), "has no array 'data_offsets'"},
      {"three offsets", one_tensor(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8,8]})", 8), "not [begin, end]"},
      {"reversed offsets", one_tensor(R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})", 8), "not [begin, end]"},
      {"negative offset", one_tensor(R"({"dtype":"F32","shape":[2],"data_offsets":[-8,0]})", 8),
       "non-negative integer"},
      {"truncated data", one_tensor(f32(0, 8), 7),
       "ends at byte 8 of the data but the file has 7; is the download complete?"},
      {"offset above 2^63", one_tensor(R"({"dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615]})", 8),
       "ends at byte 18446744073709551615"},
      {"size against shape", one_tensor(R"({"dtype":"F32","shape":[3],"data_offsets":[0,8]})", 8),
       "occupies 8 bytes but its shape [3] in F32 needs 12"},
      {"overlap", two_tensors(f32(0, 8), f32(4, 12), 12), "'v' overlaps tensor 'w'"},
      {"two tensors of the same bytes", two_tensors(f32(0, 8), f32(0, 8), 8), "overlaps"},
      {"hole", two_tensors(f32(0, 4), f32(8, 12), 12), "'v' is preceded by a hole of 4 bytes"},
      {"hole at the start", one_tensor(f32(4, 8), 8), "'w' is preceded by a hole of 4 bytes"},
      {"bytes after the data", one_tensor(f32(0, 8), 11), "3 bytes follow the last tensor"},
  };
}

TEST(Safetensors, SaysWhatIsWrongWithEachBrokenFile) {
  for (const BrokenFile& broken : broken_files()) {
    SCOPED_TRACE(broken.what);
    EXPECT_ERROR(parse_header(broken.file), format, broken.message);
  }
}

TEST(Safetensors, RefusesMetadataThatIsNotText) {
  const std::string file = raw_safetensors(R"({"__metadata__":{"format":1}})", "");
  EXPECT_ERROR(safetensors_metadata(std::as_bytes(std::span(file)), "m"), format, "'format' that is not a string");
}

}  // namespace
}  // namespace streamline
