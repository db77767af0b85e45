// SPDX-License-Identifier: Apache-2.0
#include "streamline/io/checkpoint_writer.h"

#include "support/core/expect.h"
#include "support/core/temporary_directory.h"
#include "support/core/tensor_files.h"

namespace streamline {
namespace {

using test::filled;
namespace fs = std::filesystem;

TensorSource source(test::TestTensor tensor) {
  const std::string data = tensor.data;
  return {tensor.header, [data] { return memory_blob(data); }};
}

std::vector<TensorSource> sample() {
  return {source(filled("half", DType::bf16, {3}, 2)), source(filled("wide", DType::f32, {4}, 3)),
          source(filled("bytes", DType::u8, {1})), source(filled("more", DType::f32, {2}, 5)),
          source(filled("none", DType::f16, {0}))};
}

std::vector<std::string> names_in(const fs::path& directory) { return open_directory(directory)->names(); }

// Written, then opened again through the index.
std::shared_ptr<const Checkpoint> written(const fs::path& path, const std::vector<TensorSource>& tensors,
                                          const ShardOptions& options) {
  OutputDirectory out(path, Overwrite::no);
  write_tensors(out, tensors, options);
  out.write("config.json", "{}");
  out.commit();
  return Checkpoint::open(path);
}

TEST(CheckpointWriter, WritesOneFileThatReadsBack) {
  const test::TemporaryDirectory directory;
  const auto checkpoint = written(directory.path() / "out", sample(), {.metadata = {{"recipe", "cut"}}});
  EXPECT_EQ(names_in(directory.path() / "out"), (std::vector<std::string>{"config.json", "model.safetensors"}));
  EXPECT_EQ(checkpoint->tensors().size(), 5u);
  EXPECT_EQ(load_float(DType::f32, checkpoint->bytes(checkpoint->at("more")).data() + 4), 5);
  EXPECT_EQ(load_float(DType::bf16, checkpoint->bytes(checkpoint->at("half")).data() + 4), 2);
  const Blob file = map_file(directory.path() / "out" / "model.safetensors");
  EXPECT_EQ(safetensors_metadata(file.bytes, "m"),
            (std::map<std::string, std::string>{{"format", "pt"}, {"recipe", "cut"}}));
}

TEST(CheckpointWriter, AlignsEveryTensorToItsElements) {
  const test::TemporaryDirectory directory;
  const auto checkpoint = written(directory.path() / "out", sample(), {});
  for (const TensorInfo& tensor : checkpoint->tensors())
    EXPECT_EQ(tensor.offset % dtype_size(tensor.dtype), 0u) << tensor.name;
}

// Sizes 6, 16, 1, 8, 0 with a limit of 10: 6 | 16 (alone, too large) | 1 + 8 + 0.
TEST(CheckpointWriter, FillsShardsInOrderUpToTheLimit) {
  const test::TemporaryDirectory directory;
  const auto checkpoint = written(directory.path() / "out", sample(), {.max_shard_size = 10});
  EXPECT_EQ(
      names_in(directory.path() / "out"),
      (std::vector<std::string>{"config.json", "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                                "model-00003-of-00003.safetensors", "model.safetensors.index.json"}));
  EXPECT_EQ(checkpoint->at("wide").file, "model-00002-of-00003.safetensors");
  EXPECT_EQ(checkpoint->at("bytes").file, checkpoint->at("more").file);
  const Json index = parse_json(read_text(directory.path() / "out" / "model.safetensors.index.json"), "index");
  EXPECT_EQ(index.at("metadata").at("total_size"), 31);
  EXPECT_EQ(index.at("weight_map").size(), 5u);
}

// A bytes() that fails stands for a full disk or a source that vanished.
TEST(CheckpointWriter, LeavesNothingWhenItFails) {
  const test::TemporaryDirectory directory;
  std::vector<TensorSource> tensors = sample();
  tensors.back().bytes = []() -> Blob { fail(ErrorKind::io, "gone"); };
  EXPECT_ERROR(written(directory.path() / "out", tensors, {.max_shard_size = 10}), io, "gone");
  EXPECT_TRUE(fs::is_empty(directory.path()));
}

TEST(ParseSize, ReadsDecimalAndBinaryUnits) {
  EXPECT_EQ(parse_size("5GB"), 5'000'000'000u);
  EXPECT_EQ(parse_size("500mb"), 500'000'000u);
  EXPECT_EQ(parse_size("1.5GiB"), 1'610'612'736u);
  EXPECT_EQ(parse_size("123"), 123u);
  EXPECT_EQ(parse_size("2k"), 2000u);
  EXPECT_EQ(parse_size("0.5KiB"), 512u);
}

TEST(ParseSize, RefusesWhatIsNotASize) {
  for (const char* text : {"", "GB", "5XB", "-5GB", "1.2.3GB", "0", "0.5", "5 GB", "1e9", "99999999999TB", "nan", "."})
    EXPECT_ERROR(parse_size(text), usage, "is not a size");
}

}  // namespace
}  // namespace streamline
