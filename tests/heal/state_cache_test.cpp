// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/state_cache.h"

#include <filesystem>

#include "streamline/base/file.h"
#include "streamline/base/json.h"
#include "streamline/heal/trainer.h"
#include "tests/heal/pico.h"
#include "tests/support/core/expect.h"
#include "tests/support/core/temporary_directory.h"

namespace streamline {
namespace {

using test::pico_model;
using test::random_tokens;

constexpr std::uint64_t kPlenty = 1'000'000'000;

HealResult heal(const Model& model, const std::optional<StateCacheOptions>& cache, const char* losses = "mse",
                const char* name = "swiglu-residual") {
  HealOptions options{.learning_rate = 2e-3, .epochs = 2, .batch_tokens = 64};
  options.losses = parse_losses(losses, 0.5);
  options.cache = cache;
  return heal_window(model, 1, 3, find_replacement(name), random_tokens(24, 16, 1), random_tokens(4, 16, 2), options);
}

HealResult heal_from(const Model& model, std::int64_t first, const StateCacheOptions& cache) {
  HealOptions options{.batch_tokens = 64};
  options.cache = cache;
  return heal_window(model, first, 3, find_replacement("swiglu-residual"), random_tokens(24, 16, 1),
                     random_tokens(4, 16, 2), options);
}

std::vector<std::filesystem::path> shards(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> found;
  for (const auto& entry : std::filesystem::directory_iterator(directory))
    if (entry.path().extension() == ".states") found.push_back(entry.path());
  std::ranges::sort(found);
  return found;
}

class StateCacheTest : public ::testing::Test {
 protected:
  StateCacheOptions cache(std::uint64_t limit = kPlenty, torch::ScalarType dtype = torch::kFloat32) const {
    return {.directory = folder_.path() / "cache", .limit = limit, .dtype = dtype};
  }
  test::TemporaryDirectory folder_;
  Model model_ = pico_model(test::tiny_llama(), 1);
};

// LLM-Streamline check 26.
TEST_F(StateCacheTest, TrainingFromItEqualsTrainingFromComputedStates) {
  const test::TemporaryDirectory other;
  for (const char* name : {"swiglu-residual", "layer", "ffn"}) {
    SCOPED_TRACE(name);
    const auto trained = [&](const std::optional<StateCacheOptions>& cache) {
      return heal(model_, cache, "mse", name);
    };
    const HealResult computed = trained({});
    EXPECT_LT(computed.last().best, computed.last().initial);
    const HealResult exact = trained(cache());
    EXPECT_NEAR(exact.last().best, computed.last().best, 1e-5 * computed.last().best);
    const HealResult again = trained(cache());
    EXPECT_TRUE(test::same(again.weights.front(), exact.weights.front()));
    const HealResult half =
        trained(StateCacheOptions{.directory = other.path(), .limit = kPlenty, .dtype = torch::kBFloat16});
    EXPECT_NEAR(half.last().best, computed.last().best, 1e-2 * computed.last().best);
  }
}

TEST_F(StateCacheTest, KeepsWhatTheTeacherSays) {
  const HealResult computed = heal(model_, {}, "mse+kl");
  const HealResult first = heal(model_, cache(), "mse+kl");
  EXPECT_NEAR(first.last().best, computed.last().best, 1e-4 * computed.last().best);
  EXPECT_TRUE(test::same(heal(model_, cache(), "mse+kl").weights.front(), first.weights.front()));
}

TEST_F(StateCacheTest, IsReadAndNotMadeAnewWhereNothingChanged) {
  heal(model_, cache());
  const auto made = shards(cache().directory);
  ASSERT_EQ(made.size(), 2u);  // training and validation
  std::vector<std::filesystem::file_time_type> times;
  for (const auto& shard : made) times.push_back(std::filesystem::last_write_time(shard));
  heal(model_, cache());
  EXPECT_EQ(shards(cache().directory), made);
  for (std::size_t i = 0; i < made.size(); ++i) EXPECT_EQ(std::filesystem::last_write_time(made[i]), times[i]);
}

TEST_F(StateCacheTest, MakesADamagedShardAnew) {
  const HealResult first = heal(model_, cache());
  const auto shard = shards(cache().directory).front();
  const std::string right = read_text(shard);
  std::string wrong = right;
  wrong[wrong.size() - 100] ^= 1;
  write_text(shard, wrong);
  EXPECT_TRUE(test::same(heal(model_, cache()).weights.front(), first.weights.front()));
  EXPECT_EQ(read_text(shard), right);
  write_text(shard, right.substr(0, 50));
  EXPECT_TRUE(test::same(heal(model_, cache()).weights.front(), first.weights.front()));
  std::filesystem::remove(shard);
  EXPECT_TRUE(test::same(heal(model_, cache()).weights.front(), first.weights.front()));
  EXPECT_EQ(read_text(shard), right);
}

TEST_F(StateCacheTest, BeyondItsLimitStatesAreComputed) {
  const HealResult whole = heal(model_, cache());
  std::filesystem::remove_all(cache().directory);
  const HealResult none = heal(model_, cache(1000));
  EXPECT_TRUE(shards(cache().directory).empty());
  EXPECT_NEAR(none.last().best, whole.last().best, 1e-5 * whole.last().best);
}

TEST_F(StateCacheTest, DropsWhatWasUsedLongestAgo) {
  heal(model_, cache());
  std::uint64_t one = 0;
  for (const auto& shard : shards(cache().directory)) one += std::filesystem::file_size(shard);
  const auto before = shards(cache().directory);
  heal_from(model_, 2, cache(one + 1000));
  std::uint64_t now = 0;
  for (const auto& shard : shards(cache().directory)) {
    EXPECT_EQ(std::ranges::count(before, shard), 0);
    now += std::filesystem::file_size(shard);
  }
  EXPECT_GT(now, 0u);
  EXPECT_LE(now, one + 1000);
}

TEST_F(StateCacheTest, KeepsWhatWasOnlyReadLastTime) {
  heal_from(model_, 1, cache());
  const auto first = shards(cache().directory);
  heal_from(model_, 2, cache());
  std::uint64_t both = 0;
  for (const auto& shard : shards(cache().directory)) both += std::filesystem::file_size(shard);
  heal_from(model_, 1, cache());  // reads, and writes no shard
  heal_from(model_, 0, cache(both + 1000));
  for (const auto& shard : first) EXPECT_TRUE(std::filesystem::exists(shard)) << shard;
}

TEST_F(StateCacheTest, NamesNothingThatMadeRoomInVain) {
  heal_from(model_, 1, cache());
  heal_from(model_, 2, cache(1000));
  EXPECT_TRUE(shards(cache().directory).empty());
  EXPECT_TRUE(parse_json(read_text(cache().directory / "cache.json"), "cache.json").at("shards").empty());
}

TEST_F(StateCacheTest, RemovesWhatAnInterruptedWriteLeft) {
  heal(model_, cache());
  write_text(cache().directory / "0123-7.states", "cut short");
  heal(model_, cache());
  EXPECT_FALSE(std::filesystem::exists(cache().directory / "0123-7.states"));
}

TEST_F(StateCacheTest, RefusesTheDirectoryOfAnotherModelAndADamagedIndex) {
  heal(model_, cache());
  EXPECT_ERROR(heal(pico_model(test::tiny_llama(), 2), cache()), mismatch, "the hidden states of another model");
  const auto index = cache().directory / "cache.json";
  for (const char* text : {"{", "[]", "{\"model\": 3}", "{\"model\": \"x\"}"}) {
    write_text(index, text);
    try {
      heal(model_, cache());
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_TRUE(error.kind() == ErrorKind::format || error.kind() == ErrorKind::mismatch) << text;
    }
  }
}

}  // namespace
}  // namespace streamline
