// SPDX-License-Identifier: Apache-2.0
// Masks in a file: what is written is read back, and what cannot be masks is refused by name.
#include "streamline/plan/masks_file.h"

#include "streamline/base/digest.h"
#include "streamline/base/json.h"
#include "support/core/expect.h"
#include "support/core/temporary_directory.h"
#include "support/core/tensor_files.h"

namespace streamline {
namespace {

const Mask kUp{.tensor = "layers.1.up", .layer = 1, .shape = {3, 5}}, kDown{"layers.1.down", 1, {5, 2}};

std::vector<MaskSource> two_masks() {
  return {{kUp, [] { return memory_blob("\x2a\x7f"); }}, {kDown, [] { return memory_blob("\xff\x01"); }}};
}

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

TEST(MasksFile, ReadsWhatWasWritten) {
  const test::TemporaryDirectory folder;
  const auto path = folder.path() / "cut.masks.safetensors";
  const std::string digest = write_masks(path, two_masks());
  EXPECT_EQ(digest, sha256(read_text(path)));
  const MasksFile file = MasksFile::open(path, digest);
  EXPECT_EQ(file.sha256(), digest);
  std::map<std::string, std::pair<Mask, std::string>> found;
  for (std::size_t i = 0; i < file.masks().size(); ++i)
    found[file.masks()[i].tensor] = {file.masks()[i], text_of(file.bits(i))};
  const std::map<std::string, std::pair<Mask, std::string>> expected = {{kUp.tensor, {kUp, "\x2a\x7f"}},
                                                                        {kDown.tensor, {kDown, "\xff\x01"}}};
  EXPECT_EQ(found, expected);
}

TEST(MasksFile, LiesBesideThePlan) {
  EXPECT_EQ(masks_beside("folder/cut.json"), "folder/cut.masks.safetensors");
  EXPECT_EQ(masks_beside("cut"), "cut.masks.safetensors");
  EXPECT_EQ(masks_beside("qwen2.5"), "qwen2.5.masks.safetensors");
  EXPECT_EQ(masks_beside("folder.json/qwen2.5.json"), "folder.json/qwen2.5.masks.safetensors");
}

TEST(MasksFile, OfAnotherDigestIsNotThePlans) {
  const test::TemporaryDirectory folder;
  const auto path = folder.path() / "masks.safetensors";
  const std::string digest = write_masks(path, two_masks());
  const std::string whole = read_text(path);
  for (const std::string& changed : {whole.substr(0, whole.size() - 1), whole + "x", std::string()}) {
    write_text(path, changed);
    EXPECT_ERROR(MasksFile::open(path, digest), mismatch, "masks.safetensors: these are not the plan's masks");
    EXPECT_ERROR(MasksFile::open(path, digest), mismatch, "make both anew with `sparsify --plan-only`");
  }
  std::filesystem::remove(path);
  EXPECT_ERROR(MasksFile::open(path, digest), io, "masks.safetensors: the plan's masks are not there");
  EXPECT_ERROR(MasksFile::open(folder.path(), digest), io, "not a regular file");
}

// Whatever is wrong with a file is said, although its digest agrees.
TEST(MasksFile, RefusesWhatIsNoMask) {
  struct Case {
    const char* message;
    std::string tensors = R"({"m": {"layer": 1, "shape": [3, 5]}})", version = "1", format = "streamline-masks";
    TensorHeader header = {"m", DType::u8, {2}};
  };
  const std::vector<Case> cases = {
      {.message = "these are no masks of a plan", .format = "pt"},
      {.message = "masks of version '2'", .version = "2"},
      {.message = "'m' has no layer and shape", .tensors = "{}"},
      {.message = "no tensor named 'n'",
       .tensors = R"({"m": {"layer": 1, "shape": [3, 5]}, "n": {"layer": 1, "shape": [8]}})"},
      {.message = "not valid JSON", .tensors = "{"},
      {.message = "is not a JSON object", .tensors = "[]"},
      {.message = "'m' is not described by a JSON object", .tensors = R"({"m": 1})"},
      {.message = "'m': unknown key 'rows'", .tensors = R"({"m": {"layer": 1, "shape": [3, 5], "rows": 3}})"},
      {.message = "'m': 'layer' is missing", .tensors = R"({"m": {"shape": [3, 5]}})"},
      {.message = "'m': 'shape' is not a list", .tensors = R"({"m": {"layer": 1, "shape": 15}})"},
      {.message = "'m': no tensor has the shape [3,0]", .tensors = R"({"m": {"layer": 1, "shape": [3, 0]}})"},
      {.message = "'m': no tensor has the shape",
       .tensors = R"({"m": {"layer": 1, "shape": [4611686018427387904, 4]}})"},
      {.message = "'m' has 2 bytes of U8; a mask of the shape [3,6] has 3 of U8",
       .tensors = R"({"m": {"layer": 1, "shape": [3, 6]}})"},
      {.message = "'m' has 2 bytes of BF16", .header = {"m", DType::bf16, {1}}},
  };
  for (const Case& broken : cases) {
    SCOPED_TRACE(broken.message);
    const std::string file =
        safetensors_header({broken.header},
                           {{"format", broken.format}, {"version", broken.version}, {"tensors", broken.tensors}}) +
        "ab";
    EXPECT_ERROR(MasksFile(memory_blob(file), "bad"), format, broken.message);
    EXPECT_ERROR(MasksFile(memory_blob(file), "bad"), format, "bad: ");
  }
  EXPECT_NO_THROW(MasksFile(
      memory_blob(safetensors_header({Case{}.header},
                                     {{"format", "streamline-masks"}, {"version", "1"}, {"tensors", Case{}.tensors}}) +
                  "ab"),
      "good"));
  EXPECT_ERROR(MasksFile(memory_blob("short"), "bad"), format, "bad: ");
}

}  // namespace
}  // namespace streamline
