// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/inside_gradients.h"

#include <algorithm>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/engine/tail.h"

namespace streamline {
namespace {

constexpr std::int64_t kPieceTokens = 512;  // that run together

// Some of the sequences on their way.
struct Piece {
  torch::Tensor ids = {};                  // [sequences, seq]
  std::vector<torch::Tensor> states = {};  // h_0 … of the layers that are still to be gone back through
  torch::Tensor gradient = {};             // of the loss, with respect to what leaves the last of these layers
};

// This rank's.
std::vector<Piece> own_pieces(const Model& model, const torch::Tensor& ids) {
  std::vector<Piece> pieces;
  std::int64_t part = 0;
  for (const torch::Tensor& some : ids.split(std::max<std::int64_t>(1, kPieceTokens / ids.size(1))))
    if (model.placement().ranks.takes(part++)) pieces.push_back({.ids = some, .states = {model.embed(some)}});
  return pieces;
}

// h_1 … h_L of all pieces.
void run_forward(const Model& model, const Positions& positions, std::vector<Piece>& pieces) {
  const torch::NoGradGuard no_grad;
  for (std::int64_t i = 0; i < model.layer_count(); ++i) {
    const LayerWeights weights = model.layer(i);
    for (Piece& piece : pieces) {
      check_interrupted();
      piece.states.push_back(block_forward(model.config(), weights, piece.states.back(), positions));
    }
  }
}

// A layer whose tensors or gates want gradients, and the sums of these.
class GradientSums {
 public:
  GradientSums(const LayerWeights& layer, GradientOf what) : weights_(layer) {
    const auto leaf = [](const torch::Tensor& tensor) { return tensor.detach().requires_grad_(); };
    const auto zeros = [this](const torch::Tensor& tensor) {
      return sums_.emplace_back(torch::zeros(tensor.sizes(), tensor.options().dtype(torch::kDouble)));
    };
    if (what == GradientOf::weights) {
      tensors_ = transformed(layer, zeros);
      weights_ = transformed(layer, leaf);
      leaves_ = weights_.all();
      return;
    }
    weights_.gates = unit_gates(layer.config, layer.all().front().options());
    for (const auto& [gate, sum] :
         {std::pair(&weights_.gates.heads, &heads_), {&weights_.gates.channels, &channels_}}) {
      if (!gate->defined()) continue;
      *sum = zeros(*gate);
      leaves_.push_back(gate->requires_grad_());
    }
  }

  const LayerWeights& weights() const { return weights_; }

  // Takes in what the leaves have.
  void add() {
    const torch::NoGradGuard no_grad;
    for (std::size_t i = 0; i < leaves_.size(); ++i) {
      torch::Tensor& gradient = leaves_[i].mutable_grad();
      if (gradient.defined()) sums_[i].add_(gradient);
      gradient.reset();
    }
  }

  LayerGradients finish(const Ranks& ranks, double tokens) const {
    ranks.sum(sums_);
    for (const torch::Tensor& sum : sums_) sum.div_(tokens);
    return {.weights = weights_, .tensors = tensors_, .heads = heads_, .channels = channels_};
  }

 private:
  LayerWeights weights_, tensors_;
  torch::Tensor heads_, channels_;
  std::vector<torch::Tensor> leaves_, sums_;  // in the same order
};

// From what leaves a layer to what enters it.
void run_back(const Model& model, const Positions& positions, GradientSums& sums, std::vector<Piece>& pieces) {
  const torch::AutoGradMode with_gradient(true);
  for (Piece& piece : pieces) {
    check_interrupted();
    const auto input = piece.states.back().detach().requires_grad_();
    block_forward(model.config(), sums.weights(), input, positions).backward(piece.gradient);
    piece.gradient = input.grad();
    piece.states.pop_back();
    sums.add();
  }
}

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
  const Ranks& ranks = model.placement().ranks;
  const auto tokens = static_cast<double>(ids.size(0) * (ids.size(1) - 1));
  return translating_errors([&] {
    const Positions positions = rope_positions(model.config(), 0, ids.size(1), ids.device());
    std::vector<Piece> pieces = own_pieces(model, ids);
    run_forward(model, positions, pieces);
    const Tail head(model, model.layer_count());
    double loss = 0;
    for (Piece& piece : pieces) {
      const TailLoss found = head.next_token(piece.states.back(), piece.ids, /*gradient=*/true);
      piece.gradient = found.gradient;
      piece.states.pop_back();
      loss += found.sum;
    }
    for (std::int64_t layer = model.layer_count() - 1; layer >= 0; --layer) {
      GradientSums sums(model.layer(layer), what);
      run_back(model, positions, sums, pieces);
      const torch::NoGradGuard no_grad;
      visit(layer, sums.finish(ranks, tokens));
    }
    return ranks.sum(loss) / tokens;
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
