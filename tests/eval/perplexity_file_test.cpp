// SPDX-License-Identifier: Apache-2.0
// Kept perplexities come back as they were, and damaged ones are refused.
#include "streamline/eval/perplexity_file.h"

#include <limits>

#include "streamline/base/file.h"
#include "support/core/expect.h"
#include "support/core/temporary_directory.h"

namespace streamline {
namespace {

KeptPerplexity some_figures() {
  KeptPerplexity kept;
  kept.key = {{"model", "abc"}, {"window", 8}};
  kept.result.value = 20.1;
  kept.result.standard_error = 0.1;
  kept.result.mean_nll = 3.0007;
  kept.result.bits_per_byte = 1.1;
  kept.result.tokens = 14;
  kept.result.windows = 2;
  kept.result.window_nll = {1.0 / 3, 41.67};
  kept.result.window_tokens = {7, 7};
  return kept;
}

TEST(PerplexityFile, ComesBackToTheLastBit) {
  const test::TemporaryDirectory folder;
  KeptPerplexity kept = some_figures();
  kept.divergence.emplace();
  kept.divergence->kl = {.value = 0.1, .standard_error = 0.01};
  kept.divergence->kl_99 = 1.0 / 7;
  kept.divergence->log_perplexity_ratio = {.value = 0.2, .standard_error = 0.02};
  EvaluationText text;
  text.source = "a/text.txt";
  text.digest = "0123456789abcdef";
  const auto file = perplexity_path(folder.path(), text);
  EXPECT_EQ(file, folder.path() / "perplexity" / "text.txt-0123456789ab.json");
  write_perplexity(file, kept);
  const KeptPerplexity read = read_perplexity(file);
  EXPECT_EQ(read.key, kept.key);
  EXPECT_EQ(read.result.value, kept.result.value);
  EXPECT_EQ(read.result.window_nll, kept.result.window_nll);
  EXPECT_EQ(read.result.window_tokens, kept.result.window_tokens);
  ASSERT_TRUE(read.divergence);
  EXPECT_EQ(read.divergence->kl_99, 1.0 / 7);
  EXPECT_EQ(read.divergence->log_perplexity_ratio.standard_error, 0.02);
  write_perplexity(file, some_figures());
  EXPECT_FALSE(read_perplexity(file).divergence);
}

TEST(PerplexityFile, KeepsThatOneWindowHasNoError) {
  const test::TemporaryDirectory folder;
  KeptPerplexity kept = some_figures();
  kept.result.standard_error.reset();
  kept.divergence.emplace();
  kept.divergence->kl = {.value = 0.1, .standard_error = 0.01};
  kept.divergence->log_perplexity_ratio = {.value = 0.2};
  write_perplexity(folder.path() / "p.json", kept);
  const KeptPerplexity read = read_perplexity(folder.path() / "p.json");
  EXPECT_FALSE(read.result.standard_error);
  EXPECT_FALSE(read.divergence->log_perplexity_ratio.standard_error);
  EXPECT_TRUE(read.divergence->kl.standard_error);
}

TEST(PerplexityFile, RefusesWhatIsDamaged) {
  const test::TemporaryDirectory folder;
  const auto file = folder.path() / "p.json";
  write_perplexity(file, some_figures());
  const Json whole = parse_json(read_text(file), "p.json");
  const auto damaged = [&](const std::string& pointer, const Json& value) {
    Json json = whole;
    json[Json::json_pointer(pointer)] = value;
    write_text(file, dump_json(json));
    read_perplexity(file);
  };
  EXPECT_ERROR(damaged("/format", "other"), format, "not a kept perplexity");
  EXPECT_ERROR(damaged("/version", 2), unsupported, "version 2");
  EXPECT_ERROR(damaged("/perplexity", 1), format, "not a JSON object");
  EXPECT_ERROR(damaged("/perplexity/value", nullptr), format, "'value' is missing");
  EXPECT_ERROR(damaged("/perplexity/standard_error", "x"), format, "standard_error");
  EXPECT_ERROR(damaged("/perplexity/tokens", -1), format, "'tokens'");
  EXPECT_ERROR(damaged("/perplexity/window_nll", Json::array({1})), format, "2 windows, and 1");
  EXPECT_ERROR(damaged("/divergence", Json::object()), format, "'kl' is missing");
  write_text(file, dump_json(whole).substr(0, 40));
  EXPECT_ERROR(read_perplexity(file), format, "p.json");
}

TEST(PerplexityFile, KeepsNothingThatIsNotFinite) {
  const test::TemporaryDirectory folder;
  KeptPerplexity kept = some_figures();
  kept.result.window_nll[1] = std::numeric_limits<double>::infinity();
  EXPECT_ERROR(write_perplexity(folder.path() / "p.json", kept), numeric, "not finite");
  EXPECT_FALSE(std::filesystem::exists(folder.path() / "p.json"));
}

}  // namespace
}  // namespace streamline
