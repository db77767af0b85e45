// SPDX-License-Identifier: Apache-2.0
#include "streamline/sparse/sparsify.h"

#include <algorithm>
#include <array>
#include <utility>

#include "streamline/arch/expected_tensors.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/resources.h"
#include "streamline/engine/sweep.h"
#include "streamline/nn/kept_bits.h"
#include "streamline/nn/tensor_bytes.h"
#include "streamline/prune/inside_statistics.h"
#include "streamline/prune/spectra.h"
#include "streamline/sparse/input_sums.h"
#include "streamline/sparse/sparse_gpt.h"

namespace streamline::sparse {
namespace {

constexpr std::array kCriteria = {std::pair{Criterion::magnitude, "magnitude"}, std::pair{Criterion::wanda, "wanda"},
                                  std::pair{Criterion::sparse_gpt, "sparsegpt"}};

// What the matrix before read; those that read the same follow one another.
struct LastInputs {
  const InputSum* of = nullptr;
  SparseGptInputs inputs = {};
};

constexpr const char* kStandIns = "stand_ins";  // in the notes of a layer

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
      if (layer.mlp)
        widest = std::max(widest, layer.mlp->experts ? layer.mlp->experts->shared : layer.mlp->intermediate);
      if (layer.attention) widest = std::max(widest, layer.attention->heads * layer.attention->head_dim);
    }
    widest = std::max(widest, model_.config().hidden);
    const std::int64_t tokens = calibration_.tokens();  // that are summed up
    if (options_.criterion == Criterion::sparse_gpt && tokens < widest)
      fail(ErrorKind::usage, calibration_.source, ": ", tokens, " tokens are too few for the Gram matrix of ", widest,
           " columns; it takes at least ", widest);
    if (reads_text(options_.criterion) && options_.inputs == Inputs::pruned) check_memory(widest);
  }

  void check_memory(std::int64_t widest) const {
    const auto element = static_cast<std::uint64_t>(torch::elementSize(model_.placement().dtype));
    std::uint64_t needed = static_cast<std::uint64_t>(calibration_.positions() * model_.config().hidden) * element;
    std::int64_t squares = 4 * widest * widest;
    for (const LayerConfig& layer : model_.config().layers)
      if (layer.mlp && layer.mlp->experts)
        squares = std::max(squares, 4 * widest * widest + expert_squares(*layer.mlp));
    const bool grams = options_.criterion == Criterion::sparse_gpt;
    if (grams) needed += static_cast<std::uint64_t>(squares) * sizeof(float);
    require_memory(model_.placement(), needed,
                   "the hidden states of " + std::to_string(calibration_.positions()) + " positions" +
                       (grams ? " and the Gram matrices of a layer need" : " need"),
                   grams ? "take less text, or --method wanda, which has no Gram matrices" : "take less text");
  }

  // Elements of the Gram matrices of all experts of a layer.
  std::int64_t expert_squares(const MlpConfig& mlp) const {
    const std::int64_t hidden = model_.config().hidden;
    return mlp.experts->count * (hidden * hidden + mlp.intermediate * mlp.intermediate);
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
    std::vector<InputSums> sums(static_cast<std::size_t>(model_.layer_count()),
                                InputSums(false, calibration_.skip_first));
    SweepVisitor visitor;
    visitor.inner = [&](const SweepBatch&, std::int64_t layer, Role role, std::int64_t expert,
                        const torch::Tensor& inner) { sums[static_cast<std::size_t>(layer)].add(role, expert, inner); };
    sweep(model_, calibration_, {.batch_tokens = options_.batch_tokens, .beyond_positions = true}, visitor);
    return sums;
  }

  InputSums seen(LayerWeights weights, const States& states) const {
    InputSums sums(options_.criterion == Criterion::sparse_gpt, calibration_.skip_first);
    weights.tap = [&](Role role, std::int64_t expert, const torch::Tensor& inner) { sums.add(role, expert, inner); };
    for (const torch::Tensor& x : states) {
      check_interrupted();
      block_forward(model_.config(), weights, x, positions(x));
    }
    return sums;
  }

  void prune(std::int64_t layer, const InputSums& sums) {
    PrunedMatrices matrices;
    Json stand_ins = Json::array();
    LastInputs last;
    for (const MatrixPlace& place :
         matrix_places(model_.config().layers[static_cast<std::size_t>(layer)], model_.config())) {
      const torch::Tensor stored = model_.stored_matrix(layer, place.role, place.expert);
      // What leaves weights as they are needs no wider type.
      const bool as_stored = options_.criterion != Criterion::sparse_gpt && prunes_in_place(stored.scalar_type());
      torch::Tensor values = stored
                                 .to(torch::kCPU, as_stored ? stored.scalar_type() : torch::kFloat,
                                     /*non_blocking=*/false, /*copy=*/true)
                                 .contiguous();
      const bool stack = values.dim() == 3;  // [experts, in, out]
      for (std::int64_t i = 0; i < (stack ? values.size(0) : 1); ++i) {
        check_interrupted();
        const MatrixPlace one{place.role, stack ? i : place.expert};
        torch::Tensor matrix = stack ? values[i].t().contiguous() : values;
        const InputSum* sum = sums.of(one.role, one.expert);
        const Criterion by = usable(layer, one, sum, matrix.size(1));
        prune_one(layer, one, by, sum, last, matrix);
        if (stack) values[i].copy_(matrix.t());
        if (by != options_.criterion)
          stand_ins.push_back({{"matrix", role_name(one.role)},
                               {"expert", one.expert},
                               {"by", criterion_name(by)},
                               {"tokens", sum ? sum->moments.tokens : 0}});
      }
      matrices[place] = values.to(stored.scalar_type());
    }
    store_.put(layer, matrices, {{kStandIns, std::move(stand_ins)}});
  }

  bool loses_nothing(std::int64_t layer) const {
    const auto at = static_cast<std::size_t>(layer);
    if (options_.patterns.empty()) return options_.ratios[at] == 0;
    return options_.patterns[at].kept == options_.patterns[at].group;
  }

  // What can choose, given what was seen.
  Criterion usable(std::int64_t layer, const MatrixPlace& place, const InputSum* sum, std::int64_t columns) const {
    if (!reads_text(options_.criterion) || loses_nothing(layer)) return options_.criterion;
    SL_ASSERT(sum != nullptr || place.expert >= 0);
    if (sum == nullptr) return Criterion::magnitude;
    const bool few = place.expert >= 0 && sum->moments.tokens < columns;
    return few ? Criterion::wanda : options_.criterion;
  }

  void prune_one(std::int64_t layer, const MatrixPlace& place, Criterion by, const InputSum* sum, LastInputs& last,
                 torch::Tensor& matrix) const {
    if (loses_nothing(layer)) return;
    try {
      prune_matrix(static_cast<std::size_t>(layer), by, sum, last, matrix);
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::interrupted) throw;
      fail(error.kind(), "layer ", layer, ", ", role_name(place.role),
           place.expert < 0 ? "" : " of expert " + std::to_string(place.expert), ": ", error.what());
    }
  }

  void prune_matrix(std::size_t layer, Criterion by, const InputSum* sum, LastInputs& last,
                    torch::Tensor& matrix) const {
    const Pattern pattern = options_.patterns.empty() ? Pattern{} : options_.patterns[layer];
    const double ratio = options_.patterns.empty() ? options_.ratios[layer] : 0;
    if (by == Criterion::sparse_gpt) {
      if (last.of != sum) last = {sum, sparse_gpt_inputs(sum->gram, options_.damping)};
      return sparse_gpt(matrix, last.inputs, {.ratio = ratio, .pattern = pattern});
    }
    const auto scale = by == Criterion::wanda ? sum->moments.norms() : torch::ones({matrix.size(1)}, torch::kDouble);
    if (!torch::isfinite(scale).all().item<bool>())
      fail(ErrorKind::numeric, "its inputs are NaN or infinite; try --dtype float32");
    if (pattern.group > 0) return zero_smallest_of_groups(matrix, scale, pattern);
    if (reads_text(options_.criterion)) return zero_smallest_of_rows(matrix, scale, ratio);
    zero_smallest(matrix, ratio);
  }

  void count(std::int64_t layer) {
    const Json stand_ins = store_.notes(layer).value(kStandIns, Json::array());
    for (const auto& [place, tensor] : store_.layer(layer)) {
      const bool stack = tensor.dim() == 3;
      for (std::int64_t i = 0; i < (stack ? tensor.size(0) : 1); ++i) {
        const torch::Tensor matrix = stack ? tensor[i] : tensor;
        PrunedMatrix pruned{.layer = layer,
                            .role = place.role,
                            .expert = stack ? i : place.expert,
                            .weights = matrix.numel(),
                            .zeros = count_zeros(matrix),
                            .by = options_.criterion,
                            .columns = matrix.size(stack ? 0 : 1)};
        note_stand_in(stand_ins, pruned);
        result_.push_back(pruned);
      }
    }
  }

  static void note_stand_in(const Json& stand_ins, PrunedMatrix& pruned) {
    for (const Json& entry : stand_ins) {
      if (entry.at("matrix") != role_name(pruned.role) || entry.at("expert") != pruned.expert) continue;
      pruned.by = parse_criterion(entry.at("by").get<std::string>());
      pruned.tokens = entry.at("tokens").get<std::int64_t>();
    }
  }

  // Through the pruned layer.
  void advance(std::int64_t layer, LayerWeights& weights, States& states) const {
    for (const auto& [at, matrix] : store_.layer(layer))
      place(weights, at.role, Part::weight, at.expert) = matrix.to(model_.placement().device, model_.placement().dtype);
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

std::vector<MatrixPlace> matrix_places(const LayerConfig& layer, const Config& config) {
  std::vector<MatrixPlace> places;
  for (const ExpectedTensor& tensor : layer_tensors(config, layer, 0))
    if (tensor.part == Part::weight && tensor.shape.size() >= 2 && is_measured(tensor.role))
      places.push_back({tensor.role, tensor.expert});
  return places;
}

Unpruned unpruned_matrices(const Model& model, Criterion criterion) {
  if (criterion == Criterion::sparse_gpt) return {};
  return [model](std::int64_t layer, const MatrixPlace& place) {
    return model.stored_matrix(layer, place.role, place.expert);
  };
}

std::vector<MaskSource> masks_of(const Model& model, const std::shared_ptr<const PrunedStore>& store) {
  const Config& config = model.config();
  std::vector<MaskSource> masks;
  for (std::int64_t layer = 0; layer < model.layer_count(); ++layer)
    for (const MatrixPlace& place : matrix_places(config.layers[static_cast<std::size_t>(layer)], config)) {
      const TensorInfo& tensor =
          *find_tensor(model.checkpoint(), config, layer, place.role, Part::weight, place.expert);
      const bool transposed = is_transposed(config, layer, place.role, Part::weight);
      masks.push_back({.mask = {.tensor = tensor.name, .layer = layer, .shape = tensor.shape},
                       .bits = [store, layer, place, transposed] {
                         const torch::Tensor matrix = store->matrix(layer, place);
                         const auto bits =
                             std::make_shared<const torch::Tensor>(kept_bits(transposed ? matrix.t() : matrix));
                         return Blob{bytes_of(*bits), bits};
                       }});
    }
  return masks;
}

std::vector<PrunedMatrix> sparsify(const Model& model, const TokenBatches& calibration, const SparsifyOptions& options,
                                   PrunedStore& store) {
  return translating_errors([&] { return Sparsifier(model, calibration, options, store).run(); });
}

}  // namespace streamline::sparse
