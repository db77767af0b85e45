// SPDX-License-Identifier: Apache-2.0
// How fast tensors are merged, beside a copy that moves as many bytes.
//   merge_bench [--megabytes 128] [--models 2] [--threads 1] [--dtype bfloat16] [--repetitions 5]
// Models in memory, tensors of 16 MB. Prints one JSON object a line: bytes read and written a second, each counted once
// however often a rule reads it, and the share of the copy's rate. Each round measures the copy and every rule in turn,
// so that all see the same machine; medians.
#include <cstring>

#include "bench.h"
#include "streamline/base/random.h"
#include "streamline/engine/placement.h"
#include "streamline/io/quantize.h"
#include "streamline/merge/largest_entries.h"
#include "streamline/merge/tensor_merge.h"
#include "streamline/nn/torch.h"

namespace streamline {
namespace {

struct Options {
  std::string dtype = "bfloat16";
  std::int64_t megabytes = 128, models = 2, threads = 1, repetitions = 5;
};

constexpr std::int64_t kWidth = 2048, kTensorBytes = std::int64_t{1} << 24;

DType type_named(const std::string& name) {
  return name == "float32" ? DType::f32 : name == "float16" ? DType::f16 : DType::bf16;
}

// Tensors "0", "1", … of the same numbers, which differ from seed to seed.
std::shared_ptr<const Checkpoint> random_model(const Options& options, std::uint64_t seed) {
  const DType type = type_named(options.dtype);
  const auto element = static_cast<std::int64_t>(dtype_size(type));
  const std::int64_t count = std::max<std::int64_t>(1, options.megabytes * 1'000'000 / kTensorBytes);
  std::vector<float> values(static_cast<std::size_t>(kTensorBytes / element));
  Rng rng(seed);
  for (float& value : values) value = static_cast<float>(rng.uniform() - 0.5);
  std::string tensor(static_cast<std::size_t>(kTensorBytes), '\0');
  quantize(type, values, std::as_writable_bytes(std::span(tensor)));
  std::vector<TensorHeader> headers;
  std::string body;
  for (std::int64_t i = 0; i < count; ++i) {
    headers.push_back({std::to_string(i), type, {kTensorBytes / element / kWidth, kWidth}});
    body += tensor;
  }
  return Checkpoint::open(memory_files(
      "random",
      {{"config.json", "{}"}, {"model.safetensors", safetensors_header(headers, {{"format", "pt"}}) + body}}));
}

struct Case {
  std::string name, rule;
  double depth = 1;
  bool over_model = false;  // the thresholds of its largest entries
};

class Bench {
 public:
  explicit Bench(const Options& options) : options_(options) {
    for (std::int64_t i = 0; i <= options.models; ++i) models_.push_back(random_model(options, 1 + i));
  }

  void run() {
    std::vector<Case> cases = {
        {"sum", "sum"},       {"mean", "mean"},          {"mean, scaled with depth", "mean", 0.6},
        {"linear", "linear"}, {"ties", "ties", 1, true}, {"ties, thresholds of tensors", "ties"},
        {"dare", "dare"},     {"dare-ties", "dare-ties"}};
    if (options_.models == 2) cases.push_back({"slerp", "slerp"});
    std::vector<double> copies;
    std::vector<std::vector<double>> rates(cases.size());
    for (std::int64_t round = 0; round <= options_.repetitions; ++round) {
      const double copied = copy_rate();
      if (round > 0) copies.push_back(copied);  // the first warms up
      for (std::size_t i = 0; i < cases.size(); ++i)
        if (const double rate = merge_rate(cases[i]); round > 0) rates[i].push_back(rate);
    }
    const double copy = median(copies);
    print_line({{"what", "copy"}, {"gb_per_second", copy}, {"threads", options_.threads}});
    for (std::size_t i = 0; i < cases.size(); ++i)
      print_line({{"what", cases[i].name},
                  {"models", options_.models},
                  {"gb_per_second", median(rates[i])},
                  {"of_the_copy", median(rates[i]) / copy}});
  }

