// SPDX-License-Identifier: Apache-2.0
#include "evaluation.h"

#include "kept.h"
#include "rank_group.h"
#include "streamline/base/log.h"
#include "streamline/base/number_text.h"
#include "streamline/base/resources.h"
#include "streamline/base/version.h"
#include "streamline/nn/type_name.h"

namespace streamline::cli {
namespace {

std::string percent(std::int64_t part, std::int64_t all) {
  return fixed(100 * static_cast<double>(part) / static_cast<double>(all), 1) + " %";
}

// One line a task of which texts were cut, whose answers are therefore to other questions than asked.
void warn_of_truncation(const std::vector<TaskAnswers>& answers, std::int64_t most, Evaluation& evaluation) {
  for (const auto& group : by_group(answers)) {
    std::int64_t truncated = 0, questions = 0;
    for (const TaskAnswers& set : group) truncated += set.truncated, questions += std::ssize(set.answers);
    if (truncated == 0) continue;
    evaluation.warn(benchmark_name(group) + ": " + std::to_string(truncated) + " of " + std::to_string(questions) +
                    " questions (" + percent(truncated, questions) + ") are longer than " + std::to_string(most) +
                    " tokens with one of their answers; their beginnings were cut off");
  }
}

void answer_sets(const Model& model, const Tokenizer& tokenizer, const Workload& workload, const Keep& keep,
                 Evaluation& evaluation) {
  for (const TaskSet& set : workload.sets) {
    auto kept = kept_answers(keep, workload, set);
    if (all_see(kept.has_value(), keep.folder)) {
      log_info(set.name + ": answers are in " + keep.folder + " already");
      evaluation.answers.push_back(std::move(*kept));
      continue;
    }
    evaluation.answers.push_back(answer(model, tokenizer, set, workload.scoring));
    keep_answers(keep, workload, set, evaluation.answers.back());
  }
  warn_of_truncation(evaluation.answers, most_tokens(model, workload.scoring), evaluation);
}

// Whether token by token comparison makes sense; if not, says why.
bool comparable(const Model& model, const Workload& workload, const Source& source, Evaluation& evaluation) {
  if (workload.texts.empty()) return false;
  if (model.config().vocab != source.model->config().vocab) {
    evaluation.warn("the vocabulary of " + std::to_string(model.config().vocab) + " tokens is not the source's of " +
                    std::to_string(source.model->config().vocab) + ": there is no divergence between them");
    return false;
  }
  for (std::size_t i = 0; i < workload.texts.size(); ++i)
    if (workload.texts[i].digest != source.texts[i] || workload.perplexity.window != source.window) {
      evaluation.warn("the windows of " + workload.texts[i].source +
                      " hold other tokens than the source's: there is no divergence between the two");
      return false;
    }
  return true;
}

// The source reads a text for them once, and only when a model needs them that has no figures in --out.
const SourcePredictions& predictions_of(Source& source, const Workload& workload, std::size_t text) {
  if (!source.predictions[text])
    source.predictions[text] =
        source_predictions(*source.model, workload.texts[text], workload.perplexity, workload.bos);
  return *source.predictions[text];
}

KeptPerplexity measured(const Model& model, const Workload& workload, std::size_t text, Source* source) {
  if (source == nullptr)
    return {.key = {}, .result = perplexity(model, workload.texts[text], workload.perplexity, workload.bos)};
  ComparedPredictions compared = compare_predictions(model, *source->model, predictions_of(*source, workload, text),
                                                     workload.texts[text], workload.perplexity, workload.bos);
  return {.key = {}, .result = std::move(compared.perplexity), .divergence = compared.divergence};
}

template <class Measure>
KeptPerplexity kept_or(const Keep& keep, const Workload& workload, const EvaluationText& text, const Json& source,
                       Measure measure) {
  auto kept = kept_perplexity(keep, workload, text, source);
  if (all_see(kept.has_value(), keep.folder)) {
    log_info("the perplexity on " + text.source + " is in " + keep.folder + " already");
    return std::move(*kept);
  }
  KeptPerplexity found = measure();
  keep_perplexity(keep, workload, text, source, found);
  return found;
}

}  // namespace

void Evaluation::warn(const std::string& message) {
  log_warning(message);
  warnings.push_back(message);
}

Json model_key(const Model& model, const std::string& plan_digest, std::uint64_t seed) {
  return {{"model", model.checkpoint().digest()},
          {"plan", plan_digest},
          {"dtype", type_name(model.placement().dtype)},
          {"version", program_version()},
          {"seed", seed}};
}

Evaluation evaluate_source(const Model& model, const Tokenizer& tokenizer, const Workload& workload, const Keep& keep,
                           Source& source) {
  const Stopwatch watch;
  check_kept(keep, workload);
  source.model = &model;
  source.key = keep.key;
  source.window = workload.perplexity.window;
  source.predictions.resize(workload.texts.size());
  Evaluation evaluation;
  for (std::size_t i = 0; i < workload.texts.size(); ++i) {
    const EvaluationText& text = workload.texts[i];
    source.texts.push_back(text.digest);
    evaluation.perplexities.push_back(kept_or(keep, workload, text, nullptr, [&]() -> KeptPerplexity {
                                        return {.key = {}, .result = predictions_of(source, workload, i).perplexity};
                                      }).result);
  }
  answer_sets(model, tokenizer, workload, keep, evaluation);
  evaluation.seconds = watch.seconds();
  return evaluation;
}

Evaluation evaluate(const Model& model, const Tokenizer& tokenizer, const Workload& workload, const Keep& keep,
                    Source* source) {
  const Stopwatch watch;
  check_kept(keep, workload);
  Evaluation evaluation;
  Source* compared = source != nullptr && comparable(model, workload, *source, evaluation) ? source : nullptr;
  const Json source_key = compared != nullptr ? compared->key : Json();
  for (std::size_t i = 0; i < workload.texts.size(); ++i) {
    KeptPerplexity found =
        kept_or(keep, workload, workload.texts[i], source_key, [&] { return measured(model, workload, i, compared); });
    evaluation.perplexities.push_back(std::move(found.result));
    if (found.divergence) evaluation.divergences.push_back(*found.divergence);
  }
  answer_sets(model, tokenizer, workload, keep, evaluation);
  evaluation.seconds = watch.seconds();
  return evaluation;
}

}  // namespace streamline::cli
