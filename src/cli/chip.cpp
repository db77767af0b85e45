// SPDX-License-Identifier: Apache-2.0
// `streamline chip`: classify from an intermediate layer, and drop everything above.
#include <memory>

#include "chip_actions.h"
#include "command.h"
#include "recipe.h"

namespace streamline::cli::chip_command {
namespace {

struct Action {
  const char *name, *summary, *example;
  std::function<Output()> (*declare)(Arguments arguments);
};
constexpr Action kActions[] = {
    {"cache", "hidden states of labelled texts, at every layer, into a file",
     "  streamline chip cache MODEL --task sst2 --data-dir DIR --out sst2.features\n"
     "  streamline chip cache MODEL --data reviews.csv --text-field review --label-field stars --out stars.features\n",
     declare_chip_cache},
    {"train", "classifiers for every layer from such files",
     "  streamline chip train sst2.features --method ridge --feature-norm rms --no-bias --out sst2.chips\n"
     "  streamline chip train sst2.features boolq.features --method ridge --test 0.2 --out both.chips --html "
     "page.html\n",
     declare_chip_train},
    {"select", "which of them to keep: best, earliest that is nearly as good, or a fixed layer",
     "  streamline chip select sst2.chips --rule earliest --within 0.01 --out chosen.chips\n", declare_chip_select},
    {"eval", "accuracy of chosen chips on other texts, and with early exits",
     "  streamline chip eval sst2.chips --features sst2-test.features --exit 0.8,0.9,0.95\n", declare_chip_eval},
    {"export", "the model cut behind its chips: for transformers, as GGUF, or as a plain trunk",
     "  streamline chip export MODEL --chips sst2.chips --out sst2-classifier\n"
     "  streamline chip export MODEL --chips sst2.chips --layer 17 --out DIR --gguf sst2.gguf\n",
     declare_chip_export},
    {"run", "classify lines from standard input, with probabilities",
     "  echo 'a charming film' | streamline chip run sst2-classifier\n"
     "  streamline chip run MODEL --chips both.chips --exit 0.95 < lines.txt\n",
     declare_chip_run},
};

// What runs is the action that was named.
std::function<Output()> declare(Arguments& arguments) {
  struct Declared {
    Arguments arguments;
    std::function<Output()> run;
  };
  auto declared = std::make_shared<std::vector<Declared>>();
  for (const Action& action : kActions) {
    Arguments of_action = arguments.action(action.name, action.summary, std::string("Examples:\n") + action.example);
    auto run = action.declare(of_action);
    add_recipe_option(of_action);
    declared->push_back({of_action, std::move(run)});
  }
  return [declared] {
    for (const Declared& action : *declared)
      if (action.arguments.chosen()) return action.run();
    return Output{};
  };
}

}  // namespace

const Command& command() {
  static const Command declared{"chip", "classify from an intermediate layer, and drop everything above",
                                "  streamline chip cache MODEL --task sst2 --data-dir DIR --out sst2.features\n"
                                "  streamline chip train sst2.features --method ridge --feature-norm rms --no-bias "
                                "--out sst2.chips --html page.html\n"
                                "  streamline chip select sst2.chips --rule earliest --within 0.01\n",
                                declare};
  return declared;
}

}  // namespace streamline::cli::chip_command
