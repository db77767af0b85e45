// SPDX-License-Identifier: Apache-2.0
// The spectra of all matrices of a model's decoder layers, and what they say of its layers: no text is read.
#pragma once

#include <vector>

#include "streamline/engine/model.h"
#include "streamline/prune/spectrum.h"

namespace streamline {

struct SpectraOptions {
  TailStart tail = TailStart::peak;
  std::int64_t largest_side = 8192;  // of a matrix's smaller side; larger ones are sampled
  std::uint64_t seed = 0;
  bool progress = false;
};

struct MatrixSpectrum {
  std::int64_t layer = 0;
  Role role = Role::q;
  std::int64_t expert = -1;  // of a sparse MLP
  std::int64_t rows = 0, columns = 0;
  bool sampled = false;
  Exponent exponent = {};
  double largest = 0;      // eigenvalue, the squared spectral norm
  double stable_rank = 0;  // the sum of the eigenvalues over the largest
};

// Of every matrix of every layer but routers, in order; matrices that hold several projections are taken as one. One
// matrix is in memory at a time. Errors: numeric, naming the matrix.
std::vector<MatrixSpectrum> spectra(const Model& model, const SpectraOptions& options);

// The mean exponent of each layer's matrices.
std::vector<double> layer_exponents(const std::vector<MatrixSpectrum>& spectra, std::int64_t layers);

// The roles of a layer's matrices that are not norms, routers or parts of experts.
std::vector<Role> matrix_roles(const LayerConfig& layer, const Config& config);

}  // namespace streamline
