// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/trainer.h"

#include <algorithm>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/resources.h"
#include "streamline/heal/closed_form.h"
#include "streamline/heal/initial.h"
#include "streamline/heal/run_key.h"
#include "streamline/heal/student.h"
#include "streamline/heal/training_run.h"

namespace streamline {
namespace {

bool on_states(Loss loss) { return loss == Loss::mse || loss == Loss::normalised_mse || loss == Loss::state; }

// A map behind an MLP, a constant and a linear map are at their least squared error as soon as they are solved for.
bool is_solved(const Replacement& network, Start start, Loss loss) {
  const bool patch = network.closed_form == ClosedForm::map || network.closed_form == ClosedForm::scale;
  const bool linear = network.closed_form == ClosedForm::constant || network.closed_form == ClosedForm::low_rank;
  return (patch || (linear && start == Start::closed_form)) && on_states(loss);
}

void check(const Model& model, std::int64_t first, std::int64_t count, const ReplacementChoice& choice,
           const TokenBatches& training, const TokenBatches& validation, const HealOptions& options) {
  if (first < 0 || count < 1 || first + count > model.layer_count())
    fail(ErrorKind::usage, "healing: layers ", first, "..", first + count - 1, " are not a window of a model with ",
         model.layer_count(), " layers");
  if (first < choice.network->before)
    fail(ErrorKind::usage, "healing: '", choice.network->name, "' changes the layer before the window, and layer ",
         first, " has none before it");
  if (choice.count < 1 || choice.count > count)
    fail(ErrorKind::usage, "healing: ", choice.count, " networks in place of ", count, " layers");
  check_trainable(model, training, validation);
  if (options.epochs < 1) fail(ErrorKind::usage, "healing: ", options.epochs, " epochs; at least 1 is needed");
  if (options.losses.empty()) fail(ErrorKind::usage, "healing: no loss is given");
  for (const LossStage& stage : options.losses)
    if (!choice.network->is_trained() && !on_states(stage.loss))
      fail(ErrorKind::usage, "healing: '", choice.network->name, "' has nothing to train with '", loss_name(stage.loss),
           "'; use --loss mse, or another --replace");
}

class Healing {
 public:
  Healing(const Model& model, std::int64_t first, std::int64_t count, const ReplacementChoice& choice,
          const TokenBatches& training, const TokenBatches& validation, const HealOptions& options)
      : model_(model),
        window_{.first = first, .count = count, .before = choice.network->before},
        network_(*choice.network),
        start_(options.start.value_or(network_.starts.front())),
        training_(training),
        validation_(validation),
        options_(options),
        pace_(pace_of(training, validation, network_.learning_rate, options)),
        body_(model.truncated(window_.end())),
        states_(source_of_states()),
        rng_(options.seed),
        student_(body_.config(), body_.placement(), initial(choice), network_.learns) {
    run_ = healing_key(model, window_, choice, training, validation, options);
    set_micro_batch(pace_,
                    {.model = model_,
                     .window = window_,
                     .shape = network_.shape(body_.config(), window_.begin()),
                     .networks = choice.count,
                     .longest = longest_sequence(training),
                     .on_logits = on_logits()},
                    training, options, run_);
  }

  HealResult run() {
    HealResult result{.trained_parameters = network_.is_trained() ? student_.parameter_count() : 0};
    const Trainee trainee{
        .parameters = student_.parameters(),
        .add_gradient = [&](Loss loss, std::int64_t,
                            const Indices& sequences) { return add_gradient(loss, sequences); },
        .validation_error = [&](Loss loss, bool of_nothing) { return validation_error(loss, of_nothing); },
        .snapshot = [&] { return student_.snapshot(); },
        .restore = [&](const std::vector<torch::Tensor>& values) { student_.assign(values); },
        // A copy of the only layer cut has nothing to learn, and stays exact.
        .is_solved =
            [&](const HealStage& stage) {
              return is_solved(network_, start_, stage.loss) || (on_states(stage.loss) && stage.initial == 0);
            },
        .ranks = ranks()};
    const auto prepare = [&] {
      if (start_ == Start::closed_form) solve(result);
    };
    train(trainee, training_, pace_, rng_, options_, run_, prepare, result);
    result.weights = student_.networks();
    return result;
  }

