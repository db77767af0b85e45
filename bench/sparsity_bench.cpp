// SPDX-License-Identifier: Apache-2.0
// What setting weights to zero and learning what goes cost: Wanda beside a plain sweep of the same text, magnitude
// beside the selection of one thread, SparseGPT's updates beside the product that they are made of, the sums of what a
// matrix reads beside the tensor expression, spectra beside LAPACK alone, and a step of the policy gradient beside its
// forward passes.
//   sparsity_bench MODEL [--sequences 8] [--seq 512] [--width 2048] [--rows 5632] [--batch 8] [--length 128]
// Prints one JSON object a line.
#include <algorithm>
#include <numeric>

#include "bench.h"
#include "streamline/arch/open_checkpoint.h"
#include "streamline/base/random.h"
#include "streamline/base/unfinished.h"
#include "streamline/engine/sweep.h"
#include "streamline/nn/column_sums.h"
#include "streamline/prune/policy_training.h"
#include "streamline/prune/spectra.h"
#include "streamline/prune/zeroth_order.h"
#include "streamline/sparse/sparse_gpt.h"
#include "streamline/sparse/sparsify.h"

namespace streamline {
namespace {

struct Options {
  std::string model;
  std::int64_t sequences = 8, seq = 512, width = 2048, rows = 5632, batch = 8, length = 128;
};

TokenBatches random_text(const Model& model, std::int64_t sequences, std::int64_t length) {
  Rng rng(1);
  TokenBatches text;
  for (std::int64_t i = 0; i < sequences; ++i) {
    std::vector<TokenId> ids;
    for (std::int64_t j = 0; j < length; ++j)
      ids.push_back(static_cast<TokenId>(rng.below(static_cast<std::uint64_t>(model.config().vocab))));
    text.sequences.push_back(std::move(ids));
  }
  return text;
}

void wanda(const Model& model, const Options& options) {
  const TokenBatches text = random_text(model, options.sequences, options.seq);
  const double plain = median_seconds(1, [&] { sweep(model, text, {}, {}); });
  for (const sparse::Inputs inputs : {sparse::Inputs::dense, sparse::Inputs::pruned}) {
    const UnfinishedDirectory scratch(whole_path("sparsity_bench.matrices"));
    sparse::SparsifyOptions work{.criterion = sparse::Criterion::wanda, .inputs = inputs};
    sparse::PrunedStore store(scratch.path(), "bench", Durable::with_directory,
                              sparse::unpruned_matrices(model, work.criterion));
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

void magnitude(const Options& options) {
  const auto matrix = torch::randn({options.rows, options.width});
  const double seconds = median_seconds(3, [&] {
    auto work = matrix.clone();
    sparse::zero_smallest(work, 0.5);
  });
  const double selection = median_seconds(3, [&] {
    auto work = matrix.abs();
    auto* data = work.data_ptr<float>();
    std::nth_element(data, data + work.numel() / 2, data + work.numel());
  });
  print_line({{"what", "magnitude"},
              {"shape", {options.rows, options.width}},
              {"seconds", seconds},
              {"selection_seconds", selection},
              {"share", seconds / selection}});
}

// Of a batch of the text that reaches a matrix of so many columns.
void sums_of_what_is_read(const Options& options) {
  const auto read = torch::randn({options.sequences, options.seq, options.rows}).to(torch::kBFloat16);
  torch::Tensor sums, squares;
  const double seconds = median_seconds(3, [&] { add_column_sums(read, sums, squares); });
  const double expression = median_seconds(3, [&] {
    const auto wide = read.flatten(0, 1).to(torch::kFloat);
    return wide.sum(0, /*keepdim=*/false, torch::kDouble) + wide.square().sum(0, /*keepdim=*/false, torch::kDouble);
  });
  print_line({{"what", "sums of what a matrix reads"},
              {"shape", {options.sequences * options.seq, options.rows}},
              {"seconds", seconds},
              {"expression_seconds", expression},
              {"share", seconds / expression}});
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

// What two steps more take: the rest, how they begin and end, is the same. The masks of a step are as many passes of
// its text through the model.
void policy_gradient_step(const Model& model, const Options& options) {
  constexpr std::int64_t kSteps = 2, kMasks = 2;
  const TokenBatches text = random_text(model, options.batch, options.length);
  const PruneContext context{.model = model, .calibration = text};
  PolicySettings settings{.over = "inside",
                          .init = "uniform",
                          .keep = 0.7,
                          .rate = 2e-3,
                          .batch = options.batch,
                          .length = options.length,
                          .samples = kMasks,
                          .window = 5,
                          .every = kSteps + 2};
  const auto seconds_of = [&](std::int64_t steps) {
    settings.steps = steps;
    const Stopwatch watch;
    learnt_proposal(context, settings, Json::object());
    return watch.seconds();
  };
  seconds_of(1);  // does not count
  const double one = seconds_of(1), step = (seconds_of(1 + kSteps) - one) / kSteps;
  std::vector<std::int64_t> all(text.sequences.size());
  std::iota(all.begin(), all.end(), std::int64_t{0});
  const torch::Tensor ids = to_tensor(text, all, model.placement().device);
  const double passes = kMasks * median_seconds(1, [&] { mean_loss(model, ids); });
  print_line({{"what", "policy-gradient step"},
              {"tokens", kMasks * text.tokens()},
              {"seconds", step},
              {"forward_seconds", passes},
              {"share", step / passes}});
}

void run(const Options& options) {
  const Model model = Model::open(open_checkpoint(options.model), resolve_placement("cpu", "auto"));
  wanda(model, options);
  magnitude(options);
  sums_of_what_is_read(options);
  sparse_gpt_updates(options);
  spectra_beside_lapack(options);
  policy_gradient_step(model, options);
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
    arguments.add("--batch", options.batch, "sequences of a policy-gradient step");
    arguments.add("--length", options.length, "tokens of each of them");
  };
  return streamline::run_benchmark(count, words, "sparsity_bench", "What setting weights to zero costs", declare,
                                   [&] { streamline::run(options); });
}
