// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/resources.h"
#include "streamline/heal/adamw.h"
#include "streamline/heal/pace.h"
#include "streamline/heal/student.h"

namespace streamline {
namespace {

void check(const Model& model, std::int64_t first, std::int64_t count, const TokenBatches& training,
           const TokenBatches& validation, const HealOptions& options) {
  if (first < 0 || count < 1 || first + count > model.layer_count())
    fail(ErrorKind::usage, "healing: layers ", first, "..", first + count - 1, " are not a window of a model with ",
         model.layer_count(), " layers");
  if (model.placement().dtype == torch::kFloat16)
    fail(ErrorKind::unsupported, "healing: gradients underflow in float16; use --dtype bfloat16 or float32");
  if (training.tokens() == 0) fail(ErrorKind::resource, "healing: there is no training text; give more with --data");
  if (validation.tokens() == 0)
    fail(ErrorKind::resource, "healing: there is no validation text, by which the best weights are chosen");
  if (options.epochs < 1) fail(ErrorKind::usage, "healing: ", options.epochs, " epochs; at least 1 is needed");
  check_token_range(training, model.config().vocab);
  check_token_range(validation, model.config().vocab);
}

// Master weights, gradient, two moments, the best copy, and the compute type's copy with its gradient: 28 bytes a
// parameter; a layer's activations, kept for the backward pass, are about 20 hidden states and 8 MLP states.
void check_memory(const Model& body, const Student& student, const LayerConfig& shape, std::int64_t longest,
                  std::int64_t micro_batch_tokens) {
  if (!body.placement().device.is_cpu()) return;
  const std::int64_t together = std::max(longest, micro_batch_tokens);
  const std::int64_t active = shape.mlp && shape.mlp->experts ? shape.mlp->experts->active : 1;
  const std::int64_t width = 20 * body.config().hidden + 8 * active * (shape.mlp ? shape.mlp->intermediate : 0);
  const std::uint64_t needed = sweep_memory(body, longest, together) +
                               static_cast<std::uint64_t>(28 * student.parameter_count() + 4 * together * width);
  if (needed > available_memory())
    fail(ErrorKind::resource, "healing needs about ", format_bytes(needed), " of memory; ",
         format_bytes(available_memory()), " are available; use shorter sequences or a smaller replacement");
}

struct Errors {
  double identity = 0, student = 0;  // mean squared errors
};

Errors validate(const Model& body, std::int64_t first, const Student& student, const TokenBatches& validation,
                std::int64_t micro_batch_tokens) {
  const torch::NoGradGuard no_grad;
  Errors sums;
  Indices all(validation.sequences.size());
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = static_cast<std::int64_t>(i);
  for (const Indices& group : micro_batches(validation, all, micro_batch_tokens)) {
    check_interrupted();
    const WindowStates states = window_states(body, first, validation, group);
    sums.identity += squared_error(states.input, states.output).item<double>();
    sums.student += squared_error(student.forward(states.input), states.output).item<double>();
  }
  const auto elements = static_cast<double>(validation.tokens() * body.config().hidden);
  return {sums.identity / elements, sums.student / elements};
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
  Healing(const Model& model, std::int64_t first, std::int64_t count, const Replacement& replacement,
          const TokenBatches& training, const TokenBatches& validation, const HealOptions& options)
      : first_(first),
        training_(training),
        validation_(validation),
        options_(options),
        pace_(pace_of(training, validation, replacement.learning_rate, options)),
        body_(model.truncated(first + count)),
        rng_(options.seed),
        student_(body_.config(), body_.placement(), replacement.initial(body_, first, rng_)),
        optimizer_(student_.parameters(),
                   {.beta1 = options.beta1, .beta2 = options.beta2, .weight_decay = options.weight_decay}) {
    check_memory(body_, student_, replacement.shape(body_.config(), first), longest_sequence(training),
                 pace_.micro_batch_tokens);
    result_.trained_parameters = student_.parameter_count();
  }

  HealResult run() {
    const Stopwatch clock;
    validate_now(0);
    if (result_.best_mse > 0) train_all();  // a copy of the only layer cut has nothing to learn, and stays exact
    result_.seconds = clock.seconds();
    return std::move(result_);
  }

 private:
  void train_all() {
    Progress progress("healing", training_.tokens() * options_.epochs, "tokens");
    std::int64_t step = 0;
    for (std::int64_t epoch = 0; epoch < options_.epochs; ++epoch) {
      const Indices order = permutation(pace_.sequences, rng_);
      for (std::int64_t begin = 0; begin < pace_.sequences; begin += pace_.sequences_per_step) {
        const std::int64_t end = std::min(begin + pace_.sequences_per_step, pace_.sequences);
        const std::int64_t before = result_.tokens;
        train({order.begin() + begin, order.begin() + end}, ++step);
        progress.advance(result_.tokens - before, note(result_.steps.back()));
        if (step % pace_.validate_every == 0 || step == pace_.steps) validate_now(step);
      }
    }
  }

  // One optimizer step: the gradient of the mean over all its tokens, gathered micro-batch by micro-batch.
  void train(const Indices& sequences, std::int64_t step) {
    const std::int64_t tokens = token_count(training_, sequences);
    const auto elements = static_cast<double>(tokens * body_.config().hidden);
    HealStep record{.step = step, .tokens = result_.tokens + tokens};
    for (const Indices& group : micro_batches(training_, sequences, pace_.micro_batch_tokens))
      record.loss += student_.add_gradient(window_states(body_, first_, training_, group), elements);
    require_finite(record.loss, "loss", step, "lower the learning rate");
    record.gradient_norm = clip_gradients(student_.parameters(), options_.clip);
    require_finite(record.gradient_norm, "gradient's norm", step, "lower the learning rate");
    record.learning_rate = learning_rate(pace_.schedule, static_cast<double>(step));
    optimizer_.step(record.learning_rate);
    result_.tokens = record.tokens;
    result_.steps.push_back(record);
  }

  void validate_now(std::int64_t step) {
    const Errors errors = validate(body_, first_, student_, validation_, pace_.micro_batch_tokens);
    require_finite(errors.identity, "difference of the hidden states around the window", step,
                   "the model itself computes NaN or infinity on this text");
    require_finite(errors.student, "validation error", step, "lower the learning rate");
    if (step == 0) {
      result_.identity_mse = errors.identity;
      result_.initial_mse = errors.student;
    }
    if (step == 0 || errors.student < result_.best_mse) {
      result_.best_mse = errors.student;
      result_.best_step = step;
      result_.weights = student_.snapshot();
    }
    result_.validations.push_back({step, errors.student});
  }

  std::int64_t first_;
  const TokenBatches& training_;
  const TokenBatches& validation_;
  HealOptions options_;
  Pace pace_;
  Model body_;
  Rng rng_;
  Student student_;
  AdamW optimizer_;
  HealResult result_;
};

}  // namespace

HealResult heal_window(const Model& model, std::int64_t first, std::int64_t count, const Replacement& replacement,
                       const TokenBatches& training, const TokenBatches& validation, const HealOptions& options) {
  check(model, first, count, training, validation, options);
  return translating_errors(
      [&] { return Healing(model, first, count, replacement, training, validation, options).run(); });
}

}  // namespace streamline