 private:
  const Ranks& ranks() const { return model_.placement().ranks; }

  bool on_logits() const {
    return std::any_of(options_.losses.begin(), options_.losses.end(),
                       [](const LossStage& stage) { return !on_states(stage.loss); });
  }

  std::vector<LayerWeights> initial(const ReplacementChoice& choice) {
    if (start_ == Start::closed_form && choice.count > 1)
      fail(ErrorKind::usage, "healing: several networks in a row have no closed form; use another --init");
    std::vector<LayerWeights> networks;
    const std::int64_t layers = window_.end() - window_.begin();
    for (std::int64_t i = 0; i < choice.count; ++i)
      networks.push_back(initial_weights(network_, body_, window_.begin() + layers * i / choice.count, start_, rng_));
    return networks;
  }

  void solve(HealResult& result) {
    const ClosedFormFit fit = fit_closed_form(network_, body_, student_.networks().front(), states_, training_,
                                              validation_, pace_.micro_batch_tokens);
    student_.assign(fit.weights.all());
    result.closed_form = {.ridge = fit.ridge, .error = fit.error, .start_error = fit.start_error};
  }

  StateSource source_of_states() const {
    if (!options_.cache) return recomputed_states(body_, window_);
    StateCacheOptions cache = *options_.cache;
    cache.view_digest = options_.view_digest;
    const bool taught = std::any_of(options_.losses.begin(), options_.losses.end(),
                                    [](const LossStage& stage) { return stage.loss == Loss::divergence; });
    if (!taught) return cached_states(body_, window_, cache);
    const Objective judge(Loss::divergence, model_, window_, options_.objective);
    return cached_states(
        body_, window_, cache, [judge](const torch::Tensor& output) { return judge.teacher(output); },
        options_.objective.teacher_tokens);
  }

  // Gathered micro-batch by micro-batch.
  double add_gradient(Loss loss, const Indices& sequences) {
    const Objective judge(loss, model_, window_, options_.objective);
    const double terms = judge.terms(training_, sequences);
    double mean = 0;
    std::int64_t part = 0;
    for (const Indices& group : micro_batches(training_, sequences, pace_.micro_batch_tokens)) {
      check_interrupted();
      if (!ranks().takes(part++)) continue;
      const WindowStates states = states_(training_, group);
      student_.add_gradient(states.input, [&](const torch::Tensor& prediction) {
        Judgement judgement = judge.judge(prediction, states, training_, group, /*gradient=*/true);
        mean += judgement.sum / terms;
        return judgement.gradient.div_(terms);
      });
    }
    sum_gradients(ranks(), student_.parameters());
    return ranks().sum(mean);
  }

  double validation_error(Loss loss, bool of_nothing) const {
    const torch::NoGradGuard no_grad;
    const Objective judge(loss, model_, window_, options_.objective);
    double sum = 0;
    std::int64_t part = 0;
    const Indices all = all_sequences(validation_);
    for (const Indices& group : micro_batches(validation_, all, pace_.micro_batch_tokens)) {
      check_interrupted();
      if (!ranks().takes(part++)) continue;
      const WindowStates states = states_(validation_, group);
      const auto prediction = of_nothing ? states.nothing : student_.forward(states.input);
      sum += judge.judge(prediction, states, validation_, group, /*gradient=*/false).sum;
    }
    return ranks().sum(sum) / judge.terms(validation_, all);
  }

  const Model& model_;
  HealedWindow window_;
  const Replacement& network_;
  Start start_;
  const TokenBatches& training_;
  const TokenBatches& validation_;
  const HealOptions& options_;
  Pace pace_;
  Model body_;
  StateSource states_;
  Rng rng_;
  Student student_;
  Json run_ = {};
};

}  // namespace

HealResult heal_window(const Model& model, std::int64_t first, std::int64_t count, const ReplacementChoice& choice,
                       const TokenBatches& training, const TokenBatches& validation, const HealOptions& options) {
  check(model, first, count, choice, training, validation, options);
  return translating_errors([&] { return Healing(model, first, count, choice, training, validation, options).run(); });
}

}  // namespace streamline
