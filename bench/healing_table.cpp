// SPDX-License-Identifier: Apache-2.0
// What each replacement and loss makes of a model: perplexity after healing, on one token budget, for several cuts and
// seeds. Scores once; each run is a line of JSON, and lines that are there already are not computed again.
//   healing_table MODEL --data FILE --eval FILE --out runs.jsonl [--cuts 2,4] [--replace layer,linear] [--loss mse,kl]
// scripts/healing_table.py makes the tables of docs/results.md of them.
#include <fstream>
#include <set>

#include "bench.h"
#include "streamline/arch/open_checkpoint.h"
#include "streamline/eval/perplexity.h"
#include "streamline/heal/heal_plan.h"
#include "streamline/prune/scores.h"
#include "streamline/surgery/apply.h"

namespace streamline {
namespace {

struct Options {
  std::string model, data, evaluation, out, dtype = "bfloat16", cache, cache_limit = "20GB";
  std::vector<std::int64_t> cuts = {2, 3, 4, 6}, seeds = {0, 1, 2};
  std::vector<std::string> replacements = {"ffn",   "swiglu",  "ffn-residual", "swiglu-residual",
                                           "layer", "layer:2", "linear",       "scale"};
  std::vector<std::string> losses = {"mse", "lm", "kl", "mse+kl"};
  std::int64_t tokens = 50000, seq_len = 512, windows = 16, threads = 2;
};

class Table {
 public:
  Table(const Options& options, const Model& model, const Tokenizer& tokenizer)
      : options_(options), model_(model), tokenizer_(tokenizer) {
    PackOptions pack;
    pack.seq_len = options.seq_len;
    pack.samples = 32;
    scores_ = score_layers(model, load_sequences(options.data, {}, tokenizer, pack), {});
    evaluation_ = load_evaluation_text(options.evaluation, {}, tokenizer);
    perplexity_.window = options.seq_len;
    perplexity_.max_windows = options.windows;
    std::ifstream in(options.out);
    for (std::string line; std::getline(in, line);) done_.insert(key(parse_json(line, options.out)));
    out_.open(options.out, std::ios::app);
    if (!out_) fail(ErrorKind::io, options.out, ": cannot be opened for writing");
  }

  void run() {
    for (const std::int64_t cut : options_.cuts) {
      none(cut);
      for (const std::int64_t seed : options_.seeds)
        for (const std::string& name : options_.replacements)
          for (const std::string& loss : options_.losses)
            if (loss == "mse" || parse_replacement(name).network->is_trained()) heal(cut, seed, name, loss);
    }
  }

 private:
  static std::string key(const Json& line) {
    return line.at("cut").dump() + line.at("replacement").dump() + line.at("loss").dump() + line.at("seed").dump();
  }

  double measure(const Model& model) const { return perplexity(model, evaluation_, perplexity_, {}).value; }

  void write(Json line, double perplexity, std::int64_t parameters, double seconds) {
    line["perplexity"] = perplexity;
    line["parameters"] = parameters;
    line["seconds"] = seconds;
    line["tokens"] = options_.tokens;
    line["start"] = start(line["cut"].get<std::int64_t>());
    out_ << line.dump() << std::endl;
    print_line(line);
  }

  std::int64_t start(std::int64_t cut) const { return ranked_windows(scores_, cut, {0}).front().start; }

  void none(std::int64_t cut) {
    const Json line = {{"cut", cut}, {"replacement", "none"}, {"loss", ""}, {"seed", 0}};
    if (done_.count(key(line)) != 0) return;
    const Model model = model_.view(cut_window(model_.layer_count(), start(cut), cut), {});
    write(line, measure(model), model.parameters(), 0);
  }

  void heal(std::int64_t cut, std::int64_t seed, const std::string& name, const std::string& loss) {
    Json line = {{"cut", cut}, {"replacement", name}, {"loss", loss}, {"seed", seed}};
    if (done_.count(key(line)) != 0) return;
    PackOptions pack;
    pack.seq_len = options_.seq_len;
    pack.samples = (options_.tokens + options_.seq_len - 1) / options_.seq_len;
    pack.shuffle = true;
    pack.seed = static_cast<std::uint64_t>(seed);
    const SplitSequences text = load_split(options_.data, {}, tokenizer_, pack, 8);
    const ReplacementChoice choice = parse_replacement(name);
    HealPlanOptions options;
    options.heal.seed = static_cast<std::uint64_t>(seed);
    options.heal.losses = parse_losses(loss, 0.8);
    if (!options_.cache.empty())
      options.heal.cache = {.directory = options_.cache, .limit = parse_size(options_.cache_limit)};
    const Stopwatch watch;
    const HealedPlan healed =
        heal_plan(model_, cut_window(model_.layer_count(), start(cut), cut, std::string(choice.network->name)), choice,
                  text.training, text.validation, options);
    const double seconds = watch.seconds();
    const HealStage& stage = healed.windows.front().result.last();
    line["nothing_error"] = stage.nothing;
    line["best_error"] = stage.best;
    const Model model = model_.view(healed.plan, healed.replacements);
    write(line, measure(model), model.parameters(), seconds);
  }

  const Options& options_;
  const Model& model_;
  const Tokenizer& tokenizer_;
  Scores scores_;
  EvaluationText evaluation_;
  PerplexityOptions perplexity_;
  std::set<std::string> done_;
  std::ofstream out_;
};

void run(const Options& options) {
  set_threads(static_cast<int>(options.threads));
  const auto checkpoint = open_checkpoint(options.model);
  const Model model = Model::open(checkpoint, resolve_placement("cpu", options.dtype));
  const auto tokenizer = open_tokenizer(checkpoint->files());
  Table(options, model, *tokenizer).run();
}

}  // namespace
}  // namespace streamline

int main(int count, char** words) {
  streamline::Options options;
  const auto declare = [&](streamline::cli::Arguments arguments) {
    const streamline::cli::Rules required{.required = true}, positive{.limits = streamline::cli::kPositive};
    arguments.add("model", options.model, "checkpoint directory or GGUF file", required);
    arguments.add("--data", options.data, "text to train on", required);
    arguments.add("--eval", options.evaluation, "text whose perplexity counts", required);
    arguments.add("--out", options.out, "the lines, added to what is there", required);
    arguments.add("--cuts", options.cuts, "layers to cut");
    arguments.add("--replace", options.replacements, "what to train in their place");
    arguments.add("--loss", options.losses, "what training lessens");
    arguments.add("--seeds", options.seeds, "a run for each");
    arguments.add("--tokens", options.tokens, "tokens to train on", positive);
    arguments.add("--seq-len", options.seq_len, "tokens a sequence, and a window of the perplexity", positive);
    arguments.add("--windows", options.windows, "windows of the perplexity", positive);
    arguments.add("--threads", options.threads, "threads", positive);
    arguments.add("--dtype", options.dtype, "compute type", {.choices = {"bfloat16", "float32"}});
    arguments.add("--cache", options.cache, "directory for hidden states");
    arguments.add("--cache-limit", options.cache_limit, "bytes it may take");
  };
  return streamline::run_benchmark(count, words, "healing_table", "What each replacement and loss makes of a model",
                                   declare, [&] { streamline::run(options); });
}
