// SPDX-License-Identifier: Apache-2.0
// `streamline chip cache`: hidden states of labelled texts into a file.
#include <memory>
#include <numeric>

#include "chip_actions.h"
#include "options.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/number_text.h"
#include "streamline/base/random.h"
#include "streamline/base/resources.h"
#include "streamline/chip/features.h"
#include "streamline/tasks/rows.h"
#include "training.h"

namespace streamline::cli {
namespace {

constexpr std::int64_t kUsualLength = 2048;  // where the model names no positions

struct CacheOptions {
  CommonOptions common;
  std::string model, task, task_dir, data_dir, prompt, name, out;
  std::string text_field = "text", label_field = "label", position = "last", bos = "auto", feature_dtype = "bfloat16";
  std::vector<std::string> data, classes;
  std::vector<std::int64_t> layers;
  std::int64_t limit = 0, samples = 0, shots = -1, max_length = 0, batch_tokens = 0;
  bool overwrite = false;
};

// A shell hands "\n" over as two characters.
std::string with_line_breaks(std::string text) {
  for (std::size_t at = 0; (at = text.find("\\n", at)) != text.npos; ++at) text.replace(at, 2, "\n");
  return text;
}

// By its name alone, before anything is read.
void check_has_rows(const std::filesystem::path& file) {
  try {
    row_format_of(file);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::unsupported) throw;
    fail(
        ErrorKind::unsupported, file.string(),
        ": has no rows with a text and a label by its name; --data takes .jsonl, .json, .csv and .tsv, also .gz, .zst");
  }
}

void check_cache_options(const Arguments& arguments, const CacheOptions& options) {
  check_meaning(arguments, {{.options = {"--text-field", "--label-field", "--prompt", "--classes"},
                             .means = !options.data.empty(),
                             .goes_with = "--data FILE; a --task brings its own"},
                            {.options = {"--task-dir", "--data-dir", "--num-fewshot"},
                             .means = !options.task.empty(),
                             .goes_with = "--task"}});
}

LabelledTexts load_labelled(const CacheOptions& options) {
  if (options.task.empty() == options.data.empty())
    fail(ErrorKind::usage, "give --task NAME with --data-dir DIR, or --data FILE with a text and a label in each row");
  if (!options.task.empty()) {
    if (options.data_dir.empty())
      fail(ErrorKind::usage, "--task needs --data-dir, the folder that its questions lie in");
    return labelled_task(
        choose_task(options.task, options.task_dir),
        {.folder = options.data_dir, .limit = options.limit, .shots = options.shots, .seed = options.common.seed});
  }
  const std::vector<std::filesystem::path> files(options.data.begin(), options.data.end());
  for (const std::filesystem::path& file : files) check_has_rows(file);
  return labelled_files(files, {.text_field = options.text_field,
                                .label_field = options.label_field,
                                .prompt = with_line_breaks(options.prompt),
                                .classes = options.classes,
                                .limit = options.limit});
}

// So many texts, drawn by the seed.
void draw(LabelledTexts& texts, std::int64_t samples, std::uint64_t seed) {
  if (samples == 0 || samples >= std::ssize(texts.texts)) return;
  Rng rng(seed);
  std::vector<std::int64_t> order = permutation(std::ssize(texts.texts), rng);
  order.resize(static_cast<std::size_t>(samples));
  LabelledTexts drawn = texts;
  drawn.texts.clear();
  drawn.labels.clear();
  for (const std::int64_t i : order) {
    drawn.texts.push_back(texts.texts[static_cast<std::size_t>(i)]);
    drawn.labels.push_back(texts.labels[static_cast<std::size_t>(i)]);
  }
  texts = std::move(drawn);
}

std::vector<std::int64_t> wanted_layers(std::vector<std::int64_t> layers, std::int64_t count) {
  if (layers.empty()) {
    layers.resize(static_cast<std::size_t>(count));
    std::iota(layers.begin(), layers.end(), std::int64_t{0});
  }
  std::ranges::sort(layers);
  layers.erase(std::ranges::unique(layers).begin(), layers.end());
  if (layers.front() < 0 || layers.back() >= count)
    fail(ErrorKind::usage, "--layers: the model has layers 0..", count - 1);
  return layers;
}

torch::ScalarType feature_type(const std::string& word) {
  return word == "float32" ? torch::kFloat32 : word == "float16" ? torch::kFloat16 : torch::kBFloat16;
}

chip::Input cache_input(const CacheOptions& options, const OpenedModel& opened, const std::string& prompt) {
  const Config& config = opened.model.config();
  chip::Input input{.position = chip::parse_position(options.position)};
  input.bos = resolve_bos(options.bos, *opened.tokenizer);
  input.max_tokens = config.max_positions > 0 ? config.max_positions : kUsualLength;
  if (options.max_length > 0) input.max_tokens = std::min(input.max_tokens, options.max_length);
  input.prompt = prompt;
  return input;
}

std::vector<std::int64_t> class_counts(const LabelledTexts& texts) {
  std::vector<std::int64_t> counts(texts.classes.size());
  for (const std::int64_t label : texts.labels) ++counts[static_cast<std::size_t>(label)];
  return counts;
}

Output run_cache(const CacheOptions& options) {
  const Placement placement = start(options.common);
  check_output(options.out, options.overwrite);
  LabelledTexts texts = load_labelled(options);
  draw(texts, options.samples, options.common.seed);
  const OpenedModel opened = open_model(options.model, placement, Head::any);
  const chip::Input input = cache_input(options, opened, texts.prompt);
  const chip::Prompts prompts = chip::tokenize(texts.texts, *opened.tokenizer, input);
  if (prompts.truncated > 0)
    log_warning("the beginning is left out of " + counted(prompts.truncated, "text") + " of more than " +
                std::to_string(input.max_tokens) + " tokens");
  const chip::FeatureDescription description{.task = options.name.empty() ? texts.name : options.name,
                                             .classes = texts.classes,
                                             .trunk = chip::trunk_of(opened.model),
                                             .input = input,
                                             .layers = wanted_layers(options.layers, opened.model.layer_count()),
                                             .source = texts.source,
                                             .digest = prompts.batches.digest,
                                             .truncated = prompts.truncated};
  const Stopwatch watch;
  naming_bad_tensors(opened.model, [&] {
    chip::write_features(opened.model, texts, prompts, description, options.out,
                         {.dtype = feature_type(options.feature_dtype),
                          .batch_tokens = options.batch_tokens,
                          .overwrite = options.overwrite ? Overwrite::yes : Overwrite::no,
                          .progress = true});
  });
  const std::uint64_t bytes = std::filesystem::file_size(options.out);
  Json json = to_json(description);
  json["run"] = computing_record(placement, options.common.seed);
  json["output"] = options.out;
  json["texts"] = texts.texts.size();
  json["class_counts"] = class_counts(texts);
  json["tokens"] = prompts.batches.tokens();
  json["bytes"] = bytes;
  json["seconds"] = watch.seconds();
  std::ostringstream text;
  text << options.out << ": " << counted(std::ssize(texts.texts), "text") << " of " << description.task << ", "
       << counted(std::ssize(description.layers), "layer") << ", " << texts.classes.size() << " classes, "
       << format_bytes(bytes) << "\n";
  return {std::move(json), text.str()};
}

}  // namespace

