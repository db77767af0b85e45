// SPDX-License-Identifier: Apache-2.0
#include "streamline/tasks/lm_eval_samples.h"

#include <array>
#include <charconv>

#include "streamline/base/digest.h"
#include "streamline/base/error.h"

namespace streamline {
namespace {

std::string without_delimiter(const std::string& continuation) {
  return continuation.starts_with(' ') ? continuation.substr(1) : continuation;
}

// As Python prints it: the shortest digits that mean this number, the nearer ones if there are several.
std::string python_number(double value) {
  std::array<char, 32> digits{};
  char* const end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  std::string text(digits.data(), end);
  return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
}

// The texts of a question as the harness hands them to a model.
Json arguments(const TaskItem& item) {
  Json calls = Json::object();
  for (std::size_t i = 0; i < item.continuations.size(); ++i)
    calls["gen_args_" + std::to_string(i)] = {{"arg_0", item.contexts.at(i)}, {"arg_1", item.continuations[i]}};
  return calls;
}

Json document(const TaskItem& item) {
  Json choices = Json::array();
  for (const std::string& continuation : item.continuations) choices.push_back(without_delimiter(continuation));
  return {{"id", item.id}, {"choices", choices}, {"gold", item.gold}};
}

// A metric's value before the mean is taken.
double value_of(const std::string& metric, const TaskAnswers& set, const Answer& answer) {
  if (metric == "perplexity") return answer.log_likelihoods.at(answer.gold);
  return (metric == "acc_norm" ? most_likely_a_character(answer) == answer.gold : is_right(set, answer)) ? 1 : 0;
}

}  // namespace

Json lm_eval_sample(const TaskAnswers& set, const TaskSet& questions, std::size_t document_id) {
  const Answer& answer = set.answers.at(document_id);
  const TaskItem& item = questions.items.at(document_id);
  SL_ASSERT(item.continuations.size() == answer.log_likelihoods.size() &&
            answer.greedy.size() == answer.log_likelihoods.size());
  const std::string target =
      set.rule == Rule::greedy ? item.continuations.at(answer.gold) : std::to_string(answer.gold);
  Json sample = {{"doc_id", document_id}, {"doc", document(item)}, {"target", target}, {"arguments", arguments(item)}};
  Json responses = Json::array(), filtered = Json::array();
  for (std::size_t i = 0; i < answer.log_likelihoods.size(); ++i) {
    // Numbers as strings, as the harness has it.
    const Json response = {python_number(answer.log_likelihoods[i]), answer.greedy[i] ? "True" : "False"};
    responses.push_back(Json::array({response}));
    filtered.push_back(response);
  }
  sample["resps"] = std::move(responses);
  sample["filtered_resps"] = std::move(filtered);
  sample["filter"] = "none";
  sample["metrics"] = set.metrics;
  sample["doc_hash"] = sha256(sample["doc"].dump(2, ' ', false, Json::error_handler_t::replace));
  sample["prompt_hash"] = sha256(item.contexts.at(0));
  sample["target_hash"] = sha256(target);
  for (const std::string& metric : set.metrics) sample[metric] = value_of(metric, set, answer);
  return sample;
}

}  // namespace streamline
