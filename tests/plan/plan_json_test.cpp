// SPDX-License-Identifier: Apache-2.0
// plan.json: what is written is read back, and what is not understood is refused by name.
#include <functional>

#include "streamline/plan/plan.h"
#include "support/core/expect.h"

namespace streamline {
namespace {

Plan full_plan() {
  Plan plan = cut_window(12, 4, 3, "layer");
  plan.base.model = "books-5m";
  plan.base.digest = std::string(64, '0');
  plan.method = {.name = "llm-streamline",
                 .parameters = {{"cut", 3}, {"protect", Json::array({0})}},
                 .calibration_digest = std::string(64, '1'),
                 .seed = UINT64_MAX};
  plan.segments[1].weights_file = "replacement.safetensors";
  plan.segments[1].weights_sha256 = std::string(64, 'f');
  plan.scores = {{"window", {{"first", 4}, {"cosine", 0.9375}}}};
  return plan;
}

TEST(PlanJson, RoundTripsEveryField) {
  const Json written = to_json(full_plan());
  const Plan read = plan_from_json(parse_json(dump_json(written), "plan.json"), "plan.json");
  EXPECT_EQ(to_json(read), written);
  EXPECT_EQ(read.method.seed, UINT64_MAX);
  EXPECT_EQ(read.segments[1].weights_file, "replacement.safetensors");
  EXPECT_EQ(read.segments[1].replacement, "layer");
  EXPECT_EQ(read.base.digest, std::string(64, '0'));
}

Json masks_entry() { return {{"file", "cut.masks.safetensors"}, {"sha256", std::string(64, 'a')}}; }

TEST(PlanJson, RoundTripsMasks) {
  Plan plan = full_plan();
  plan.masks = PlanMasks{.file = "cut.masks.safetensors", .sha256 = std::string(64, 'a')};
  const Json written = to_json(plan);
  EXPECT_EQ(written["version"], 3);
  EXPECT_EQ(written["masks"], masks_entry());
  const Plan read = plan_from_json(parse_json(dump_json(written), "plan.json"), "plan.json");
  EXPECT_EQ(read.masks, plan.masks);
  EXPECT_EQ(summary(read), "replaced layers 4..6 by one layer (of 12), single weights masked");
}

TEST(PlanJson, RoundTripsDroppedHalves) {
  Plan plan{.base = {.layers = 3}, .method = {.name = "manual"}};
  plan.segments = {{.first = 0, .last = 0},
                   {.first = 1, .last = 1, .action = Action::drop_attention},
                   {.first = 2, .last = 2, .action = Action::drop_mlp}};
  const Json written = to_json(plan);
  EXPECT_EQ(written["segments"][1]["action"], "drop-attention");
  EXPECT_EQ(written["segments"][2]["action"], "drop-mlp");
  EXPECT_EQ(to_json(plan_from_json(written, "p")), written);
}

// A plan as a person would type it.
TEST(PlanJson, ReadsTheShortestPlan) {
  const char* text = R"({"format": "streamline-plan", "version": 1, "base": {"layers": 4}, "method": {"name": "manual"},
    "segments": [{"first": 0, "last": 1, "action": "keep"}, {"first": 2, "last": 3, "action": "drop"}]})";
  const Plan plan = plan_from_json(parse_json(text, "p"), "p");
  EXPECT_EQ(lower(plan).size(), 2u);
  EXPECT_EQ(plan.method.seed, 0u);
  EXPECT_TRUE(plan.scores.is_object());
}

// Version 1 as it was written by the first release; every later program must read it.
TEST(PlanJson, ReadsThatOfARecord) {
  const Json plan = to_json(drop_layers(6, {2, 3}));
  EXPECT_EQ(to_json(plan_from_json({{"format", 1}, {"run", Json::object()}, {"plan", plan}}, "record.json")), plan);
  EXPECT_ERROR(plan_from_json({{"format", 1}, {"run", Json::object()}, {"plan", Json::object()}}, "record.json"),
               format, "record.json: plan");
}

TEST(PlanJson, ReadsVersionOne) {
  const char* text = R"({
  "format": "streamline-plan",
  "version": 1,
  "base": {"layers": 12, "model": "books-5m", "digest": "ab"},
  "method": {"name": "llm-streamline", "parameters": {"cut": 3}, "calibration_digest": "cd", "seed": 7},
  "segments": [
    {"first": 0, "last": 4, "action": "keep"},
    {"first": 5, "last": 7, "action": "replace", "replacement": "layer",
     "weights": {"file": "replacement.safetensors",
                 "sha256": "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"}},
    {"first": 8, "last": 11, "action": "keep"}
  ],
  "scores": {"cosine": 0.5}
})";
  const Plan plan = plan_from_json(parse_json(text, "p"), "p");
  EXPECT_EQ(summary(plan), "replaced layers 5..7 by one layer (of 12)");
  EXPECT_EQ(plan.method.seed, 7u);
}

