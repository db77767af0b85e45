// SPDX-License-Identifier: Apache-2.0
// `streamline generate`: text after a prompt.
#include <algorithm>
#include <cstdio>
#include <memory>

#include "command.h"
#include "options.h"
#include "plan_option.h"
#include "streamline/base/error.h"
#include "streamline/base/resources.h"
#include "streamline/engine/generate.h"
#include "streamline/report/report.h"

namespace streamline::cli::generate_command {
namespace {

struct Options {
  CommonOptions common;
  std::string model, plan, cut_in = "everywhere", prompt;
  GenerateOptions generate;
};

// Prints the prompt, once there is something behind it, and text as its tokens come; the last character waits until all
// of its bytes are there. Whatever ends it, the line ends too.
class TextStream {
 public:
  TextStream(const Tokenizer& tokenizer, std::string text, std::span<const TokenId> prompt)
      : tokenizer_(tokenizer), text_(std::move(text)), prompt_(prompt) {}
  ~TextStream() {
    if (printed_ > 0) std::fputs("\n", stdout);
    std::fflush(stdout);
  }
  TextStream(const TextStream&) = delete;
  TextStream& operator=(const TextStream&) = delete;

  void add(TokenId token) {
    tokens_.push_back(token);
    const std::string text = decode_after(tokenizer_, prompt_, tokens_);
    if (!text.ends_with(kIncomplete)) print_rest(text);
  }
  void print_rest(const std::string& text) {
    const std::string whole = text_ + text;
    if (whole.size() > printed_) print(whole.substr(printed_));
    printed_ = std::max(printed_, whole.size());
  }

 private:
  static constexpr std::string_view kIncomplete = "\xEF\xBF\xBD";  // U+FFFD, which decoding puts there
  const Tokenizer& tokenizer_;
  std::string text_;
  std::span<const TokenId> prompt_;
  std::vector<TokenId> tokens_;
  std::size_t printed_ = 0;
};

Output run(const Options& options) {
  const Placement placement = start(options.common);
  const OpenedModel opened = open_model(options.model, placement);
  const PhasedModel model = phased_view(opened.model, options.plan, options.cut_in, options.common.seed);
  std::vector<TokenId> prompt = opened.tokenizer->encode(options.prompt, true);
  if (prompt.empty() && opened.tokenizer->bos()) prompt.push_back(*opened.tokenizer->bos());
  if (prompt.empty()) fail(ErrorKind::usage, "--prompt is empty and this tokenizer has no BOS token to begin with");
  GenerateOptions generation = options.generate;
  generation.seed = options.common.seed;
  if (opened.tokenizer->eos()) generation.stop.push_back(*opened.tokenizer->eos());
  TokenBatches check;
  check.sequences = {prompt};
  check_token_range(check, opened.model.config().vocab);

  const Stopwatch watch;
  TextStream stream(*opened.tokenizer, options.prompt, prompt);
  const std::vector<TokenId> tokens = generate(model, prompt, generation, [&](TokenId token) {
    if (!options.common.json) stream.add(token);
    return true;
  });
  const std::string text = decode_after(*opened.tokenizer, prompt, tokens);
  if (!options.common.json) stream.print_rest(text);
  Json json = {{"run", computing_record(placement, options.common.seed)},
               {"prompt", options.prompt},
               {"prompt_tokens", prompt},
               {"text", text},
               {"tokens", tokens},
               {"seconds", watch.seconds()}};
  return {std::move(json), ""};  // the text is out already
}

std::function<Output()> declare(Arguments& arguments) {
  auto options = std::make_shared<Options>();
  add_model(arguments, options->model);
  arguments.add("--plan", options->plan, "look at the model through this plan, without writing it");
  add_cut_in(arguments, options->cut_in);
  arguments.add("--prompt", options->prompt, "text to go on from", {.required = true});
  arguments.add("--max-tokens", options->generate.max_tokens, "at most this many new tokens", {.limits = kPositive});
  arguments.add("--temperature", options->generate.temperature, "0: always the likeliest token",
                {.limits = kNonNegative});
  arguments.add("--top-p", options->generate.top_p, "draw from the likeliest tokens that hold this share",
                {.limits = Limits{0, 1}});
  add_compute_options(arguments, options->common);
  return [options] { return run(*options); };
}

}  // namespace

const Command& command() {
  static const Command declared{
      "generate", "text after a prompt",
      "  streamline generate models/books-5m --prompt \"It was a\" --max-tokens 32 --temperature 0\n", declare};
  return declared;
}

}  // namespace streamline::cli::generate_command