 private:
  static void take_model_thresholds(std::vector<merge::TensorMerge>& merges) {
    std::vector<const merge::TensorMerge*> pointers;
    for (const merge::TensorMerge& merge : merges) pointers.push_back(&merge);
    const std::vector<float> thresholds = merge::model_thresholds(pointers);
    for (merge::TensorMerge& merge : merges)
      for (std::size_t i = 0; i < thresholds.size(); ++i) merge.operands[i].threshold = thresholds[i];
  }

  // Bytes read and written a second, in GB.
  double copy_rate() {
    const std::size_t size = kTensorBytes;
    if (copy_ == nullptr) copy_.reset(new std::byte[size]);
    double bytes = 0;
    const Stopwatch watch;
    for (const auto& model : models_)
      for (const TensorInfo& tensor : model->tensors()) {
        const std::byte* from = model->bytes(tensor).data();
        constexpr std::int64_t kPiece = 1 << 20;
        at::parallel_for(0, kTensorBytes / kPiece, 1, [&](std::int64_t first, std::int64_t last) {
          std::memcpy(copy_.get() + first * kPiece, from + first * kPiece,
                      static_cast<std::size_t>((last - first) * kPiece));
        });
        bytes += 2 * static_cast<double>(size);
      }
    return bytes / watch.seconds() / 1e9;
  }

  double merge_rate(const Case& what) {
    const merge::Rule& rule = merge::find_rule(what.rule);
    const bool relative = rule.combine == merge::Combine::task_vectors || what.depth != 1;
    double bytes = 0;
    std::vector<merge::TensorMerge> merges;
    for (const TensorInfo& tensor : models_.front()->tensors()) {
      merge::TensorMerge& merge =
          merges.emplace_back(merge::TensorMerge{.header = {tensor.name, tensor.dtype, tensor.shape}, .rule = &rule});
      if (relative) merge.base = {models_.front(), &tensor};
      for (std::size_t i = 1; i < models_.size(); ++i) {
        merge.operands.push_back({.stored = {models_[i], models_[i]->find(tensor.name)}});
        merge.parameters.weights.push_back(1);
        merge.parameters.densities.push_back(rule.density);
      }
      merge.parameters.normalise = rule.normalise;
      merge.parameters.depth = what.depth;
      if (rule.keep == merge::Keep::random) merge.parameters.rescale = merge::Rescale::density;
    }
    const Stopwatch watch;
    if (what.over_model) take_model_thresholds(merges);
    for (const merge::TensorMerge& merge : merges) {
      const Blob merged = merge::merged_bytes(merge, &memory_);
      bytes += static_cast<double>(merged.bytes.size()) * static_cast<double>(options_.models + (relative ? 2 : 1));
    }
    return bytes / watch.seconds() / 1e9;
  }

  const Options& options_;
  std::vector<std::shared_ptr<const Checkpoint>> models_;
  merge::ResultMemory memory_;
  std::unique_ptr<std::byte[]> copy_;
};

}  // namespace
}  // namespace streamline

int main(int count, char** words) {
  streamline::Options options;
  const auto declare = [&](streamline::cli::Arguments arguments) {
    arguments.add("--megabytes", options.megabytes, "of each model", {.limits = streamline::cli::kPositive});
    arguments.add("--models", options.models, "beside the base", {.limits = streamline::cli::kPositive});
    arguments.add("--threads", options.threads, "threads", {.limits = streamline::cli::kPositive});
    arguments.add("--dtype", options.dtype, "of the tensors", {.choices = {"bfloat16", "float16", "float32"}});
    arguments.add("--repetitions", options.repetitions, "rounds, of which the median counts");
  };
  return streamline::run_benchmark(count, words, "merge_bench", "Merging beside copying", declare, [&] {
    streamline::set_threads(static_cast<int>(options.threads));
    streamline::Bench(options).run();
  });
}
