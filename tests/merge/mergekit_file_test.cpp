// SPDX-License-Identifier: Apache-2.0
// mergekit's files: values over depth and by name, what is taken from which model, and what is refused.
#include "streamline/merge/mergekit_file.h"

#include "merge/small_models.h"
#include "streamline/merge/mergekit_settings.h"

namespace streamline::test {
namespace {

using merge::evaluate_setting;
using merge::MergekitFile;
using merge::Parameters;

TEST(MergekitSettings, AreNumbersGradientsAndFilters) {
  const auto value = [](const char* setting, const char* tensor, double t) {
    return evaluate_setting(parse_json(setting, "s"), tensor, t, "s");
  };
  EXPECT_EQ(value("0.5", "x", 0.3), 0.5);
  EXPECT_EQ(value("true", "x", 0), 1);
  EXPECT_DOUBLE_EQ(*value("[0, 1, 0.5]", "x", 0.25), 0.5);
  EXPECT_DOUBLE_EQ(*value("[0, 1, 0.5]", "x", 0.75), 0.75);
  EXPECT_EQ(value("[0, 1, 0.5]", "x", 1), 0.5);
  EXPECT_EQ(value("[7]", "x", 1), 7);
  const char* filters = R"([{"filter": "mlp", "value": [1, 3]}, {"filter": "attn", "value": 9}])";
  EXPECT_EQ(value(filters, "layers.1.mlp.up", 0.5), 2);
  EXPECT_EQ(value(filters, "layers.1.attn.q", 0.5), 9);
  EXPECT_EQ(value(filters, "norm", 0.5), std::nullopt);
  EXPECT_EQ(value(R"([{"filter": "*", "value": 4}])", "norm", 0), 4);
  EXPECT_ERROR(value(R"("much")", "x", 0), format, "is no value of a parameter");
  EXPECT_ERROR(value(R"([{"filter": "x"}])", "x", 0), format, "is no value of a parameter");
}

MergekitFile read(const std::string& yaml) {
  return merge::read_mergekit(yaml, "m.yml", [](const std::string& name) {
    const bool tall = name == "tall";
    return pico_source(name, pico_config("llama", {{"num_hidden_layers", tall ? 6 : 4}}), name.front());
  });
}

Parameters parameters_at(const MergekitFile& file, std::size_t slice, double t, const std::string& name) {
  const std::size_t operands = file.request.slices.at(slice).operands.size();
  return file.request.parameters({.slice = slice, .t = t, .name = name, .operands = std::vector(operands, name)});
}

TEST(MergekitFile, TakesTheBaseOutOfTheTaskVectors) {
  const MergekitFile file = read(R"(
merge_method: ties
base_model: base
models:
  - {model: base}
  - {model: a, parameters: {weight: 1, density: [0.2, 0.4]}}
  - {model: b}
parameters: {weight: 0.25, int8_mask: true, t: 3}
out_dtype: bfloat16
dtype: float32
)");
  ASSERT_EQ(file.request.slices.size(), 1U);
  EXPECT_EQ(file.request.slices[0].operands.size(), 2U);
  EXPECT_EQ(file.request.models[file.request.slices[0].base->model].name, "base");
  EXPECT_EQ(file.request.dtype, DType::bf16);
  const Parameters p = parameters_at(file, 0, 0.5, "x");
  EXPECT_EQ(p.weights, (std::vector<double>{1, 0.25}));
  EXPECT_NEAR(p.densities[0], 0.3, 1e-12);
  EXPECT_EQ(p.densities[1], 1);
  EXPECT_TRUE(p.normalise);
  EXPECT_EQ(p.rescale, merge::Rescale::none);
  EXPECT_THAT(file.notes, testing::ElementsAre("warning: m.yml: ties takes no parameter 't'; it is passed over"));
}

TEST(MergekitFile, PutsTheBaseFirstOnTheSphere) {
  const MergekitFile file =
      read("merge_method: slerp\nbase_model: b\nmodels: [{model: a}, {model: b}]\nparameters: {t: 0.1}\n");
  EXPECT_EQ(file.request.models[file.request.slices[0].operands[0].model].name, "b");
  EXPECT_EQ(parameters_at(file, 0, 0, "x").t, 0.1);
}

TEST(MergekitFile, ReadsSlicesOfDifferentModels) {
  const MergekitFile file = read(R"(
merge_method: passthrough
slices:
  - sources: [{model: a, layer_range: [0, 3]}]
  - sources: [{model: b, layer_range: [1, 4], parameters: {scale: [{filter: o_proj, value: 0}, {value: 1}]}}]
)");
  ASSERT_EQ(file.request.slices.size(), 2U);
  EXPECT_EQ(file.request.slices[1].count, 3);
  EXPECT_EQ(file.request.slices[1].operands[0].first, 1);
  EXPECT_EQ(parameters_at(file, 1, 0, "o_proj.weight").scale, 0);
  EXPECT_EQ(parameters_at(file, 0, 0, "o_proj.weight").scale, 1);
  EXPECT_EQ(merge::plan_merge(file.request).map.after(), 6);
}

TEST(MergekitFile, SaysWhatIsWrongWithOne) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"models: [{model: a}]", "m.yml: lacks 'merge_method'"},
      {"merge_method: linear", "expected either 'models' or 'slices'"},
      {"merge_method: linear\nmodels: a", "'models' is not a list of models"},
      {"merge_method: linear\nmodels: [{parameters: {weight: 1}}]", "lacks 'model'"},
      {"merge_method: linear\nmodels: [a]", "expected keys with values, not \"a\""},
      {"merge_method: ties\nmodels: [{model: a}]", "lacks 'base_model'"},
      {"merge_method: linear\nmodels: [{model: a}, {model: tall}]", "tall has 6 layers; a has 4"},
      {"merge_method: linear\nmodels: [{model: a}, {model: a}]", "stands twice"},
      {"merge_method: slerp\nbase_model: c\nslices: [{sources: [{model: a, layer_range: [0, 1]}, {model: b, "
       "layer_range: [0, 1]}]}]",
       "the base_model is not among the sources"},
      {"merge_method: linear\nslices: [{sources: [{model: a}]}]", "lacks 'layer_range'"},
      {"merge_method: linear\nslices: [{sources: [{model: a, layer_range: [2, 1]}]}]", "holds no layers"},
      {"merge_method: linear\nslices: [{sources: [{model: a, layer_range: [0, 2]}, {model: b, layer_range: [0, 1]}]}]",
       "have 2 and 1 layers"},
  };
  for (const auto& [yaml, message] : cases) {
    SCOPED_TRACE(yaml);
    try {
      read(yaml);
      ADD_FAILURE() << "no error";
    } catch (const Error& error) {
      EXPECT_THAT(error.what(), testing::HasSubstr(message));
    }
  }
  EXPECT_ERROR(read("merge_method: linear\ndtype: int8\nmodels: [{model: a}]"), unsupported, "'dtype' is 'int8'");
  EXPECT_ERROR(read("merge_method: linear\ntokenizer_source: union\nmodels: [{model: a}]"), unsupported, "'union'");
}

}  // namespace
}  // namespace streamline::test
