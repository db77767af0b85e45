// SPDX-License-Identifier: Apache-2.0
// `streamline eval`: how good a checkpoint is.
#include <memory>

#include "command.h"
#include "options.h"
#include "plan_option.h"
#include "streamline/base/log.h"
#include "streamline/base/resources.h"
#include "streamline/eval/perplexity.h"
#include "streamline/report/report.h"

namespace streamline::cli {
namespace {

struct Options {
  CommonOptions common;
  std::string model, plan, text, bos = "auto";
  CorpusOptions corpus;
  PerplexityOptions perplexity;
  bool allow_long = false;
};

std::string as_text(const PerplexityResult& result, const PerplexityOptions& options) {
  char line[256];
  std::snprintf(
      line, sizeof line,
      "perplexity %.4f ± %.4f (%lld tokens scored in %lld windows of %lld, stride %lld, %s BOS; %.4f bits per byte)\n",
      result.value, result.standard_error, static_cast<long long>(result.tokens),
      static_cast<long long>(result.windows), static_cast<long long>(options.window),
      static_cast<long long>(options.stride > 0 ? options.stride : options.window), options.bos ? "with" : "without",
      result.bits_per_byte);
  return line;
}

Output run(const Options& options) {
  const Placement placement = start(options.common);
  const OpenedModel opened = open_model(options.model, placement);
  const Model model = planned_view(opened.model, options.plan, options.common.seed);
  PerplexityOptions perplexity_options = options.perplexity;
  perplexity_options.bos = resolve_bos(options.bos, *opened.tokenizer);
  perplexity_options.window = resolve_seq_len(model.config(), options.perplexity.window, options.allow_long,
                                              perplexity_options.bos, "--window");
  perplexity_options.beyond_positions = true;
  perplexity_options.progress = true;
  const EvaluationText text = load_evaluation_text(options.text, options.corpus, *opened.tokenizer);
  check_sweep_memory(opened.model, perplexity_options.window);
  const Stopwatch watch;
  PerplexityResult result;
  naming_bad_tensors(model, [&] { result = perplexity(model, text, perplexity_options, opened.tokenizer->bos()); });
  Json json = {{"run", run_record(command_line(), options.common.seed)},
               {"model", {{"path", options.model}, {"digest", opened.model.checkpoint().digest()}}},
               {"perplexity", to_json(result, perplexity_options, text)},
               {"seconds", watch.seconds()},
               {"peak_memory", peak_resident_memory()}};
  return {std::move(json), as_text(result, perplexity_options)};
}

std::function<Output()> declare(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  options->perplexity.window = 0;
  add_model(arguments, options->model);
  arguments.add("--plan", options->plan, "look at the model through this plan, without writing it");
  arguments.add("--perplexity", options->text, "text to measure perplexity on", {.required = true});
  arguments.add("--text-field", options->corpus.text_field, "field of a .jsonl line that holds the text");
  arguments.add("--window", options->perplexity.window,
                "tokens a window, the first of which is not scored; default 512 or the model's positions",
                {.limits = Limits{2, 1 << 30}});
  arguments.add("--stride", options->perplexity.stride, "tokens from one window to the next; default: the window",
                {.limits = kPositive});
  arguments.add("--max-windows", options->perplexity.max_windows, "only the first windows; default: all",
                {.limits = kPositive});
  arguments.add("--bos", options->bos, "BOS in front of each window: auto (where the tokenizer has the habit), on, off",
                {.choices = {"auto", "on", "off"}});
  arguments.flag("--allow-long", options->allow_long, "allow windows longer than the model's positions");
  add_compute_options(arguments, options->common);
  return [options] { return run(*options); };
}

}  // namespace

const Command& eval_command() {
  static const Command command{"eval", "perplexity of a checkpoint on a text",
                               "  streamline eval models/books-5m --perplexity models/text/valid.txt\n"
                               "  streamline eval MODEL --perplexity FILE --window 512 --max-windows 64 --json\n",
                               declare};
  return command;
}

}  // namespace streamline::cli
