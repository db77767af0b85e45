// SPDX-License-Identifier: Apache-2.0
// How fast replacements train: forward and backward of each network on hidden states that are there already, as a share
// of what bare matrix products of its own shapes reach in the same run; and what an optimizer step costs.
//   heal_bench [--hidden 2048] [--width 5632] [--heads 32] [--kv-heads 4] [--seq 512] [--tokens 2048] [--threads 2]
// Prints one JSON object a line. Random weights of the Llama architecture; no checkpoint is needed.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>

#include "streamline/arch/expected_tensors.h"
#include "streamline/base/error.h"
#include "streamline/base/resources.h"
#include "streamline/engine/placement.h"
#include "streamline/heal/adamw.h"
#include "streamline/heal/replacement.h"
#include "streamline/heal/student.h"

namespace streamline {
namespace {

struct Options {
  std::string dtype = "bfloat16";
  std::int64_t hidden = 2048, width = 5632, heads = 32, kv_heads = 4, seq = 512, tokens = 2048, step_tokens = 32768;
  std::vector<std::string> replacements = {"ffn", "swiglu-residual", "layer"};
  int threads = 2, repetitions = 5;
};

Config config_of(const Options& options) {
  return config_from_json({{"model_type", "llama"},
                           {"hidden_size", options.hidden},
                           {"intermediate_size", options.width},
                           {"num_hidden_layers", 2},
                           {"num_attention_heads", options.heads},
                           {"num_key_value_heads", options.kv_heads},
                           {"vocab_size", 32000},
                           {"max_position_embeddings", 4096},
                           {"torch_dtype", options.dtype}},
                          "heal_bench");
}

LayerWeights random_weights(const Config& config, const LayerConfig& layer) {
  LayerWeights weights{.config = layer, .tensors = {}};
  for (const ExpectedTensor& tensor : layer_tensors(config, layer, 0))
    place(weights, tensor.role, tensor.part, tensor.expert) =
        tensor.shape.size() == 1 ? torch::ones(tensor.shape) : torch::randn(tensor.shape) * 0.02;
  return weights;
}

template <class Work>
double median_seconds(int repetitions, Work&& work) {
  work();
  std::vector<double> seconds;
  for (int i = 0; i < repetitions; ++i) {
    const Stopwatch watch;
    work();
    seconds.push_back(watch.seconds());
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

// Forward and backward of every matrix for so many tokens: 2 operations a product, three products a matrix.
double operations(const LayerWeights& weights, std::int64_t tokens) {
  double elements = 0;
  for (const torch::Tensor& tensor : weights.all())
    if (tensor.dim() == 2) elements += static_cast<double>(tensor.numel());
  return 6 * elements * static_cast<double>(tokens);
}

// The products alone: x Wᵀ, and of its gradient g the products g W and gᵀ x.
double product_seconds(const LayerWeights& weights, std::int64_t tokens, torch::ScalarType type, int repetitions) {
  const torch::NoGradGuard no_grad;
  struct Product {
    torch::Tensor x, weight, gradient;
  };
  std::vector<Product> products;
  for (const torch::Tensor& tensor : weights.all())
    if (tensor.dim() == 2)
      products.push_back({torch::randn({tokens, tensor.size(1)}).to(type), tensor.to(type),
                          torch::randn({tokens, tensor.size(0)}).to(type)});
  return median_seconds(repetitions, [&] {
    for (const auto& [x, weight, gradient] : products) {
      torch::linear(x, weight);
      gradient.matmul(weight);
      gradient.t().matmul(x);
    }
  });
}

void run_one(const Options& options, const Config& config, const std::string& name) {
  const Placement placement = resolve_placement("cpu", options.dtype);
  const LayerWeights weights = random_weights(config, find_replacement(name).shape(config, 0));
  Student student(config, placement, {weights});
  const std::int64_t batch = std::max<std::int64_t>(1, options.tokens / options.seq), tokens = batch * options.seq;
  const auto input = torch::randn({batch, options.seq, options.hidden}).to(placement.dtype);
  const auto target = torch::randn_like(input);
  const auto gradient = [&](const torch::Tensor& prediction) { return prediction - target; };
  const double seconds = median_seconds(options.repetitions, [&] { student.add_gradient(input, gradient); });
  const double products = product_seconds(weights, tokens, placement.dtype, options.repetitions);
  AdamW optimizer(student.parameters(), {});
  const double update = median_seconds(options.repetitions, [&] {
    for (const torch::Tensor& parameter : student.parameters())
      if (!parameter.grad().defined()) torch::Tensor(parameter).mutable_grad() = torch::zeros_like(parameter);
    clip_gradients(student.parameters(), 5);
    optimizer.step(1e-4);
  });
  const double step = seconds * static_cast<double>(options.step_tokens) / static_cast<double>(tokens);
  std::cout << Json{{"replacement", name},
                    {"parameters", student.parameter_count()},
                    {"tokens_per_second", static_cast<double>(tokens) / seconds},
                    {"teraflops", operations(weights, tokens) / seconds * 1e-12},
                    {"product_teraflops", operations(weights, tokens) / products * 1e-12},
                    {"share_of_products", products / seconds},
                    {"optimizer_seconds", update},
                    {"optimizer_share", update / (step + update)}}
                   .dump()
            << std::endl;
}

}  // namespace
}  // namespace streamline

int main(int argc, char** argv) {
  streamline::Options options;
  CLI::App app("Tokens a second of training replacements, and of their matrix products alone");
  app.add_option("--replace", options.replacements, "what to train")->delimiter(',');
  app.add_option("--hidden", options.hidden, "hidden size");
  app.add_option("--width", options.width, "width of the MLP");
  app.add_option("--heads", options.heads, "attention heads");
  app.add_option("--kv-heads", options.kv_heads, "heads of keys and values");
  app.add_option("--seq", options.seq, "tokens a sequence");
  app.add_option("--tokens", options.tokens, "tokens of a micro-batch");
  app.add_option("--step-tokens", options.step_tokens, "tokens of an optimizer step");
  app.add_option("--threads", options.threads, "threads");
  app.add_option("--dtype", options.dtype, "compute type");
  app.add_option("--repetitions", options.repetitions, "timed runs, of which the median counts");
  CLI11_PARSE(app, argc, argv);
  try {
    streamline::set_threads(options.threads);
    const streamline::Config config = streamline::config_of(options);
    for (const std::string& name : options.replacements) streamline::run_one(options, config, name);
  } catch (const streamline::Error& error) {
    std::cerr << error.what() << "\n";
    return streamline::exit_status(error.kind());
  }
}
