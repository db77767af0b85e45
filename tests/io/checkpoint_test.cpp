// SPDX-License-Identifier: Apache-2.0
#include "streamline/io/checkpoint.h"

#include <limits>

#include "support/core/expect.h"
#include "support/core/tensor_files.h"

namespace streamline {
namespace {

using test::filled;
using test::safetensors_file;
using Files = std::map<std::string, std::string>;

std::shared_ptr<const Checkpoint> open(Files files) { return Checkpoint::open(memory_files("ckpt", std::move(files))); }

Files single(const std::vector<test::TestTensor>& tensors) {
  return {{"config.json", R"({"model_type":"llama"})"}, {"model.safetensors", safetensors_file(tensors)}};
}

Files sharded() {
  return {
      {"config.json", "{}"},
      {"a.safetensors", safetensors_file({filled("w", DType::f32, {2}, 1)})},
      {"b.safetensors", safetensors_file({filled("v", DType::bf16, {3}, 2), filled("u", DType::f16, {4}, 3)})},
      {"model.safetensors.index.json",
       R"({"metadata":{"total_size":0},"weight_map":{"w":"a.safetensors","v":"b.safetensors","u":"b.safetensors"}})"}};
}

Files with(Files files, const std::string& name, const std::string& contents) {
  files[name] = contents;
  return files;
}

Files without(Files files, const std::string& name) {
  files.erase(name);
  return files;
}

Files with_index(const std::string& index) { return with(sharded(), "model.safetensors.index.json", index); }

TEST(Checkpoint, ViewsTheTensorsOfASingleFile) {
  const auto checkpoint = open(single({filled("b", DType::f32, {2}, 5), filled("a", DType::bf16, {1, 2}, -1)}));
  ASSERT_EQ(checkpoint->tensors().size(), 2u);
  EXPECT_EQ(checkpoint->tensors()[0].name, "a");
  EXPECT_EQ(load_float(DType::f32, checkpoint->bytes(checkpoint->at("b")).data() + 4), 5);
  EXPECT_EQ(load_float(DType::bf16, checkpoint->bytes(checkpoint->at("a")).data()), -1);
  EXPECT_EQ(checkpoint->find("c"), nullptr);
  EXPECT_ERROR(checkpoint->at("c"), mismatch, "ckpt: no tensor named 'c'");
  EXPECT_EQ(checkpoint->total_bytes(), 12u);
  EXPECT_EQ(checkpoint->config().at("model_type"), "llama");
}

TEST(Checkpoint, ReadsShardsThroughTheIndex) {
  const auto checkpoint = open(with(sharded(), "golden.safetensors", "not looked at"));
  ASSERT_EQ(checkpoint->tensors().size(), 3u);
  EXPECT_EQ(checkpoint->at("u").file, "b.safetensors");
  EXPECT_EQ(load_float(DType::f16, checkpoint->bytes(checkpoint->at("u")).data() + 6), 3);
  EXPECT_EQ(load_float(DType::f32, checkpoint->bytes(checkpoint->at("w")).data()), 1);
}

TEST(Checkpoint, IgnoresOtherTensorFilesBesideModelSafetensors) {
  const auto checkpoint = open(with(single({filled("w", DType::f32, {2})}), "adapter.safetensors", "?"));
  EXPECT_EQ(checkpoint->tensors().size(), 1u);
}

// A tensor is what was given last, whatever was in its place.
TEST(Checkpoint, ExtendedTwiceHasTheLastTensors) {
  const auto source = open(single({filled("v", DType::f32, {2}, 1), filled("w", DType::f32, {2}, 2)}));
  auto checkpoint = source;
  for (const float value : {3.0f, 4.0f}) {
    const auto values = std::make_shared<const std::vector<float>>(2, value);
    const TensorInfo info{.name = "w", .dtype = DType::f32, .shape = {2}, .file = {}};
    checkpoint =
        checkpoint->extended(Json::object(), {{info, {.bytes = std::as_bytes(std::span(*values)), .owner = values}}});
    EXPECT_EQ(load_float(DType::f32, checkpoint->bytes(checkpoint->at("w")).data()), value);
  }
  EXPECT_EQ(load_float(DType::f32, checkpoint->bytes(checkpoint->at("v")).data()), 1);
  EXPECT_EQ(checkpoint->tensors().size(), 2u);
  EXPECT_EQ(checkpoint->digest(), source->digest());
}

struct BrokenDirectory {
  const char* what;
  Files files;
  ErrorKind kind;
  const char* message;
};

std::vector<BrokenDirectory> broken_checkpoints() {
  const std::string shard_w = safetensors_file({filled("w", DType::f32, {2})});
  return {
      {"nothing", {}, ErrorKind::io, "ckpt/config.json: no such file"},
      {"no weights", {{"config.json", "{}"}}, ErrorKind::io, "ckpt/model.safetensors: no such file, and no index"},
      {"config not JSON", with(sharded(), "config.json", "{"), ErrorKind::format, "ckpt/config.json: not valid JSON"},
      {"config a list", with(sharded(), "config.json", "[]"), ErrorKind::format, "ckpt/config.json: not a JSON object"},
      {"config key twice", with(sharded(), "config.json", R"({"a":1,"a":2})"), ErrorKind::format, "occurs twice"},
      {"pickles only", {{"config.json", "{}"}, {"pytorch_model.bin", ""}}, ErrorKind::unsupported, "save_pretrained"},
      {"several files, no index", without(sharded(), "model.safetensors.index.json"), ErrorKind::format,
       "has 'a.safetensors', 'b.safetensors' but neither 'model.safetensors' nor an index"},
      {"both", with(sharded(), "model.safetensors", shard_w), ErrorKind::format, "remove the stale one"},
      {"shard missing", without(sharded(), "b.safetensors"), ErrorKind::io,
       "ckpt/b.safetensors: this shard is missing"},
      {"shard broken", with(sharded(), "b.safetensors", "123"), ErrorKind::format, "ckpt/b.safetensors: 3 bytes"},
      {"index not JSON", with_index("?"), ErrorKind::format, "index.json: not valid JSON"},
      {"index without map", with_index("{}"), ErrorKind::format, "expected an object 'weight_map'"},
      {"index with an empty map", with_index(R"({"weight_map":{}})"), ErrorKind::format,
       "expected an object 'weight_map'"},
      {"shard a number", with_index(R"({"weight_map":{"w":1}})"), ErrorKind::format,
       "the shard of 'w' is not a file name"},
      {"shard above", with_index(R"({"weight_map":{"w":"../a.safetensors"}})"), ErrorKind::format,
       R"("../a.safetensors" leaves the directory)"},
      {"shard absolute", with_index(R"({"weight_map":{"w":"/etc/passwd"}})"), ErrorKind::format,
       "leaves the directory"},
      {"shard with back-slash", with_index(R"({"weight_map":{"w":"..\\a"}})"), ErrorKind::format,
       "leaves the directory"},
      {"shard ..", with_index(R"({"weight_map":{"w":".."}})"), ErrorKind::format, "leaves the directory"},
      {"shard with NUL", with_index("{\"weight_map\":{\"w\":\"a\\u0000\"}}"), ErrorKind::format,
       "leaves the directory"},
      {"shard unnamed", with_index(R"({"weight_map":{"w":""}})"), ErrorKind::format, "leaves the directory"},
      {"index names a tensor that is not there",
       with_index(R"({"weight_map":{"w":"a.safetensors","x":"a.safetensors"}})"), ErrorKind::format,
       "ckpt/a.safetensors: tensor 'x' is missing"},
      {"index names the wrong shard", with_index(R"({"weight_map":{"w":"b.safetensors","v":"a.safetensors"}})"),
       ErrorKind::format, "is missing; 'model.safetensors.index.json' says"},
      {"tensor twice", with(sharded(), "b.safetensors", shard_w), ErrorKind::format, "'w' is in two shards"},
      {"index key twice", with_index(R"({"weight_map":{"w":"a.safetensors","w":"b.safetensors"}})"), ErrorKind::format,
       "'w' occurs twice"},
  };
}

TEST(Checkpoint, SaysWhatIsWrongWithEachBrokenDirectory) {
  for (const BrokenDirectory& broken : broken_checkpoints()) {
    SCOPED_TRACE(broken.what);
    try {
      open(broken.files);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), broken.kind) << error.what();
      EXPECT_THAT(error.what(), ::testing::HasSubstr(broken.message));
    }
  }
}

