// SPDX-License-Identifier: Apache-2.0
// How fast replacements train: forward and backward of each network on hidden states that are there already, as a share
// of what bare matrix products of its own shapes reach in the same run; and what an optimizer step costs.
//   heal_bench [--hidden 2048] [--width 5632] [--heads 32] [--kv-heads 4] [--seq 512] [--tokens 2048] [--threads 2]
// Prints one JSON object a line. Random weights of the Llama architecture; no checkpoint is needed.
#include "bench.h"
#include "streamline/arch/expected_tensors.h"
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
  std::int64_t threads = 2, repetitions = 5;
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

// Forward and backward of every matrix for so many tokens: 2 operations a product, three products a matrix.
double operations(const LayerWeights& weights, std::int64_t tokens) {
  double elements = 0;
  for (const torch::Tensor& tensor : weights.all())
    if (tensor.dim() == 2) elements += static_cast<double>(tensor.numel());
  return 6 * elements * static_cast<double>(tokens);
}

// The products alone: x Wᵀ, and of its gradient g the products g W and gᵀ x.
double product_seconds(const LayerWeights& weights, std::int64_t tokens, torch::ScalarType type,
                       std::int64_t repetitions) {
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
  print_line({{"replacement", name},
              {"parameters", student.parameter_count()},
              {"tokens_per_second", static_cast<double>(tokens) / seconds},
              {"teraflops", operations(weights, tokens) / seconds * 1e-12},
              {"product_teraflops", operations(weights, tokens) / products * 1e-12},
              {"share_of_products", products / seconds},
              {"optimizer_seconds", update},
              {"optimizer_share", update / (step + update)}});
}

void run(const Options& options) {
  set_threads(static_cast<int>(options.threads));
  const Config config = config_of(options);
  for (const std::string& name : options.replacements) run_one(options, config, name);
}

}  // namespace
}  // namespace streamline

int main(int count, char** words) {
  streamline::Options options;
  const auto declare = [&](streamline::cli::Arguments arguments) {
    arguments.add("--replace", options.replacements, "what to train");
    arguments.add("--hidden", options.hidden, "hidden size");
    arguments.add("--width", options.width, "width of the MLP");
    arguments.add("--heads", options.heads, "attention heads");
    arguments.add("--kv-heads", options.kv_heads, "heads of keys and values");
    arguments.add("--seq", options.seq, "tokens a sequence");
    arguments.add("--tokens", options.tokens, "tokens of a micro-batch");
    arguments.add("--step-tokens", options.step_tokens, "tokens of an optimizer step");
    arguments.add("--threads", options.threads, "threads");
    arguments.add("--dtype", options.dtype, "compute type");
    arguments.add("--repetitions", options.repetitions, "timed runs, of which the median counts");
  };
  return streamline::run_benchmark(count, words, "heal_bench",
                                   "Tokens a second of training replacements, and of their matrix products alone",
                                   declare, [&] { streamline::run(options); });
}
