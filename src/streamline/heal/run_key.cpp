// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/run_key.h"

#include "streamline/base/state_key.h"
#include "streamline/heal/pace.h"

namespace streamline {

Json run_of_model(std::string_view work, const Model& model, std::uint64_t seed) {
  return {{kStateForm, work},
          {"model", model.checkpoint().digest()},
          {"dtype", torch::toString(model.placement().dtype)},
          {"seed", seed}};
}

Json healing_key(const Model& model, const ReplacementChoice& choice, const TokenBatches& training,
                 const TokenBatches& validation, const HealOptions& o) {
  Json losses = Json::array();
  for (const LossStage& stage : o.losses) losses.push_back({loss_name(stage.loss), stage.share});
  Json key = run_of_model(kHealing, model, o.seed);
  key.update({{"text", {text_digest(training), text_digest(validation)}},
              {"replacement", {choice.network->name, choice.count}},
              {"init", start_name(o.start.value_or(choice.network->starts.front()))},
              {"loss", losses},
              {"learning rate", {o.learning_rate, o.minimum_learning_rate, o.warmup_fraction, o.later_rate}},
              {"optimizer", {o.weight_decay, o.beta1, o.beta2, o.clip}},
              {"epochs and batches", {o.epochs, o.batch_tokens, o.micro_batch_tokens, o.validate_every, o.patience}},
              {"objective", {o.objective.skip_first_position, o.objective.teacher_tokens}},
              {"cache", o.cache ? torch::toString(o.cache->dtype) : "none"}});
  return key;
}

Json healing_key(const Model& model, const HealedWindow& window, const ReplacementChoice& choice,
                 const TokenBatches& training, const TokenBatches& validation, const HealOptions& options) {
  Json key = healing_key(model, choice, training, validation, options);
  key.update({{"window", {window.first, window.count, window.before}},
              {"other layers", {model.layer_count(), model.parameters(), options.view_digest}}});
  return key;
}

}  // namespace streamline
