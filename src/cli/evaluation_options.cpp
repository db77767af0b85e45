// SPDX-License-Identifier: Apache-2.0
// What is measured, from the words of the command line.
#include <algorithm>

#include "evaluation.h"
#include "shipped_text.h"
#include "streamline/base/error.h"

namespace streamline::cli {

void add_evaluation_options(Arguments& arguments, EvaluationOptions& options) {
  Arguments text = arguments.group("Perplexity"), tasks = arguments.group("Tasks");
  options.perplexity.window = 0;
  text.add("--perplexity", options.texts, "texts to measure perplexity on");
  text.add("--text-field", options.corpus.text_field, "field of a .jsonl line that holds the text");
  text.add(
      "--window", options.perplexity.window,
      "tokens of text a window, the first of which is not scored; default: 512, or what the model's positions hold "
      "beside BOS",
      {.limits = Limits{2, 1 << 30}});
  text.add("--stride", options.perplexity.stride, "tokens from one window to the next; default: the window",
           {.limits = kPositive});
  text.add("--max-windows", options.perplexity.max_windows, "only the first windows; default: all",
           {.limits = kPositive});
  text.flag("--allow-long", options.allow_long, "allow windows longer than the model's positions");
  tasks.add("--tasks", options.tasks,
            "benchmarks, by name (`streamline list`), one set of them (mmlu_anatomy), or the path of a task file");
  tasks.add("--task-dir", options.task_dir, "folder of further task files");
  tasks.add("--data-dir", options.data_dir, "folder that the tasks' questions lie in");
  tasks.add("--style", options.style,
            "how questions are put: lm-eval (likelihood of the answer), or opencompass "
            "(mean negative log likelihood of the whole text)",
            {.choices = {"lm-eval", "opencompass"}});
  tasks.add("--limit", options.limit, "only the first questions of each set; default: all", {.limits = kPositive});
  tasks.add("--num-fewshot", options.shots, "solved examples in front of every question; default: as the task says",
            {.shows_default = false, .limits = kNonNegative});
  tasks.add("--max-length", options.max_tokens,
            "tokens of a question with its answer; what is longer is cut; default: the model's positions",
            {.shows_default = false, .limits = kPositive});
  tasks.add("--out", options.out,
            "folder for perplexities and the answers to every question; what is finished there is not measured again");
  tasks.flag("--overwrite", options.overwrite, "replace what another model left in --out");
  arguments.add("--bos", options.bos,
                "BOS in front of each window and question: auto (where the tokenizer has the habit), on, off",
                {.choices = {"auto", "on", "off"}});
}

Workload load_workload(const EvaluationOptions& options, const OpenedModel& opened, std::uint64_t seed) {
  if (options.texts.empty() && options.tasks.empty())
    fail(ErrorKind::usage, "nothing to measure; give --perplexity FILE, or --tasks NAME,… with --data-dir DIR");
  if (!options.tasks.empty() && options.data_dir.empty())
    fail(ErrorKind::usage, "--tasks needs --data-dir, the folder that the questions lie in");
  Workload workload;
  const bool bos = resolve_bos(options.bos, *opened.tokenizer);
  workload.perplexity = options.perplexity;
  workload.perplexity.bos = bos;
  workload.perplexity.beyond_positions = true;
  workload.perplexity.progress = true;
  workload.bos = opened.tokenizer->bos();
  if (!options.texts.empty())
    workload.perplexity.window = resolve_seq_len(opened.model.config(), options.perplexity.window,
                                                 longer_if(options.allow_long), bos, "--window");
  for (const std::string& text : options.texts) {
    workload.texts.push_back(load_evaluation_text(text, options.corpus, *opened.tokenizer));
    if (options.shipped) workload.texts.back().source = shipped_name(text, text);
    check_long_enough(workload.texts.back(), workload.perplexity.window, "--window");
  }
  TaskData data{.folder = options.data_dir,
                .style = style_named(options.style),
                .limit = options.limit,
                .shots = options.shots,
                .seed = seed};
  for (const std::string& name : options.tasks) {
    const TaskChoice chosen = choose_task(name, options.task_dir);
    data.set = chosen.set;
    for (TaskSet& set : load_task(*chosen.task, data)) {
      const auto same = [&](const TaskSet& other) { return other.name == set.name; };
      if (std::ranges::any_of(workload.sets, same))
        fail(ErrorKind::usage, "--tasks: '", set.name, "' is there twice; its questions would count twice");
      workload.sets.push_back(std::move(set));
    }
  }
  workload.scoring = {.max_tokens = options.max_tokens, .bos = bos, .progress = true};
  return workload;
}

}  // namespace streamline::cli
