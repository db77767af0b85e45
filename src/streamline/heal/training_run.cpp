// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/training_run.h"

#include <cmath>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/number_text.h"
#include "streamline/base/resources.h"
#include "streamline/heal/adamw.h"
#include "streamline/heal/result_json.h"
#include "streamline/heal/schedule.h"
#include "streamline/heal/text_position.h"
#include "streamline/heal/train_state.h"

namespace streamline {
namespace {

void require_finite(double value, const char* what, std::int64_t step, const char* advice) {
  if (!std::isfinite(value))
    fail(ErrorKind::numeric, "healing: the ", what, " is ", value, " at step ", step, "; ", advice);
}

// Where it stands: the last step, and the last look at the held-out text.
std::string note(const HealStage& stage) {
  const HealStep& step = stage.steps.back();
  return "step " + std::to_string(step.step) + ", loss " + general(step.loss, 4) + ", held out " +
         general(stage.validations.back().error, 4) + ", rate " + general(step.learning_rate, 2);
}

std::int64_t progress_integer(const Json& progress, const char* key, const std::string& where) {
  const auto value = json_integer(progress, key, where);
  if (!value) fail(ErrorKind::format, where, ": the training state has no '", key, "'; delete it to begin anew");
  return *value;
}

class TrainingRun {
 public:
  TrainingRun(const Trainee& trainee, const TokenBatches& training, const Pace& pace, const Rng& rng,
              const HealOptions& options, const Json& run, HealResult& result)
      : trainee_(trainee),
        training_(training),
        pace_(pace),
        options_(options),
        run_(run),
        position_(rng),
        result_(result) {}

  void run(const std::function<void()>& prepare) {
    const bool resumed = resume();
    agree_on_state(resumed);
    if (!resumed) {
      prepare();
      trainee_.ranks.broadcast(trainee_.parameters);
      begin_stage();
    }
    while (true) {
      train_stage();
      trainee_.restore(best_);
      if (stage_ + 1 == options_.losses.size()) break;
      ++stage_;
      begin_stage();
    }
    result_.seconds += clock_.seconds();
  }

 private:
  HealStage& current() { return result_.stages.back(); }
  Loss loss() const { return options_.losses[stage_].loss; }
  std::int64_t stage_steps() const {
    return std::max<std::int64_t>(
        1, static_cast<std::int64_t>(std::llround(options_.losses[stage_].share * static_cast<double>(pace_.steps))));
  }

  void new_optimizer() {
    optimizer_.emplace(
        trainee_.parameters,
        AdamWOptions{.beta1 = options_.beta1, .beta2 = options_.beta2, .weight_decay = options_.weight_decay});
  }

  void begin_stage() {
    result_.stages.push_back({.loss = loss()});
    new_optimizer();
    stage_begin_ = step_;
    unimproved_ = 0;
    current().nothing = trainee_.validation_error(loss(), /*of_nothing=*/true);
    require_finite(current().nothing, "validation error of doing nothing", step_,
                   "the model itself computes NaN or infinity on this text");
    validate();
    save();
  }