TEST(Checkpoint, DigestFollowsContentsAndNotTheSplitIntoShards) {
  const auto whole = [](float value) {
    return open(single({filled("u", DType::f16, {4}, 3), filled("v", DType::bf16, {3}, 2),
                        filled("w", DType::f32, {2}, value)}))
        ->digest();
  };
  EXPECT_EQ(whole(1), open(sharded())->digest());
  EXPECT_NE(whole(1), whole(2));
  EXPECT_NE(open(single({filled("w", DType::f32, {2, 1})}))->digest(),
            open(single({filled("w", DType::f32, {2})}))->digest());
}

// Every type, with the bad element at the start, inside and at the very end of tensors longer than one block of the
// scan.
TEST(CheckFinite, FindsTheFirstBadElementAndNamesItsTensor) {
  const float bad[] = {std::numeric_limits<float>::infinity(), -std::numeric_limits<float>::infinity()};
  for (const DType dtype : {DType::f32, DType::bf16})
    for (const std::int64_t at : {0, 1500, 2999}) {
      test::TestTensor tensor = filled("layer.w", dtype, {3000}, 3.0e38f);
      tensor.data.replace(static_cast<std::size_t>(at) * dtype_size(dtype), dtype_size(dtype),
                          test::element(dtype, bad[at % 2]));
      const auto checkpoint = open(single({filled("fine", dtype, {10}), tensor}));
      EXPECT_ERROR(
          check_finite(*checkpoint), numeric,
          "ckpt/model.safetensors: tensor 'layer.w' holds NaN or infinity (element " + std::to_string(at) + ")");
    }
}

TEST(CheckFinite, KnowsHalfPrecisionNaN) {
  test::TestTensor tensor = filled("h", DType::f16, {5});
  tensor.data.replace(8, 2, std::string("\x01\x7e", 2));
  EXPECT_ERROR(check_finite(*open(single({tensor}))), numeric, "'h' holds NaN or infinity (element 4)");
  tensor.data.replace(8, 2, std::string("\xff\x7b", 2));  // 65504, the largest number
  EXPECT_NO_THROW(check_finite(*open(single({tensor}))));
}

TEST(CheckFinite, AcceptsIntegersOfAnyBits) {
  test::TestTensor tensor = filled("ids", DType::i64, {2});
  tensor.data.assign(16, '\xff');
  EXPECT_NO_THROW(check_finite(*open(single({tensor}))));
}

TEST(Checkpoint, OpensEveryReferenceCheckpoint) {
  REQUIRE_SHARED("golden/mistral");
  for (const char* family : {"llama2", "llama3", "mistral", "qwen2", "qwen3", "opt"}) {
    SCOPED_TRACE(family);
    const auto checkpoint = Checkpoint::open(test::shared_folder() / "golden" / family);
    EXPECT_GT(checkpoint->tensors().size(), 30u);
    EXPECT_NO_THROW(check_finite(*checkpoint));
  }
}

}  // namespace
}  // namespace streamline
