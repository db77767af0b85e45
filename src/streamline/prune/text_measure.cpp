// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/text_measure.h"

#include "streamline/base/error.h"
#include "streamline/eval/logit_difference.h"

namespace streamline {
namespace {

constexpr std::int64_t kRowsAtOnce = 2048;  // whose logits are compared: bounds what lives beside them

// Mean over the positions of each sequence.
std::vector<double> differences(const Model& model, TextMeasure measure, const torch::Tensor& whole,
                                const torch::Tensor& last) {
  const std::int64_t sequences = whole.size(0), positions = whole.size(1) - 1;
  std::vector<double> means(static_cast<std::size_t>(last.size(0)), 0.0);
  const std::int64_t copies_at_once = std::max<std::int64_t>(1, kRowsAtOnce / positions);
  for (std::int64_t sequence = 0; sequence < sequences; ++sequence) {
    const torch::Tensor own = last.slice(0, sequence, {}, sequences).narrow(1, 0, positions);  // [copies, …]
    const torch::Tensor reference = whole[sequence].narrow(0, 0, positions);
    for (std::int64_t first = 0; first < own.size(0); first += copies_at_once) {
      const std::int64_t count = std::min(copies_at_once, own.size(0) - first);
      const auto rows = logit_differences(model, reference, own.narrow(0, first, count).flatten(0, 1));
      for (std::size_t i = 0; i < rows.size(); ++i) {
        const std::int64_t copy = first + static_cast<std::int64_t>(i) / positions;
        means[static_cast<std::size_t>(copy * sequences + sequence)] +=
            (measure == TextMeasure::kl ? rows[i].kl : rows[i].l2) / static_cast<double>(positions);
      }
    }
  }
  return means;
}

}  // namespace

TextMeasure text_measure(std::string_view name) {
  if (name == "loss") return TextMeasure::loss;
  if (name == "logits") return TextMeasure::logits;
  SL_ASSERT(name == "kl");
  return TextMeasure::kl;
}

Param measure_param(const std::string& default_measure) {
  return {.name = "measure",
          .type = ParamType::text,
          .help =
              "what is lost: loss (of the next token), logits (distance from the whole model's), or kl (divergence "
              "from it)",
          .default_value = default_measure,
          .choices = {"loss", "logits", "kl"}};
}

std::vector<double> measure(const Model& model, TextMeasure measure, const TextBatch& batch, const torch::Tensor& whole,
                            const torch::Tensor& last) {
  if (measure == TextMeasure::loss) return sequence_losses(model, batch, last);
  return differences(model, measure, whole, last);
}

}  // namespace streamline