TEST(PlanJson, RefusesWhatItDoesNotUnderstand) {
  struct Case {
    const char* message;
    std::function<void(Json&)> change;
  };
  const std::vector<Case> cases = {
      {"plan.json: unknown key 'segmnets'", [](Json& j) { j["segmnets"] = 1; }},
      {"plan.json: base: unknown key 'layer'", [](Json& j) { j["base"]["layer"] = 1; }},
      {"plan.json: method: unknown key 'paper'", [](Json& j) { j["method"]["paper"] = ""; }},
      {"segments[1]: unknown key 'scale'", [](Json& j) { j["segments"][1]["scale"] = 0.5; }},
      {"segments[1].weights: unknown key 'md5'", [](Json& j) { j["segments"][1]["weights"]["md5"] = ""; }},
      {"plan version 4; this program reads versions 1 to 3", [](Json& j) { j["version"] = 4; }},
      {"'masks' came with plan version 3", [](Json& j) { j["masks"] = masks_entry(); }},
      {"masks: unknown key 'md5'",
       [](Json& j) { j["version"] = 3, j["masks"] = masks_entry(), j["masks"]["md5"] = ""; }},
      {"masks: 'sha256' is missing",
       [](Json& j) {
         j["version"] = 3, j["masks"] = {{"file", "m"}};
       }},
      {"masks file '../m' is not a plain file name",
       [](Json& j) { j["version"] = 3, j["masks"] = masks_entry(), j["masks"]["file"] = "../m"; }},
      {"masks file '' is not a plain file name",
       [](Json& j) { j["version"] = 3, j["masks"] = masks_entry(), j["masks"]["file"] = ""; }},
      {"of the masks must be 64 lower-case hexadecimal digits",
       [](Json& j) { j["version"] = 3, j["masks"] = masks_entry(), j["masks"]["sha256"] = "ff"; }},
      {"this is not a plan", [](Json& j) { j["format"] = "safetensors"; }},
      {"'format' is missing", [](Json& j) { j.erase("format"); }},
      {"'version' is missing", [](Json& j) { j.erase("version"); }},
      {"'base' is missing", [](Json& j) { j.erase("base"); }},
      {"'layers' is missing", [](Json& j) { j["base"].erase("layers"); }},
      {"'method' is missing", [](Json& j) { j.erase("method"); }},
      {"'segments' is missing", [](Json& j) { j.erase("segments"); }},
      {"'segments' is not a list", [](Json& j) { j["segments"] = "all"; }},
      {"'scores' is not an object", [](Json& j) { j["scores"] = Json::array(); }},
      {"'parameters' is not an object", [](Json& j) { j["method"]["parameters"] = 3; }},
      {"'seed' is not an unsigned", [](Json& j) { j["method"]["seed"] = -1; }},
      {"'seed' is not an unsigned", [](Json& j) { j["method"]["seed"] = 0.5; }},
      {"segments[0] is not a JSON object", [](Json& j) { j["segments"][0] = 4; }},
      {"segments[1]: 'first' is missing", [](Json& j) { j["segments"][1].erase("first"); }},
      {"'action' is 'delete'; expected keep, drop, replace, drop-attention or drop-mlp",
       [](Json& j) { j["segments"][1]["action"] = "delete"; }},
      {"'layers' is \"twelve\"", [](Json& j) { j["base"]["layers"] = "twelve"; }},
      {"layers 7..11 are not covered", [](Json& j) { j["segments"].erase(2); }},
      {"is covered twice", [](Json& j) { j["segments"][2]["first"] = 6; }},
      {"not a plain file name", [](Json& j) { j["segments"][1]["weights"]["file"] = "../x.safetensors"; }},
      {"not a plain file name", [](Json& j) { j["segments"][1]["weights"]["file"] = "/etc/passwd"; }},
      {"'file' is empty", [](Json& j) { j["segments"][1]["weights"]["file"] = ""; }},
      {"64 lower-case hexadecimal digits", [](Json& j) { j["segments"][1]["weights"]["sha256"] = "ff"; }},
  };
  for (const Case& broken : cases) {
    SCOPED_TRACE(broken.message);
    Json json = to_json(full_plan());
    broken.change(json);
    EXPECT_ERROR(plan_from_json(parse_json(dump_json(json), "plan.json"), "plan.json"), format, broken.message);
  }
  EXPECT_ERROR(plan_from_json(Json::array(), "plan.json"), format, "plan.json is not a JSON object");
}

}  // namespace
}  // namespace streamline
