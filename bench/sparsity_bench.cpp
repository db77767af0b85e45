// SPDX-License-Identifier: Apache-2.0
// What setting weights to zero costs: Wanda beside a plain sweep of the same text, SparseGPT's updates beside the
// product that they are made of, and spectra beside LAPACK alone.
//   sparsity_bench MODEL [--sequences 8] [--seq 512] [--width 2048] [--rows 5632]
// Prints one JSON object a line.
#include "bench.h"
#include "streamline/arch/open_checkpoint.h"
#include "streamline/base/file.h"
#include "streamline/base/random.h"
#include "streamline/engine/sweep.h"
#include "streamline/prune/spectra.h"
#include "streamline/sparse/sparse_gpt.h"
#include "streamline/sparse/sparsify.h"

namespace streamline {
namespace {

struct Options {
  std::string model;
  std::int64_t sequences = 8, seq = 512, width = 2048, rows = 5632;
};

TokenBatches random_text(const Model& model, const Options& options) {
  Rng rng(1);
  TokenBatches text;
  for (std::int64_t i = 0; i < options.sequences; ++i) {
    std::vector<TokenId> ids;
    for (std::int64_t j = 0; j < options.seq; ++j)
      ids.push_back(static_cast<TokenId>(rng.below(static_cast<std::uint64_t>(model.config().vocab))));
    text.sequences.push_back(std::move(ids));
  }
  return text;
}

void wanda(const Model& model, const Options& options) {
  const TokenBatches text = random_text(model, options);
  const double plain = median_seconds(1, [&] { sweep(model, text, {}, {}); });
  for (const sparse::Inputs inputs : {sparse::Inputs::dense, sparse::Inputs::pruned}) {
    const OutputDirectory scratch("sparsity_bench.matrices", Overwrite::yes);
    sparse::PrunedStore store(scratch.staging(), "bench");
    sparse::SparsifyOptions work{.criterion = sparse::Criterion::wanda, .inputs = inputs};
    work.ratios.assign(static_cast<std::size_t>(model.layer_count()), 0.5);
    const Stopwatch watch;
    sparse::sparsify(model, text, work, store);
    print_line({{"what", inputs == sparse::Inputs::dense ? "wanda, dense inputs" : "wanda, pruned inputs"},
                {"tokens", text.tokens()},
                {"seconds", watch.seconds()},
                {"sweep_seconds", plain},
                {"sweeps", watch.seconds() / plain}});
  }
}

// A column's update of those behind it: rows * width^2 multiplications and additions in all.
void sparse_gpt_updates(const Options& options) {
  const torch::NoGradGuard no_grad;
  const auto inputs = torch::randn({2 * options.width, options.width});
  const auto matrix = torch::randn({options.rows, options.width});
  const auto prepared = sparse::sparse_gpt_inputs(inputs.t().matmul(inputs), 0.01);
  const double updates = median_seconds(3, [&] {
    auto work = matrix.clone();
    sparse::sparse_gpt(work, prepared, {.ratio = 0.5});
  });
  const auto square = torch::randn({options.width, options.width});
  const double product = median_seconds(3, [&] { torch::matmul(matrix, square); });
  const double arithmetic = static_cast<double>(options.rows * options.width * options.width);
  print_line({{"what", "sparsegpt updates"},
              {"shape", {options.rows, options.width}},
              {"gflops", arithmetic / updates / 1e9},
              {"product_gflops", 2 * arithmetic / product / 1e9},
              {"share", arithmetic / updates / (2 * arithmetic / product)}});
}

void spectra_beside_lapack(const Options& options) {
  const auto matrix = torch::randn({options.rows / 2, options.width / 2});
  const double lapack = median_seconds(3, [&] { at::linalg_svdvals(matrix); });
  const double whole =
      median_seconds(3, [&] { tail_exponent(eigenvalues(matrix, options.width, 0), TailStart::peak); });
  print_line({{"what", "spectrum of a matrix"},
              {"shape", {options.rows / 2, options.width / 2}},
              {"seconds", whole},
              {"lapack_seconds", lapack},
              {"share", lapack / whole}});
}

void run(const Options& options) {
  const Model model = Model::open(open_checkpoint(options.model), resolve_placement("cpu", "auto"));
  wanda(model, options);
  sparse_gpt_updates(options);
  spectra_beside_lapack(options);
}

}  // namespace
}  // namespace streamline

int main(int count, char** words) {
  streamline::Options options;
  const auto declare = [&](streamline::cli::Arguments arguments) {
    arguments.add("model", options.model, "checkpoint directory", {.required = true});
    arguments.add("--sequences", options.sequences, "of random tokens");
    arguments.add("--seq", options.seq, "tokens a sequence");
    arguments.add("--width", options.width, "columns of a matrix");
    arguments.add("--rows", options.rows, "its rows");
  };
  return streamline::run_benchmark(count, words, "sparsity_bench", "What setting weights to zero costs", declare,
                                   [&] { streamline::run(options); });
}
