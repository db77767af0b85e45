// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <cstring>

#include "streamline/arch/gguf_layout.h"
#include "support/core/expect.h"
#include "support/core/pico_checkpoint.h"

namespace streamline {
namespace {

// Of more elements than are read at once.
constexpr std::int64_t kRows = 4100, kColumns = 800;

std::shared_ptr<const Checkpoint> one_matrix(const std::vector<float>& values) {
  test::TestTensor matrix{{"matrix", DType::f32, {kRows, kColumns}}, std::string(values.size() * sizeof(float), '\0')};
  std::memcpy(matrix.data.data(), values.data(), matrix.data.size());
  return Checkpoint::open(memory_files("large", test::checkpoint_files(Json::object(), {matrix})));
}

std::vector<std::byte> written(const Checkpoint& checkpoint, int threads) {
  const GgufLayoutTensor layout{
      .name = "matrix", .shape = {kRows, kColumns}, .sources = {&checkpoint.at("matrix")}, .factor = 2};
  std::vector<std::byte> bytes;
  gguf_tensor(checkpoint, layout, DType::f32, threads).write([&](std::span<const std::byte> piece) {
    bytes.insert(bytes.end(), piece.begin(), piece.end());
  });
  return bytes;
}

std::vector<float> numbers() {
  std::vector<float> values(static_cast<std::size_t>(kRows * kColumns));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  return values;
}

TEST(GgufValues, ComeInTheirOrderFromAnyNumberOfThreads) {
  const std::vector<float> values = numbers();
  const auto checkpoint = one_matrix(values);
  for (const int threads : {1, 2, 5}) {
    const std::vector<std::byte> bytes = written(*checkpoint, threads);
    ASSERT_EQ(bytes.size(), values.size() * sizeof(float));
    std::vector<float> doubled(values.size());
    std::memcpy(doubled.data(), bytes.data(), bytes.size());
    for (std::size_t i = 0; i < values.size(); ++i) ASSERT_EQ(doubled[i], 2 * values[i]) << threads;
  }
}

TEST(GgufValues, ThatAreNoNumbersAreNamedByWhicheverThreadMeetsThem) {
  std::vector<float> values = numbers();
  values[values.size() - 7] = std::nanf("");
  const auto checkpoint = one_matrix(values);
  for (const int threads : {1, 3}) EXPECT_ERROR(written(*checkpoint, threads), numeric, "tensor 'matrix' holds nan");
}

}  // namespace
}  // namespace streamline
