// SPDX-License-Identifier: Apache-2.0
// The spectra of all matrices of a model's decoder layers, and what they say of its layers: no text is read.
#pragma once

#include <string>
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
// matrix is in memory at a time. Ranks take matrices in turn, and all get all. Errors: numeric, naming the matrix.
std::vector<MatrixSpectrum> spectra(const Model& model, const SpectraOptions& options);

// The mean exponent of each layer's matrices.
std::vector<double> layer_exponents(const std::vector<MatrixSpectrum>& spectra, std::int64_t layers);

// The standard errors of these means: of one exponent (alpha - 1) / sqrt(n) for n independent eigenvalues in the tail
// (Hill 1975); those of one matrix repel each other, so that it is rather too large.
std::vector<double> layer_errors(const std::vector<MatrixSpectrum>& spectra, std::int64_t layers);

// Why shares by these exponents say little, a sentence; empty where nothing speaks against them. allocate() stretches
// whatever lies between the least and the largest exponent over the whole spread: that is chance where all differ by no
// more than their `errors` (empty: unknown; a test of homogeneity at 5 %), and one layer's matter where the others lie
// within a quarter of it. `layers`: the numbers of these layers; empty: 0, 1, ….
std::string doubt_about_exponents(const std::vector<double>& exponents, const std::vector<double>& errors,
                                  const std::vector<std::int64_t>& layers = {});

// Whether tensors of this role are matrices that are measured: neither norms nor routers.
bool is_measured(Role role);

}  // namespace streamline
