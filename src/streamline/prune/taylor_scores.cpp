// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/taylor_scores.h"

#include <array>

#include "streamline/base/error.h"
#include "streamline/prune/shared_scores.h"

namespace streamline {
namespace {

struct FormName {
  std::string_view name;
  TaylorForm form;
};
constexpr std::array kTaylorForms = {FormName{"elements", TaylorForm::elements}, FormName{"group", TaylorForm::group},
                                     FormName{"gate", TaylorForm::gate}};

InsideScores by_weights(const LayerGradients& gradients, TaylorForm form) {
  GroupedValues sums(gradients.weights.config);
  const std::vector<PlacedTensor> slopes = placed_tensors(gradients.tensors);
  auto slope = slopes.begin();
  for (const PlacedTensor& tensor : placed_tensors(gradients.weights)) {
    const torch::Tensor change = tensor.value * (slope++)->value;
    if (tensor.part != Part::weight) continue;
    sums.add(tensor.role, tensor.part, tensor.expert, form == TaylorForm::elements ? change.abs() : change);
  }
  return sums.scores(form == TaylorForm::elements ? GroupSum::magnitudes : GroupSum::signed_sum);
}

}  // namespace

TaylorForm taylor_form(std::string_view name) {
  for (const FormName& known : kTaylorForms)
    if (known.name == name) return known.form;
  fail(ErrorKind::usage, "'", name, "' is none of elements, group and gate");
}

UnitScores taylor_scores(const Model& model, const torch::Tensor& ids, TaylorForm form) {
  const bool gates = form == TaylorForm::gate;
  return gradient_scores(model, ids, gates ? GradientOf::gates : GradientOf::weights,
                         [&](std::int64_t, const LayerGradients& gradients) {
                           return gates ? gate_scores(gradients.weights.config, gradients.heads, gradients.channels)
                                        : by_weights(gradients, form);
                         });
}

Params gradient_params() {
  return {{.name = "gradient-sequences",
           .type = ParamType::integer,
           .help = "sequences of the text that the loss is taken of",
           .default_value = 16,
           .minimum = 1},
          {.name = "gradient-length",
           .type = ParamType::integer,
           .help = "tokens of each of them",
           .default_value = 128,
           .minimum = 2}};
}

torch::Tensor gradient_tokens(const Model& model, const TokenBatches& text, const Json& params) {
  return first_sequences(text, params.at("gradient-sequences").get<std::int64_t>(),
                         params.at("gradient-length").get<std::int64_t>(), model.placement().device);
}

}  // namespace streamline
