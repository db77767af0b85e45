// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/result_json.h"

#include <cmath>
#include <limits>

#include "streamline/base/error.h"

namespace streamline {
namespace {

Json stage_json(const HealStage& stage) {
  Json steps = Json::array(), validations = Json::array();
  for (const HealStep& step : stage.steps) steps.push_back(to_json(step));
  for (const HealValidation& validation : stage.validations)
    validations.push_back({{"step", validation.step}, {"error", validation.error}});
  return {{"loss", loss_name(stage.loss)}, {"nothing_error", stage.nothing}, {"initial_error", stage.initial},
          {"best_error", stage.best},      {"best_step", stage.best_step},   {"steps", steps},
          {"validations", validations}};
}

HealStage stage_from(const Json& json) {
  HealStage stage{.loss = parse_loss(json.at("loss").get<std::string>()),
                  .nothing = json.at("nothing_error").get<double>(),
                  .initial = json.at("initial_error").get<double>(),
                  .best = json.at("best_error").get<double>(),
                  .best_step = json.at("best_step").get<std::int64_t>()};
  for (const Json& step : json.at("steps"))
    stage.steps.push_back({.step = step.at("step").get<std::int64_t>(),
                           .tokens = step.at("tokens").get<std::int64_t>(),
                           .loss = step.at("loss").get<double>(),
                           .learning_rate = step.at("learning_rate").get<double>(),
                           .gradient_norm = step.at("gradient_norm").get<double>()});
  for (const Json& validation : json.at("validations"))
    stage.validations.push_back(
        {.step = validation.at("step").get<std::int64_t>(), .error = validation.at("error").get<double>()});
  return stage;
}

}  // namespace

Json to_json(const HealStep& step) {
  return {{"step", step.step},
          {"tokens", step.tokens},
          {"loss", step.loss},
          {"learning_rate", step.learning_rate},
          {"gradient_norm", step.gradient_norm}};
}

Json to_json(const HealResult& result) {
  Json json = {
      {"trained_parameters", result.trained_parameters}, {"tokens", result.tokens}, {"seconds", result.seconds}};
  if (result.closed_form) {
    const ClosedFormRecord& fit = *result.closed_form;
    json["closed_form"] = {{"ridge", std::isfinite(fit.ridge) ? Json(fit.ridge) : Json(nullptr)},
                           {"error", fit.error},
                           {"start_error", fit.start_error}};
  }
  json["stages"] = Json::array();
  for (const HealStage& stage : result.stages) json["stages"].push_back(stage_json(stage));
  return json;
}

HealResult heal_result_from_json(const Json& json, const std::string& where) {
  try {
    HealResult result{.trained_parameters = json.at("trained_parameters").get<std::int64_t>(),
                      .tokens = json.at("tokens").get<std::int64_t>(),
                      .seconds = json.at("seconds").get<double>()};
    if (const auto fit = json.find("closed_form"); fit != json.end())
      result.closed_form = {.ridge = fit->at("ridge").is_null() ? std::numeric_limits<double>::infinity()
                                                                : fit->at("ridge").get<double>(),
                            .error = fit->at("error").get<double>(),
                            .start_error = fit->at("start_error").get<double>()};
    for (const Json& stage : json.at("stages")) result.stages.push_back(stage_from(stage));
    return result;
  } catch (const Json::exception& error) {
    fail(ErrorKind::format, where, ": the training state's progress is broken (", error.what(), ")");
  }
}

}  // namespace streamline
