// SPDX-License-Identifier: Apache-2.0
// What a report shows of a healing run: the curve, the errors, the cost.
#include "streamline/heal/trainer.h"

namespace streamline {

Json to_json(const HealResult& result) {
  Json json = {{"trained_parameters", result.trained_parameters},
               {"tokens", result.tokens},
               {"seconds", result.seconds},
               {"identity_mse", result.identity_mse},
               {"initial_mse", result.initial_mse},
               {"best_mse", result.best_mse},
               {"best_step", result.best_step}};
  Json& steps = json["steps"] = Json::array();
  for (const HealStep& step : result.steps)
    steps.push_back({{"step", step.step},
                     {"tokens", step.tokens},
                     {"loss", step.loss},
                     {"learning_rate", step.learning_rate},
                     {"gradient_norm", step.gradient_norm}});
  Json& validations = json["validations"] = Json::array();
  for (const HealValidation& validation : result.validations)
    validations.push_back({{"step", validation.step}, {"mse", validation.mse}});
  return json;
}

}  // namespace streamline
