// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>

#include "streamline/base/error.h"
#include "streamline/base/file.h"
#include "streamline/base/json.h"
#include "streamline/tasks/answers_file.h"
#include "streamline/tasks/harness_names.h"
#include "streamline/tasks/opencompass_files.h"

namespace streamline {
namespace {

// OpenCompass's labels are numbers or words, and keep their type.
Json as_label(const std::string& label) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(label.data(), label.data() + label.size(), number);
  const bool whole = error == std::errc() && end == label.data() + label.size();
  return whole && std::to_string(number) == label ? Json(number) : Json(label);
}

std::string label_of(const TaskAnswers& set, std::size_t choice) {
  return choice < set.labels.size() ? set.labels[choice] : std::to_string(choice);
}

Json prediction_of(const TaskAnswers& set, const Answer& answer, const TaskItem& item) {
  Json entry = {{"in-context examples", ""}};
  for (std::size_t choice = 0; choice < answer.log_likelihoods.size(); ++choice) {
    const std::string text = item.contexts.at(choice) + item.continuations.at(choice);
    const double ppl = -answer.log_likelihoods[choice] / static_cast<double>(answer.tokens.at(choice));
    if (choice == 0) entry["origin_prompt"] = text;
    Json& label = entry["label: " + label_of(set, choice)];
    label = {{"testing input", text}, {"prompt", text}, {"PPL", ppl}};
    if (!text.empty()) label["BPB"] = -answer.log_likelihoods[choice] / static_cast<double>(text.size());
  }
  entry["prediction"] = as_label(label_of(set, lowest_mean_nll(answer)));
  entry["gold"] = as_label(label_of(set, answer.gold));
  return entry;
}

}  // namespace

void write_opencompass(const std::filesystem::path& folder, const std::string& model,
                       std::span<const TaskAnswers> answers, std::span<const TaskSet> questions) {
  SL_ASSERT(answers.size() == questions.size());
  for (std::size_t i = 0; i < answers.size(); ++i) {
    const TaskAnswers& set = answers[i];
    SL_ASSERT(set.style == Style::opencompass && set.answers.size() == questions[i].items.size());
    Json predictions = Json::object();
    for (std::size_t item = 0; item < set.answers.size(); ++item)
      predictions[std::to_string(item)] = prediction_of(set, set.answers[item], questions[i].items[item]);
    const std::string& name = questions[i].also.empty() ? set.name : questions[i].also;
    check_set_name(name);
    write_text(folder / "opencompass" / "predictions" / model_folder(model) / (name + ".json"),
               predictions.dump(4, ' ', false, Json::error_handler_t::replace));
  }
}

}  // namespace streamline
