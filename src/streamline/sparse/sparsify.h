// SPDX-License-Identifier: Apache-2.0
// Weights set to zero one by one, layer after layer: files keep their shapes, and every loader reads them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "streamline/engine/model.h"
#include "streamline/plan/masks_file.h"
#include "streamline/sparse/criterion.h"
#include "streamline/sparse/pruned_store.h"
#include "streamline/text/corpus.h"

namespace streamline::sparse {

enum class Criterion {
  magnitude,   // |w|, over a whole matrix; no text is read
  wanda,       // |w| times the size of its input, in every row (Sun et al., arXiv 2306.11695)
  sparse_gpt,  // weights that stay make up for those that go (Frantar and Alistarh, arXiv 2301.00774)
};
Criterion parse_criterion(std::string_view name);  // "magnitude", "wanda", "sparsegpt"; errors: usage, listing them
std::string_view criterion_name(Criterion criterion);
bool reads_text(Criterion criterion);

// Where the inputs of a layer's matrices come from.
enum class Inputs {
  pruned,  // from the layers before, pruned already, as the released codes do: two passes over the text
  dense,   // from the model as it was: one pass (wanda)
};

struct SparsifyOptions {
  Criterion criterion = Criterion::wanda;
  std::vector<double> ratios = {};     // of each layer's weights that go
  std::vector<Pattern> patterns = {};  // one a layer, instead of ratios; empty: none
  Inputs inputs = Inputs::pruned;
  double damping = 0.01;  // of sparse_gpt
  std::int64_t batch_tokens = 0;
  bool progress = false;
};

struct PrunedMatrix {
  std::int64_t layer = 0;
  Role role = Role::q;
  std::int64_t expert = -1;  // whose it is; of a tensor that has those of all experts each counts by itself
  std::int64_t weights = 0, zeros = 0;
  // What chose, and the tokens that the matrix read where that is not the criterion that was asked for.
  Criterion by = Criterion::wanda;
  std::int64_t tokens = 0, columns = 0;
};

// The matrices of a layer that lose weights, in the order in which they do; tensors that have those of all experts
// once.
std::vector<MatrixPlace> matrix_places(const LayerConfig& layer, const Config& config);

// What a store needs of the model to keep which weights stay instead of the matrices; none where the criterion changes
// those that stay.
Unpruned unpruned_matrices(const Model& model, Criterion criterion);

// What the store kept as masks of the model's checkpoint (plan/masks_file.h), made one at a time from layers that are
// there. Of criteria that leave the weights that stay as they are.
std::vector<MaskSource> masks_of(const Model& model, const std::shared_ptr<const PrunedStore>& store);

// Fills the store, layers that are there already excepted; the model with PrunedStore::change() of it is the result.
// Matrices of decoder layers alone, those of experts among them: embeddings, head, norms and routers stay. An expert
// reads the tokens that are routed to it. Where these are fewer than a matrix has columns, sparse_gpt gives way to
// wanda, and where there are none both do to magnitude in each row: PrunedMatrix::by. Errors: usage for a text too
// short for a Gram matrix outside experts, naming how many tokens it takes; resource for hidden states and Gram
// matrices that do not fit the memory; those of the criteria; interrupted.
std::vector<PrunedMatrix> sparsify(const Model& model, const TokenBatches& calibration, const SparsifyOptions& options,
                                   PrunedStore& store);

}  // namespace streamline::sparse
