// SPDX-License-Identifier: Apache-2.0
#include "streamline/sparse/sparsify.h"

#include <algorithm>
#include <array>
#include <utility>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/resources.h"
#include "streamline/engine/sweep.h"
#include "streamline/prune/inside_statistics.h"
#include "streamline/prune/spectra.h"
#include "streamline/sparse/input_sums.h"
#include "streamline/sparse/sparse_gpt.h"

namespace streamline::sparse {
namespace {

constexpr std::array kCriteria = {std::pair{Criterion::magnitude, "magnitude"}, std::pair{Criterion::wanda, "wanda"},
                                  std::pair{Criterion::sparse_gpt, "sparsegpt"}};

// Of the matrices of one layer that read the same.
using Shared = std::map<Role, SparseGptInputs>;

// The hidden states of all batches at one depth, [batch, seq, hidden] each.
using States = std::vector<torch::Tensor>;

class Sparsifier {
 public:
  Sparsifier(const Model& model, const TokenBatches& calibration, const SparsifyOptions& options, PrunedStore& store)
      : model_(model), calibration_(calibration), options_(options), store_(store) {
    check();
  }

  std::vector<PrunedMatrix> run() {
    const torch::NoGradGuard no_grad;
    if (options_.progress) progress_.emplace("pruning", model_.layer_count(), "layers");
    const bool sequential = reads_text(options_.criterion) && options_.inputs == Inputs::pruned;
    std::vector<InputSums> dense;
    if (reads_text(options_.criterion) && !sequential) dense = dense_sums();
    States states;
    if (sequential) states = embedded();
    for (std::int64_t layer = 0; layer < model_.layer_count(); ++layer) {
      check_interrupted();
      LayerWeights weights = sequential ? model_.layer(layer, Model::Use::once) : LayerWeights();
      if (!store_.has(layer)) {
        if (sequential)
          prune(layer, seen(weights, states));
        else
          prune(layer, dense.empty() ? InputSums(false) : dense[static_cast<std::size_t>(layer)]);
      }
      count(layer);
      if (sequential && layer + 1 < model_.layer_count()) advance(layer, weights, states);
      if (progress_) progress_->advance(1);
    }
    return std::move(result_);
  }

 private:
  void check() const {
    const auto layers = static_cast<std::size_t>(model_.layer_count());
    SL_ASSERT(options_.patterns.empty() ? options_.ratios.size() == layers : options_.patterns.size() == layers);
    SL_ASSERT(options_.criterion != Criterion::sparse_gpt || options_.inputs == Inputs::pruned);
    std::int64_t widest = 0;
    for (std::int64_t i = 0; i < model_.layer_count(); ++i) {
      const LayerConfig& layer = model_.config().layers[static_cast<std::size_t>(i)];
      if (layer.mlp && layer.mlp->experts)
        fail(ErrorKind::unsupported, model_.checkpoint().label(), ": layer ", i,
             " has experts, whose weights are not set to zero one by one; a width method (--method wanda-sp) takes "
             "their channels");
      if (layer.mlp) widest = std::max(widest, layer.mlp->intermediate);
      if (layer.attention) widest = std::max(widest, layer.attention->heads * layer.attention->head_dim);
    }
    widest = std::max(widest, model_.config().hidden);
    if (options_.criterion == Criterion::sparse_gpt && calibration_.tokens() < widest)
      fail(ErrorKind::usage, calibration_.source, ": ", calibration_.tokens(),
           " tokens are too few for the Gram matrix of ", widest, " columns; it takes at least ", widest);
    if (reads_text(options_.criterion) && options_.inputs == Inputs::pruned) check_memory(widest);
  }

  void check_memory(std::int64_t widest) const {
    const auto element = static_cast<std::uint64_t>(torch::elementSize(model_.placement().dtype));
    std::uint64_t needed = static_cast<std::uint64_t>(calibration_.tokens() * model_.config().hidden) * element;
    if (options_.criterion == Criterion::sparse_gpt) needed += static_cast<std::uint64_t>(widest * widest) * 16;
    require_memory(model_.placement(), needed,
                   "the hidden states of " + std::to_string(calibration_.tokens()) + " tokens need", "take less text");
  }

  Positions positions(const torch::Tensor& x) const {
    return rope_positions(model_.config(), 0, x.size(1), model_.placement().device);
  }

  States embedded() const {
    States states;
    const std::int64_t tokens = options_.batch_tokens > 0 ? options_.batch_tokens : default_batch_tokens(model_);
    for (const auto& sequences : batches_of_one_length(calibration_, tokens))
      states.push_back(model_.embed(to_tensor(calibration_, sequences, model_.placement().device)));
    return states;
  }

