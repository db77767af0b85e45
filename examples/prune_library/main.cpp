// SPDX-License-Identifier: Apache-2.0
// Cuts the window of layers that changes the hidden state least, with the library instead of the command line:
//   prune_library MODEL TEXT OUT [LAYERS]
#include <cstdlib>
#include <iostream>

#include "streamline/base/error.h"
#include "streamline/prune/scores.h"
#include "streamline/surgery/apply.h"

namespace sl = streamline;

namespace {

// The best window of `count` layers, as LLM-Streamline chooses it (arXiv 2403.19135): cosine of what enters and leaves.
sl::Plan choose(const sl::Model& model, const std::filesystem::path& text, std::int64_t count) {
  const auto tokenizer = sl::open_tokenizer(model.checkpoint().files());
  const sl::TokenBatches batches = sl::load_sequences(text, {}, *tokenizer, {.seq_len = 128, .samples = 16});
  const sl::Scores scores = sl::score_layers(model, batches, {});
  const sl::Window best = sl::ranked_windows(scores, count, {}).front();
  std::cout << "layers " << best.start << ".." << best.start + best.count - 1
            << " change the hidden state least: cosine " << best.cosine << "\n";
  return sl::cut_window(model.layer_count(), best.start, best.count);
}

void run(const std::filesystem::path& source, const std::filesystem::path& text, const std::filesystem::path& out,
         std::int64_t count) {
  const sl::Model model = sl::Model::open(sl::Checkpoint::open(source), sl::resolve_placement("cpu", "float32"));
  const sl::Plan plan = choose(model, text, count);
  // What a plan does can be measured before anything is written: a view copies no weights.
  std::cout << model.parameters() << " → " << model.view(plan, {}).parameters() << " parameters\n";
  const sl::AppliedPlan applied = sl::apply_plan(model, plan, {}, out, {.overwrite = sl::Overwrite::yes});
  std::cout << sl::summary(plan) << "; written to " << out.string() << "\n";
  for (const std::string& note : applied.notes) std::cout << note << "\n";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) {
    std::cerr << "usage: prune_library MODEL TEXT OUT [LAYERS]\n";
    return 2;
  }
  try {
    run(argv[1], argv[2], argv[3], argc == 5 ? std::atoll(argv[4]) : 2);
  } catch (const sl::Error& error) {
    std::cerr << error.what() << "\n";
    return sl::exit_status(error.kind());
  }
  return 0;
}
