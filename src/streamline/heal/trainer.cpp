// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/resources.h"
#include "streamline/heal/adamw.h"
#include "streamline/heal/closed_form.h"
#include "streamline/heal/heal_memory.h"
#include "streamline/heal/initial.h"
#include "streamline/heal/pace.h"
#include "streamline/heal/result_json.h"
#include "streamline/heal/run_digest.h"
#include "streamline/heal/student.h"
#include "streamline/heal/text_position.h"
#include "streamline/heal/train_state.h"

namespace streamline {
namespace {

bool on_states(Loss loss) { return loss == Loss::mse || loss == Loss::normalised_mse; }

// A map behind an MLP is at its least squared error as soon as it is solved for.
bool is_solved(const Replacement& network, Loss loss) {
  const bool patch = network.closed_form == ClosedForm::map || network.closed_form == ClosedForm::scale;
  return patch && on_states(loss);
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
  if (model.placement().dtype == torch::kFloat16)
    fail(ErrorKind::unsupported, "healing: gradients underflow in float16; use --dtype bfloat16 or float32");
  if (training.tokens() == 0) fail(ErrorKind::resource, "healing: there is no training text; give more with --data");
  if (validation.tokens() == 0)
    fail(ErrorKind::resource, "healing: there is no validation text, by which the best weights are chosen");
  if (options.epochs < 1) fail(ErrorKind::usage, "healing: ", options.epochs, " epochs; at least 1 is needed");
  if (options.losses.empty()) fail(ErrorKind::usage, "healing: no loss is given");
  for (const LossStage& stage : options.losses)
    if (!choice.network->is_trained() && !on_states(stage.loss))
      fail(ErrorKind::usage, "healing: '", choice.network->name, "' has nothing to train with '", loss_name(stage.loss),
           "'; use --loss mse, or another --replace");
  check_token_range(training, model.config().vocab);
  check_token_range(validation, model.config().vocab);
}

void require_finite(double value, const char* what, std::int64_t step, const char* advice) {
  if (!std::isfinite(value))
    fail(ErrorKind::numeric, "healing: the ", what, " is ", value, " at step ", step, "; ", advice);
}

std::string note(const HealStep& step) {
  char text[80];
  std::snprintf(text, sizeof text, "step %lld, loss %.4g, rate %.2g", static_cast<long long>(step.step), step.loss,
                step.learning_rate);
  return text;
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
        student_(body_.config(), body_.placement(), initial(choice), network_.learns),
        position_(rng_) {
    pace_.micro_batch_tokens =
        fitting_micro_batch({.model = model_,
                             .window = window_,
                             .shape = network_.shape(body_.config(), window_.begin()),
                             .networks = choice.count,
                             .longest = longest_sequence(training),
                             .on_logits = on_logits()},
                            pace_.micro_batch_tokens, options.micro_batch_tokens > 0, options.memory);
    run_ = run_digest(model, window_, choice, start_, training, validation, options);
    result_.trained_parameters = network_.is_trained() ? student_.parameter_count() : 0;
  }

  HealResult run() {
    if (!resume()) {
      if (start_ == Start::closed_form) solve();
      begin_stage();
    }
    while (true) {
      train_stage();
      student_.assign(best_);
      if (stage_ + 1 == options_.losses.size()) break;
      ++stage_;
      begin_stage();
    }
    result_.seconds += clock_.seconds();
    result_.weights = std::move(best_);
    return std::move(result_);
  }

 private:
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

  void solve() {
    const ClosedFormFit fit = fit_closed_form(network_, body_, student_.snapshot().front(), states_, training_,
                                              validation_, pace_.micro_batch_tokens);
    student_.assign({fit.weights});
    result_.closed_form = {.ridge = fit.ridge, .error = fit.error, .start_error = fit.start_error};
  }

  StateSource source_of_states() const {
    if (!options_.cache) return recomputed_states(body_, window_);
    const bool taught = std::any_of(options_.losses.begin(), options_.losses.end(),
                                    [](const LossStage& stage) { return stage.loss == Loss::divergence; });
    if (!taught) return cached_states(body_, window_, *options_.cache);
    const Objective judge(Loss::divergence, model_, window_, options_.objective);
    return cached_states(
        body_, window_, *options_.cache, [judge](const torch::Tensor& output) { return judge.teacher(output); },
        options_.objective.teacher_tokens);
  }

  HealStage& current() { return result_.stages.back(); }
  std::int64_t stage_steps() const {
    return std::max<std::int64_t>(
        1, static_cast<std::int64_t>(std::llround(options_.losses[stage_].share * static_cast<double>(pace_.steps))));
  }
  Objective objective() const { return {options_.losses[stage_].loss, model_, window_, options_.objective}; }

  void new_optimizer() {
    optimizer_.emplace(
        student_.parameters(),
        AdamWOptions{.beta1 = options_.beta1, .beta2 = options_.beta2, .weight_decay = options_.weight_decay});
  }

  void begin_stage() {
    result_.stages.push_back({.loss = options_.losses[stage_].loss});
    new_optimizer();
    stage_begin_ = step_;
    unimproved_ = 0;
    current().nothing = validation_error(/*of_nothing=*/true);
    require_finite(current().nothing, "difference of the hidden states around the window", step_,
                   "the model itself computes NaN or infinity on this text");
    validate_now();
    save();
  }

  void train_stage() {
    const HealStage& stage = current();
    // A copy of the only layer cut has nothing to learn, and stays exact.
    if (is_solved(network_, stage.loss) || (on_states(stage.loss) && stage.initial == 0)) return;
    const std::int64_t end = stage_begin_ + stage_steps();
    Progress progress("healing (" + std::string(loss_name(stage.loss)) + ")",
                      (end - step_) * training_.tokens() / pace_.steps_per_epoch, "tokens");
    const Objective judge = objective();
    while (step_ < end && (options_.patience == 0 || unimproved_ < options_.patience)) {
      const std::int64_t before = result_.tokens;
      train(judge, position_.next(pace_));
      progress.advance(result_.tokens - before, note(stage.steps.back()));
      if ((step_ - stage_begin_) % pace_.validate_every == 0 || step_ == end) validate_now();
      if (since_save_.seconds() >= options_.save_every) save();
    }
    save();
  }

  Schedule schedule() const {
    const double rate = pace_.learning_rate * (stage_ == 0 ? 1 : options_.later_rate);
    const auto steps = static_cast<double>(stage_steps());
    return {.warmup = std::ceil(options_.warmup_fraction * steps),
            .total = steps,
            .maximum = rate,
            .minimum = std::min(options_.minimum_learning_rate, rate)};
  }

  // One optimizer step: the gradient of the mean over all its terms, gathered micro-batch by micro-batch.
  void train(const Objective& judge, const Indices& sequences) {
    const Stopwatch clock;
    const double terms = judge.terms(training_, sequences);
    HealStep record{.step = ++step_, .tokens = result_.tokens + token_count(training_, sequences)};
    for (const Indices& group : micro_batches(training_, sequences, pace_.micro_batch_tokens)) {
      check_interrupted();
      const WindowStates states = states_(training_, group);
      student_.add_gradient(states.input, [&](const torch::Tensor& prediction) {
        Judgement judgement = judge.judge(prediction, states, training_, group, /*gradient=*/true);
        record.loss += judgement.sum / terms;
        return judgement.gradient.div_(terms);
      });
    }
    require_finite(record.loss, "loss", step_, advice());
    record.gradient_norm = clip_gradients(student_.parameters(), options_.clip);
    require_finite(record.gradient_norm, "gradient's norm", step_, advice());
    record.learning_rate = learning_rate(schedule(), static_cast<double>(step_ - stage_begin_));
    optimizer_->step(record.learning_rate);
    const std::int64_t tokens = record.tokens - result_.tokens;
    result_.tokens = record.tokens;
    current().steps.push_back(record);
    if (!options_.log) return;
    Json line = to_json(record);
    line["stage"] = loss_name(judge.loss());
    const double seconds = clock.seconds();
    line["tokens_per_second"] = static_cast<double>(tokens) / seconds;
    line["seconds_left"] = seconds * static_cast<double>(stage_begin_ + stage_steps() - step_);
    options_.log(line);
  }

  const char* advice() const {
    return options_.state_file.empty() ? "lower the learning rate"
                                       : "lower the learning rate; the state before it is kept";
  }

  double validation_error(bool of_nothing) const {
    const torch::NoGradGuard no_grad;
    const Objective judge = objective();
    double sum = 0;
    const Indices all = all_sequences(validation_);
    for (const Indices& group : micro_batches(validation_, all, pace_.micro_batch_tokens)) {
      check_interrupted();
      const WindowStates states = states_(validation_, group);
      const auto prediction = of_nothing ? states.nothing : student_.forward(states.input);
      sum += judge.judge(prediction, states, validation_, group, /*gradient=*/false).sum;
    }
    return sum / judge.terms(validation_, all);
  }

  void validate_now() {
    const double error = validation_error(/*of_nothing=*/false);
    require_finite(error, "validation error", step_, advice());
    HealStage& stage = current();
    const bool first = stage.validations.empty();
    ++unimproved_;
    if (first) stage.initial = error;
    if (first || error < stage.best) {
      stage.best = error;
      stage.best_step = step_;
      best_ = student_.snapshot();
      unimproved_ = 0;
    }
    stage.validations.push_back({step_, error});
    if (options_.log)
      options_.log({{"step", step_},
                    {"stage", loss_name(stage.loss)},
                    {"validation_error", error},
                    {"best_step", stage.best_step}});
  }

  void save() {
    if (options_.state_file.empty()) return;
    since_save_ = Stopwatch();
    result_.seconds += clock_.seconds();
    clock_ = Stopwatch();
    TrainState state{.run = run_,
                     .progress = {{"stage", stage_},
                                  {"step", step_},
                                  {"stage_begin", stage_begin_},
                                  {"position", position_.to_json()},
                                  {"unimproved", unimproved_},
                                  {"updates", optimizer_->updates()},
                                  {"result", to_json(result_)}}};
    each_tensor(
        [&](const std::string& name, const torch::Tensor& tensor) { state.tensors.emplace_back(name, tensor); });
    save_train_state(state, options_.state_file);
  }

  bool resume() {
    if (options_.state_file.empty()) return false;
    const auto state = load_train_state(options_.state_file, run_);
    if (!state) return false;
    const torch::NoGradGuard no_grad;
    const std::string where = options_.state_file.string();
    const Json& progress = state->progress;
    const auto integer = [&](const char* key) {
      const auto value = json_integer(progress, key, where);
      if (!value) fail(ErrorKind::format, where, ": the training state has no '", key, "'; delete it to begin anew");
      return *value;
    };
    result_ = heal_result_from_json(progress.at("result"), where);
    stage_ = static_cast<std::size_t>(integer("stage"));
    step_ = integer("step");
    stage_begin_ = integer("stage_begin");
    unimproved_ = integer("unimproved");
    position_ = TextPosition::from_json(progress.at("position"), pace_, where);
    new_optimizer();
    optimizer_->set_updates(integer("updates"));
    best_ = student_.snapshot();
    each_tensor([&](const std::string& name, torch::Tensor tensor) { tensor.copy_(state->at(name)); });
    log_info("healing goes on at step " + std::to_string(step_) + " (" + where + ")");
    return true;
  }

  // What a run goes on from: all that learns, its moments, and the best weights so far.
  template <class Visit>
  void each_tensor(Visit&& visit) {
    const auto& parameters = student_.parameters();
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      visit("parameter." + std::to_string(i), parameters[i]);
      visit("mean." + std::to_string(i), optimizer_->means()[i]);
      visit("square." + std::to_string(i), optimizer_->squares()[i]);
    }
    std::size_t number = 0;
    for (const LayerWeights& network : best_)
      for (const torch::Tensor& tensor : network.all()) visit("best." + std::to_string(number++), tensor);
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
  TextPosition position_;
  std::optional<AdamW> optimizer_ = {};
  std::string run_ = {};

  std::size_t stage_ = 0;
  std::int64_t step_ = 0, stage_begin_ = 0, unimproved_ = 0;
  std::vector<LayerWeights> best_ = {};
  HealResult result_ = {};
  Stopwatch clock_ = {}, since_save_ = {};
};

}  // namespace

HealResult heal_window(const Model& model, std::int64_t first, std::int64_t count, const ReplacementChoice& choice,
                       const TokenBatches& training, const TokenBatches& validation, const HealOptions& options) {
  check(model, first, count, choice, training, validation, options);
  return translating_errors([&] { return Healing(model, first, count, choice, training, validation, options).run(); });
}

}  // namespace streamline