std::function<Output()> declare_chip_cache(Arguments arguments) {
  auto options = std::make_shared<CacheOptions>();
  add_model(arguments, options->model);
  Arguments texts = arguments.group("Texts");
  texts.add("--task", options->task, "a benchmark by name (`streamline list`), or the path of a task file");
  texts.add("--task-dir", options->task_dir, "folder of further task files");
  texts.add("--data-dir", options->data_dir, "folder that the task's questions lie in");
  texts.add("--num-fewshot", options->shots, "solved examples in front of every question; default: as the task says",
            {.shows_default = false, .limits = kNonNegative});
  texts.add(
      "--data", options->data,
      "files, with commas between, with a text and a label in each row: .jsonl, .json, .csv, .tsv, also .gz, .zst");
  texts.add("--text-field", options->text_field, "field of a row that holds the text");
  texts.add("--label-field", options->label_field, "field of a row that holds the label");
  texts.add("--prompt", options->prompt, "template that makes the text of a row, as \"{{text}}\\nSentiment:\"");
  texts.add("--classes", options->classes, "the labels in this order; default: those of the first file, sorted");
  texts.add("--limit", options->limit, "only the first rows of each file, or questions of each set",
            {.shows_default = false, .limits = kPositive});
  texts.add("--samples", options->samples, "only so many of them, drawn by --seed",
            {.shows_default = false, .limits = kPositive});
  arguments.add("--name", options->name, "what the task is called; default: the benchmark's or the file's name");
  arguments.add("--position", options->position, "the token whose hidden state is taken: last, mean, or its index");
  arguments.add("--layers", options->layers, "behind which layers; default: all");
  arguments.add("--bos", options->bos, "BOS in front of each text: auto (where the tokenizer has the habit), on, off",
                {.choices = {"auto", "on", "off"}});
  arguments.add("--max-length", options->max_length,
                "tokens of a text; what is longer loses its beginning; default: the model's positions",
                {.shows_default = false, .limits = kPositive});
  arguments.add("--feature-dtype", options->feature_dtype, "that hidden states are stored in",
                {.choices = {"bfloat16", "float16", "float32"}});
  arguments.add("--batch-tokens", options->batch_tokens, "tokens that run together; default: chosen from the model",
                {.shows_default = false, .limits = kPositive});
  arguments.add("--out", options->out, "the file of features; a run that was cut short goes on from OUT.parts",
                {.required = true});
  arguments.flag("--overwrite", options->overwrite, "replace an existing --out");
  add_sweep_options(arguments, options->common);
  return [options, arguments] {
    check_cache_options(arguments, *options);
    return resumable(options->out + ".parts", [&] { return run_cache(*options); });
  };
}

}  // namespace streamline::cli
