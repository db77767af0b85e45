// SPDX-License-Identifier: Apache-2.0
// JSON access, digests, random numbers, means, parameters, and how figures are written.
#include <cmath>

#include "streamline/base/digest.h"
#include "streamline/base/json.h"
#include "streamline/base/params.h"
#include "streamline/base/random.h"
#include "streamline/base/resources.h"
#include "streamline/base/stats.h"
#include "support/core/expect.h"

namespace streamline {
namespace {

TEST(Json, KeepsTheOrderOfKeys) {
  EXPECT_EQ(parse_json(R"({"b": 1, "a": {"z": 2, "c": 3}})", "x").dump(), R"({"b":1,"a":{"z":2,"c":3}})");
}

TEST(Json, RejectsWhatIsNotJsonWithItsPlace) {
  EXPECT_ERROR(parse_json("{\"a\": 1,}", "config.json"), format, "config.json: not valid JSON: parse error at line 1");
  EXPECT_ERROR(parse_json("", "x"), format, "not valid JSON");
  EXPECT_ERROR(parse_json("{\"a\": 1e999}", "x"), format, "x: not valid JSON: number overflow");
  EXPECT_ERROR(parse_json(std::string(100'000, '['), "x"), format, "x: nested deeper than 256 levels");
  EXPECT_ERROR(parse_json("{\"a\": 1} trailing", "x"), format, "not valid JSON");
}

TEST(Json, RejectsKeysThatOccurTwiceInOneObject) {
  EXPECT_ERROR(parse_json(R"({"a": 1, "b": {"a": 2}, "a": 3})", "x"), format, "the key 'a' occurs twice");
  EXPECT_NO_THROW(parse_json(R"({"a": {"a": 1}, "b": [{"a": 1}, {"a": 2}]})", "x"));
}

TEST(Json, ReadsValuesOfTheRightTypeOnly) {
  const Json object = parse_json(R"({"n": 3, "x": 2.5, "s": "t", "nothing": null, "big": 18446744073709551615})", "x");
  EXPECT_EQ(json_integer(object, "n", "c"), 3);
  EXPECT_EQ(json_number(object, "n", "c"), 3.0);
  EXPECT_EQ(json_string(object, "s", "c"), "t");
  EXPECT_EQ(json_integer(object, "nothing", "c"), std::nullopt);
  EXPECT_EQ(json_integer(object, "absent", "c"), std::nullopt);
  EXPECT_ERROR(json_integer(object, "x", "config.json"), format, "config.json: 'x' is 2.5; expected an integer");
  EXPECT_ERROR(json_integer(object, "big", "c"), format, "below 2^63");
  EXPECT_ERROR(json_bool(object, "s", "c"), format, "expected true or false");
}

TEST(Digest, EqualsThePublishedVector) {
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  Sha256 parts;
  parts.update("a");
  parts.update("bc");
  EXPECT_EQ(parts.hex(), sha256("abc"));
}

TEST(Rng, EqualsThePublishedSequence) {
  // SplitMix64 with seed 1234567, from the reference implementation.
  Rng rng(1234567);
  EXPECT_EQ(rng.next(), 6457827717110365317ULL);
  EXPECT_EQ(rng.next(), 3203168211198807973ULL);
}

TEST(Rng, DrawsUniformlyAndNormally) {
  Rng rng(1);
  MeanAccumulator uniform, normal;
  for (int i = 0; i < 100000; ++i) {
    uniform.add(rng.uniform());
    normal.add(rng.normal());
  }
  EXPECT_NEAR(uniform.mean(), 0.5, 0.005);
  EXPECT_NEAR(uniform.variance(), 1.0 / 12, 0.002);
  EXPECT_NEAR(normal.mean(), 0, 0.015);
  EXPECT_NEAR(normal.variance(), 1, 0.02);
}

TEST(Rng, PermutesWithoutLoss) {
  Rng rng(3), same(3), other(4);
  const auto order = permutation(100, rng);
  EXPECT_EQ(order, permutation(100, same));
  EXPECT_NE(order, permutation(100, other));
  auto sorted = order;
  std::sort(sorted.begin(), sorted.end());
  for (std::int64_t i = 0; i < 100; ++i) EXPECT_EQ(sorted[static_cast<std::size_t>(i)], i);
}

TEST(MeanAccumulator, EqualsAHandCalculation) {
  MeanAccumulator values;
  for (const double value : {1.0, 2.0, 4.0}) values.add(value);
  EXPECT_DOUBLE_EQ(values.mean(), 7.0 / 3);
  EXPECT_NEAR(values.variance(), 7.0 / 3, 1e-15);
  EXPECT_NEAR(values.estimate().standard_error.value(), std::sqrt(7.0 / 9), 1e-15);
}

TEST(MeanAccumulator, HasNoErrorOfOneValue) {
  MeanAccumulator values;
  EXPECT_FALSE(values.estimate().standard_error);
  values.add(3);
  EXPECT_EQ(values.estimate().value, 3);
  EXPECT_FALSE(values.estimate().standard_error);
}

TEST(MeanOf, HasAnErrorWhereAllHaveOne) {
  const std::vector<Estimate> all = {{.value = 1, .standard_error = 3, .count = 5},
                                     {.value = 2, .standard_error = 4, .count = 7}};
  EXPECT_DOUBLE_EQ(mean_of(all).value, 1.5);
  EXPECT_DOUBLE_EQ(mean_of(all).standard_error.value(), 2.5);
  EXPECT_EQ(mean_of(all).count, 12);
  EXPECT_FALSE(mean_of(std::vector{all[0], Estimate{.value = 2, .count = 1}, all[1]}).standard_error);
}

TEST(Figures, CarryTheirUnits) {
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(269060552), "269.1 MB");
  EXPECT_EQ(format_count(6738415616.0), "6.74B");
  EXPECT_EQ(format_count(12), "12");
  EXPECT_EQ(format_millions(6738415616), "6738.42M");
  EXPECT_EQ(format_seconds(1.25), "1.2 s");
  EXPECT_EQ(format_seconds(65), "1 m 05 s");
  EXPECT_EQ(format_seconds(7260), "2 h 01 m");
}

TEST(Figures, AreNoThousandOfAUnit) {
  EXPECT_EQ(format_count(999.4e6), "999M");
  EXPECT_EQ(format_count(999.6e6), "1B");
  EXPECT_EQ(format_bytes(999940000), "999.9 MB");
  EXPECT_EQ(format_bytes(999960000), "1.0 GB");
}

Params example_params() {
  return {{.name = "cut", .type = ParamType::integer, .help = "", .minimum = 1},
          {.name = "sparsity", .type = ParamType::number, .help = ""},
          {.name = "protect", .type = ParamType::integers, .help = "", .default_value = Json::array()},
          {.name = "mode", .type = ParamType::text, .help = "", .default_value = "a", .choices = {"a", "b"}}};
}

TEST(Params, ParseWordsOfTheCommandLine) {
  const Params params = example_params();
  EXPECT_EQ(parse_param(params[0], "12"), 12);
  EXPECT_EQ(parse_param(params[1], "0.25"), 0.25);
  EXPECT_EQ(parse_param(params[2], "0,3-5"), Json::array({0, 3, 4, 5}));
  EXPECT_ERROR(parse_param(params[0], "1x"), usage, "--cut takes an integer; got '1x'");
  EXPECT_ERROR(parse_param(params[1], "nan"), usage, "--sparsity takes a number; got 'nan'");
  EXPECT_ERROR(parse_param(params[1], "inf"), usage, "--sparsity takes a number; got 'inf'");
  EXPECT_ERROR(parse_param(params[2], "5-3"), usage, "--protect takes integers");
  EXPECT_ERROR(parse_param(params[2], ""), usage, "--protect takes integers");
}

TEST(Params, FillDefaultsAndRefuseWhatIsNotDeclared) {
  const Params params = example_params();
  EXPECT_EQ(resolve_params(params, {{"cut", 2}}, "x").dump(), R"({"cut":2,"sparsity":null,"protect":[],"mode":"a"})");
  EXPECT_ERROR(resolve_params(params, {{"cuts", 2}}, "x"), usage, "x has no --cuts; it takes --cut, --sparsity");
  EXPECT_ERROR(resolve_params(params, {{"cut", 0}}, "x"), usage, "'cut' takes 1 or more; got 0");
  EXPECT_ERROR(resolve_params(params, {{"cut", "2"}}, "x"), usage, "takes an integer");
  EXPECT_ERROR(resolve_params(params, {{"sparsity", std::nan("")}}, "x"), usage, "'sparsity' takes a number");
  EXPECT_ERROR(resolve_params(params, {{"mode", "c"}}, "x"), usage, "'mode' takes one of a, b; got 'c'");
}

TEST(Params, RefuseWhatMeansNothingBesideTheOthers) {
  Params params = example_params();
  params[1].goes_with = {{"mode", {"a", "b"}}, {"cut"}};
  params[3].goes_with = {{"sparsity"}};
  params[3].choices.emplace_back("c");
  EXPECT_EQ(resolve_params(params, {{"sparsity", 0.5}}, "x")["mode"], "a");
  EXPECT_EQ(resolve_params(params, {{"cut", 2}, {"mode", nullptr}}, "x")["mode"], "a");
  EXPECT_EQ(resolve_params(params, {{"cut", 2}, {"sparsity", 0.5}, {"mode", "c"}}, "x")["mode"], "c");
  EXPECT_ERROR(resolve_params(params, {{"sparsity", 0.5}, {"mode", "c"}}, "x"), usage,
               "--sparsity goes with --mode a or b, or --cut");
  EXPECT_ERROR(resolve_params(params, {{"cut", 2}, {"mode", "b"}}, "x"), usage, "--mode goes with --sparsity");
}

}  // namespace
}  // namespace streamline
