// SPDX-License-Identifier: Apache-2.0
// `streamline bench`: how fast a checkpoint runs here.
#include <cmath>
#include <memory>

#include "command.h"
#include "options.h"
#include "plan_option.h"
#include "streamline/base/resources.h"
#include "streamline/eval/speed.h"
#include "streamline/report/report.h"

namespace streamline::cli::bench_command {
namespace {

struct Options {
  CommonOptions common;
  std::string model, plan, cut_in = "everywhere";
  SpeedOptions speed;
};

std::string share(double rate, double limit) { return std::to_string(std::lround(100 * rate / limit)) + "% of it\n"; }

std::string as_text(const SpeedResult& result, const SpeedOptions& options) {
  std::string text = "prefill      " + format_count(result.prefill_tokens_per_second) + " tokens/s (" +
                     std::to_string(options.batch) + " x " + std::to_string(options.prompt) +
                     " tokens)\ndecode       " + format_count(result.decode_tokens_per_second) + " tokens/s\n";
  if (result.gemm_tokens_per_second > 0)
    text += "GEMM rate    " + format_count(result.gemm_tokens_per_second) + " tokens/s; prefill reaches " +
            share(result.prefill_tokens_per_second, result.gemm_tokens_per_second);
  if (result.memory_tokens_per_second > 0)
    text += "memory rate  " + format_count(result.memory_tokens_per_second) + " tokens/s; decode reaches " +
            share(result.decode_tokens_per_second, result.memory_tokens_per_second);
  return text + "peak memory  " + format_bytes(result.peak_memory) + "\n";
}

Output run(const Options& options) {
  const Placement placement = start(options.common);
  const PhasedModel model = phased_view(Model::open(open_checkpoint(options.model), placement), options.plan,
                                        options.cut_in, options.common.seed);
  SpeedOptions speed = options.speed;
  speed.prompt = resolve_seq_len(model.prefill().config(), speed.prompt, Longer::refused, false, "--prompt-tokens");
  const SpeedResult result = measure_speed(model, speed, true);
  Json json = {{"run", computing_record(placement, options.common.seed)}};
  json.update(to_json(result, speed));
  return {std::move(json), describe(placement) + "\n" + as_text(result, speed)};
}

std::function<Output()> declare(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  options->speed.prompt = 0;
  add_model(arguments, options->model);
  arguments.add("--plan", options->plan, "look at the model through this plan, without writing it");
  add_cut_in(arguments, options->cut_in);
  arguments.add("--prompt-tokens", options->speed.prompt, "tokens of the prefill; default 512 or the model's positions",
                {.limits = kPositive});
  arguments.add("--decode-tokens", options->speed.decode, "tokens decoded", {.limits = kPositive});
  arguments.add("--batch", options->speed.batch, "sequences at once", {.limits = kPositive});
  arguments.add("--repetitions", options->speed.repetitions, "medians over this many", {.limits = kPositive});
  add_compute_options(arguments, options->common);
  return [options] { return run(*options); };
}

}  // namespace

const Command& command() {
  static const Command declared{
      "bench", "prefill and decode speed, memory, and how near they come to what bounds them",
      "  streamline bench models/books-5m\n  streamline bench MODEL --prompt-tokens 2048 --json\n", declare};
  return declared;
}

}  // namespace streamline::cli::bench_command
