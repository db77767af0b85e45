// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/run_digest.h"

#include "streamline/base/digest.h"
#include "streamline/heal/pace.h"

namespace streamline {

std::string run_digest(const Model& model, const HealedWindow& window, const ReplacementChoice& choice, Start start,
                       const TokenBatches& training, const TokenBatches& validation, const HealOptions& o) {
  Json losses = Json::array();
  for (const LossStage& stage : o.losses) losses.push_back({loss_name(stage.loss), stage.share});
  const Json all = {{"model", model.checkpoint().digest()},
                    {"layers", model.layer_count()},
                    {"parameters", model.parameters()},
                    {"upstream", o.view_digest},
                    {"dtype", torch::toString(model.placement().dtype)},
                    {"window", {window.first, window.count, window.before}},
                    {"network", choice.network->name},
                    {"networks", choice.count},
                    {"start", start_name(start)},
                    {"text", {text_digest(training), text_digest(validation)}},
                    {"losses", losses},
                    {"rates", {o.learning_rate, o.minimum_learning_rate, o.warmup_fraction, o.later_rate}},
                    {"adamw", {o.weight_decay, o.beta1, o.beta2, o.clip}},
                    {"pace", {o.epochs, o.batch_tokens, o.micro_batch_tokens, o.validate_every, o.patience}},
                    {"objective", {o.objective.skip_first_position, o.objective.teacher_tokens}},
                    {"states", o.cache ? torch::toString(o.cache->dtype) : "computed"},
                    {"seed", o.seed}};
  return sha256(all.dump());
}

}  // namespace streamline
