// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/inside_gradients.h"

#include <algorithm>

#include "streamline/base/error.h"
#include "streamline/engine/tail.h"

namespace streamline {
namespace {

// Hands out a layer's gradients when the next one is asked for on the way back, and once at the end.
class GradientSource {
 public:
  GradientSource(const Model& model, GradientOf what, double tokens,
                 const std::function<void(std::int64_t, const LayerGradients&)>& visit)
      : model_(model), what_(what), tokens_(tokens), visit_(visit) {}

  LayerWeights layer(std::int64_t index) {
    if (!torch::GradMode::is_enabled()) return model_.layer(index);
    finish();
    current_ = index;
    weights_ = model_.layer(index);
    if (what_ == GradientOf::weights) {
      weights_ = transformed(weights_, [](const torch::Tensor& tensor) { return tensor.detach().requires_grad_(); });
    } else {
      weights_.gates = unit_gates(weights_.config, weights_.all().front().options());
      for (torch::Tensor* gate : {&weights_.gates.heads, &weights_.gates.channels})
        if (gate->defined()) gate->requires_grad_();
    }
    return weights_;
  }

  void finish() {
    if (current_ < 0) return;
    const torch::NoGradGuard no_grad;
    for (const torch::Tensor& tensor : weights_.all())
      if (tensor.grad().defined()) tensor.mutable_grad().div_(tokens_);
    const auto of_gate = [&](const torch::Tensor& gate) {
      return gate.defined() && gate.grad().defined() ? gate.grad() / tokens_ : torch::Tensor();
    };
    visit_(current_,
           {.weights = weights_, .heads = of_gate(weights_.gates.heads), .channels = of_gate(weights_.gates.channels)});
    weights_ = {};
    current_ = -1;
  }

 private:
  const Model& model_;
  GradientOf what_;
  double tokens_;
  const std::function<void(std::int64_t, const LayerGradients&)>& visit_;
  std::int64_t current_ = -1;
  LayerWeights weights_;
};

}  // namespace

Gates unit_gates(const LayerConfig& layer, const torch::TensorOptions& options) {
  Gates gates;
  if (layer.attention) gates.heads = torch::ones({layer.attention->kv_heads}, options);
  if (!layer.mlp) return gates;
  gates.channels = layer.mlp->experts ? torch::ones({layer.mlp->experts->count, layer.mlp->intermediate}, options)
                                      : torch::ones({layer.mlp->intermediate}, options);
  return gates;
}

double inside_gradients(const Model& model, const torch::Tensor& ids, GradientOf what,
                        const std::function<void(std::int64_t layer, const LayerGradients&)>& visit) {
  SL_ASSERT(ids.dim() == 2 && ids.size(1) > 1);
  const auto tokens = static_cast<double>(ids.size(0) * (ids.size(1) - 1));
  return translating_errors([&] {
    GradientSource source(model, what, tokens, visit);
    const Tail tail(model, 0, [&](std::int64_t layer) { return source.layer(layer); });
    const double sum = tail.next_token(model.embed(ids), ids, /*gradient=*/true).sum;
    source.finish();
    return sum / tokens;
  });
}

torch::Tensor first_sequences(const TokenBatches& text, std::int64_t count, std::int64_t length, torch::Device device) {
  std::vector<std::vector<std::int64_t>> rows;
  std::size_t tokens = 0;
  for (const auto& sequence : text.sequences) {
    const std::size_t cut = std::min(sequence.size(), static_cast<std::size_t>(length));
    if (cut < 2 || std::ssize(rows) >= count) continue;
    if (rows.empty()) tokens = cut;
    if (cut == tokens) rows.emplace_back(sequence.begin(), sequence.begin() + static_cast<std::ptrdiff_t>(cut));
  }
  if (rows.empty())
    fail(ErrorKind::resource, "the text has no sequence of two tokens to take a loss of; give more of it");
  auto ids = torch::empty({std::ssize(rows), static_cast<std::int64_t>(tokens)}, torch::kLong);
  for (std::size_t row = 0; row < rows.size(); ++row)
    ids[static_cast<std::int64_t>(row)].copy_(torch::tensor(rows[row], torch::kLong));
  return ids.to(device);
}

}  // namespace streamline