  // One pass of the model as it is, all layers' sums at once.
  std::vector<InputSums> dense_sums() const {
    std::vector<InputSums> sums(static_cast<std::size_t>(model_.layer_count()), InputSums(false));
    SweepVisitor visitor;
    visitor.inner = [&](const SweepBatch&, std::int64_t layer, Role role, std::int64_t, const torch::Tensor& inner) {
      sums[static_cast<std::size_t>(layer)].add(role, inner);
    };
    sweep(model_, calibration_, {.batch_tokens = options_.batch_tokens, .beyond_positions = true}, visitor);
    return sums;
  }

  InputSums seen(LayerWeights weights, const States& states) const {
    InputSums sums(options_.criterion == Criterion::sparse_gpt);
    weights.tap = [&](Role role, std::int64_t, const torch::Tensor& inner) { sums.add(role, inner); };
    for (const torch::Tensor& x : states) {
      check_interrupted();
      block_forward(model_.config(), weights, x, positions(x));
    }
    return sums;
  }

  void prune(std::int64_t layer, const InputSums& sums) {
    PrunedMatrices matrices;
    Shared shared;
    for (const Role role : matrix_roles(model_.config().layers[static_cast<std::size_t>(layer)], model_.config())) {
      check_interrupted();
      const torch::Tensor stored = model_.stored_matrix(layer, role);
      torch::Tensor matrix = stored.to(torch::kCPU, torch::kFloat).contiguous().clone();
      try {
        prune_matrix(layer, role, sums, shared, matrix);
      } catch (const Error& error) {
        if (error.kind() == ErrorKind::interrupted) throw;
        fail(error.kind(), "layer ", layer, ", ", role_name(role), ": ", error.what());
      }
      matrices[role] = matrix.to(stored.scalar_type());
    }
    store_.put(layer, matrices);
  }

  void prune_matrix(std::int64_t layer, Role role, const InputSums& sums, Shared& shared, torch::Tensor& matrix) const {
    const auto at = static_cast<std::size_t>(layer);
    const Pattern pattern = options_.patterns.empty() ? Pattern{} : options_.patterns[at];
    const double ratio = options_.patterns.empty() ? options_.ratios[at] : 0;
    if (options_.patterns.empty() ? ratio == 0 : pattern.kept == pattern.group) return;
    if (options_.criterion == Criterion::sparse_gpt) {
      const Role tap = read_by(role);
      if (shared.count(tap) == 0) shared[tap] = sparse_gpt_inputs(sums.of(role).gram, options_.damping);
      return sparse_gpt(matrix, shared.at(tap), {.ratio = ratio, .pattern = pattern});
    }
    const bool sized = options_.criterion == Criterion::wanda;
    const auto scale = sized ? sums.of(role).squares.sqrt() : torch::ones({matrix.size(1)}, torch::kDouble);
    if (pattern.group > 0) return zero_smallest_of_groups(matrix, scale, pattern);
    if (sized) return zero_smallest_of_rows(matrix, scale, ratio);
    zero_smallest(matrix, ratio);
  }

  void count(std::int64_t layer) {
    for (const auto& [role, matrix] : store_.layer(layer))
      result_.push_back({.layer = layer,
                         .role = role,
                         .weights = matrix.numel(),
                         .zeros = matrix.numel() - matrix.count_nonzero().item<std::int64_t>()});
  }

  // Through the pruned layer.
  void advance(std::int64_t layer, LayerWeights& weights, States& states) const {
    for (const auto& [role, matrix] : store_.layer(layer))
      weights.tensors.at(role).weight = matrix.to(model_.placement().device, model_.placement().dtype);
    for (torch::Tensor& x : states) {
      check_interrupted();
      x = block_forward(model_.config(), weights, x, positions(x));
    }
  }

  const Model& model_;
  const TokenBatches& calibration_;
  const SparsifyOptions& options_;
  PrunedStore& store_;
  std::optional<Progress> progress_;
  std::vector<PrunedMatrix> result_;
};

}  // namespace

Criterion parse_criterion(std::string_view name) {
  for (const auto& [criterion, known] : kCriteria)
    if (name == known) return criterion;
  fail(ErrorKind::usage, "there is no criterion '", name, "'; there are magnitude, wanda, sparsegpt");
}

std::string_view criterion_name(Criterion criterion) {
  for (const auto& [known, name] : kCriteria)
    if (known == criterion) return name;
  fail(ErrorKind::internal, "unknown criterion");
}

bool reads_text(Criterion criterion) { return criterion != Criterion::magnitude; }

std::vector<PrunedMatrix> sparsify(const Model& model, const TokenBatches& calibration, const SparsifyOptions& options,
                                   PrunedStore& store) {
  return translating_errors([&] { return Sparsifier(model, calibration, options, store).run(); });
}

}  // namespace streamline::sparse