  void train_stage() {
    const HealStage& stage = current();
    if (trainee_.is_solved(stage)) return;
    const std::int64_t end = stage_begin_ + stage_steps();
    Progress progress("healing (" + std::string(loss_name(stage.loss)) + ")",
                      (end - step_) * training_.tokens() / pace_.steps_per_epoch, "tokens");
    while (step_ < end && (options_.patience == 0 || unimproved_ < options_.patience)) {
      const std::int64_t before = result_.tokens;
      train(position_.next(pace_));
      progress.advance(result_.tokens - before, note(stage));
      if ((step_ - stage_begin_) % pace_.validate_every == 0 || step_ == end) validate();
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

  // One optimizer step.
  void train(const Indices& sequences) {
    const Stopwatch clock;
    const std::int64_t tokens = token_count(training_, sequences);
    HealStep record{.step = ++step_, .tokens = result_.tokens + tokens};
    record.loss = trainee_.add_gradient(loss(), step_, sequences);
    require_finite(record.loss, "loss", step_, advice());
    record.gradient_norm = clip_gradients(trainee_.parameters, options_.clip);
    require_finite(record.gradient_norm, "gradient's norm", step_, advice());
    record.learning_rate = learning_rate(schedule(), static_cast<double>(step_ - stage_begin_));
    optimizer_->step(record.learning_rate);
    result_.tokens = record.tokens;
    current().steps.push_back(record);
    if (!options_.log) return;
    Json line = to_json(record);
    line["stage"] = loss_name(loss());
    const double seconds = clock.seconds();
    line["tokens_per_second"] = static_cast<double>(tokens) / seconds;
    line["seconds_left"] = seconds * static_cast<double>(stage_begin_ + stage_steps() - step_);
    options_.log(line);
  }

  const char* advice() const {
    return options_.state_file.empty() ? "lower the learning rate"
                                       : "lower the learning rate; the state before it is kept";
  }

  void validate() {
    const double error = trainee_.validation_error(loss(), /*of_nothing=*/false);
    require_finite(error, "validation error", step_, advice());
    HealStage& stage = current();
    const bool first = stage.validations.empty();
    ++unimproved_;
    if (first) stage.initial = error;
    if (first || error < stage.best) {
      stage.best = error;
      stage.best_step = step_;
      best_ = trainee_.snapshot();
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
    if (options_.state_file.empty() || !trainee_.ranks.first()) return;
    since_save_ = Stopwatch();
    result_.seconds += clock_.seconds();
    clock_ = Stopwatch();
    TrainState state{.run = run_,
                     .progress = {{"stage", stage_},
                                  {"step", step_},
                                  {"stage_begin", stage_begin_},
                                  {"position", position_.to_json()},
                                  {"micro_batch_tokens", pace_.micro_batch_tokens},
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
    const auto integer = [&](const char* key) { return progress_integer(progress, key, where); };
    const std::int64_t parameters = result_.trained_parameters;
    result_ = heal_result_from_json(progress.at("result"), where);
    result_.trained_parameters = parameters;
    stage_ = static_cast<std::size_t>(integer("stage"));
    if (stage_ >= options_.losses.size() || result_.stages.size() != stage_ + 1)
      fail(ErrorKind::format, where, ": the training state's stages are broken; delete it to begin anew");
    step_ = integer("step");
    stage_begin_ = integer("stage_begin");
    unimproved_ = integer("unimproved");
    position_ = TextPosition::from_json(progress.at("position"), pace_, where);
    new_optimizer();
    optimizer_->set_updates(integer("updates"));
    best_ = trainee_.snapshot();
    each_tensor([&](const std::string& name, torch::Tensor tensor) { tensor.copy_(state->at(name)); });
    log_info("healing goes on at step " + std::to_string(step_) + " (" + where + ")");
    return true;
  }

  void agree_on_state(bool resumed) const {
    const std::string mine = resumed ? "one of step " + std::to_string(step_) : "none";
    for (const std::string& theirs : trainee_.ranks.gather(mine))
      if (theirs != mine)
        fail(ErrorKind::io, options_.state_file.string(), ": ranks find different training states (", mine, ", ",
             theirs, "); give a folder that all of them share");
  }

  // What a run goes on from: all that learns, its moments, and the best weights so far.
  template <class Visit>
  void each_tensor(Visit&& visit) {
    for (std::size_t i = 0; i < trainee_.parameters.size(); ++i) {
      visit("parameter." + std::to_string(i), trainee_.parameters[i]);
      visit("mean." + std::to_string(i), optimizer_->means()[i]);
      visit("square." + std::to_string(i), optimizer_->squares()[i]);
    }
    for (std::size_t i = 0; i < best_.size(); ++i) visit("best." + std::to_string(i), best_[i]);
  }

  const Trainee& trainee_;
  const TokenBatches& training_;
  const Pace& pace_;
  const HealOptions& options_;
  const Json& run_;
  TextPosition position_;
  HealResult& result_;
  std::optional<AdamW> optimizer_ = {};

  std::size_t stage_ = 0;
  std::int64_t step_ = 0, stage_begin_ = 0, unimproved_ = 0;
  std::vector<torch::Tensor> best_ = {};
  Stopwatch clock_ = {}, since_save_ = {};
};

}  // namespace

void sum_gradients(const Ranks& ranks, const std::vector<torch::Tensor>& parameters) {
  if (ranks.alone()) return;
  std::vector<torch::Tensor> gradients;
  for (const torch::Tensor& parameter : parameters) {
    if (!parameter.grad().defined()) parameter.mutable_grad() = torch::zeros_like(parameter);
    gradients.push_back(parameter.grad());
  }
  ranks.sum(gradients);
}

void set_micro_batch(Pace& pace, const HealMemory& use, const TokenBatches& training, const HealOptions& options,
                     const Json& run) {
  share_micro_batches(pace, training, use.model.placement().ranks);
  std::int64_t wanted = pace.micro_batch_tokens;
  std::string state;  // that is taken up
  if (!options.state_file.empty())
    if (const auto progress = load_progress(options.state_file, run)) {
      state = options.state_file.string();
      wanted = progress_integer(*progress, "micro_batch_tokens", state);
    }
  pace.micro_batch_tokens = fitting_micro_batch(use, wanted, options.micro_batch_tokens > 0, state);
}

void check_trainable(const Model& model, const TokenBatches& training, const TokenBatches& validation) {
  if (model.placement().dtype == torch::kFloat16)
    fail(ErrorKind::unsupported, "healing: gradients underflow in float16; use --dtype bfloat16 or float32");
  if (model.route())
    fail(ErrorKind::unsupported, model.checkpoint().label(),
         ": was healed with SHERL already; nothing learns beside its side route. Start from the model before it");
  if (training.tokens() == 0) fail(ErrorKind::resource, "healing: there is no training text; give more with --data");
  if (validation.tokens() == 0)
    fail(ErrorKind::resource, "healing: there is no validation text, by which the best weights are chosen");
  check_token_range(training, model.config().vocab);
  check_token_range(validation, model.config().vocab);
}

void train(const Trainee& trainee, const TokenBatches& training, const Pace& pace, const Rng& rng,
           const HealOptions& options, const Json& run, const std::function<void()>& prepare, HealResult& result) {
  TrainingRun(trainee, training, pace, rng, options, run, result).run(prepare);
}

}  // namespace streamline
