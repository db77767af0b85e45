// SPDX-License-Identifier: Apache-2.0
// Training that is interrupted goes on to the same bits.
#include <filesystem>

#include "streamline/base/file.h"
#include "streamline/base/state_key.h"
#include "streamline/heal/train_state.h"
#include "streamline/heal/trainer.h"
#include "tests/heal/pico.h"
#include "tests/support/core/expect.h"
#include "tests/support/core/temporary_directory.h"

namespace streamline {
namespace {

using test::pico_model;
using test::random_tokens;

struct Stopped {};

// A run of 2 x 10 steps in two stages; stops before the record `stop_at` of its log, when not negative.
HealResult run(const Model& model, const std::filesystem::path& state, int stop_at,
               const char* name = "swiglu-residual") {
  HealOptions options{.learning_rate = 2e-3, .epochs = 2, .batch_tokens = 32, .validate_every = 3, .seed = 5};
  options.losses = parse_losses("mse+lm", 0.6);
  options.state_file = state;
  options.save_every = 0;
  int records = 0;
  options.log = [&](const Json&) {
    if (records++ == stop_at) throw Stopped();
  };
  return heal_window(model, 1, 3, find_replacement(name), random_tokens(20, 16, 1), random_tokens(3, 16, 2), options);
}

// LLM-Streamline check 26, on one thread; every so many records of the log the run is stopped in front of one.
void expect_the_same_bits(const char* name, int every) {
  SCOPED_TRACE(name);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const test::TemporaryDirectory directory;
  const Model model = pico_model(test::tiny_llama(), 1);
  const HealResult whole = run(model, {}, -1, name);
  ASSERT_EQ(whole.stages[0].steps.size() + whole.stages[1].steps.size(), 20u);
  for (int stop_at = 0; stop_at < 28; stop_at += every) {
    SCOPED_TRACE(stop_at);
    const auto state = directory.path() / ("state-" + std::to_string(stop_at) + ".safetensors");
    EXPECT_THROW(run(model, state, stop_at, name), Stopped);
    const HealResult resumed = run(model, state, -1, name);
    EXPECT_TRUE(test::same(resumed.weights.front(), whole.weights.front()));
    Json a = to_json(resumed), b = to_json(whole);
    a.erase("seconds");
    b.erase("seconds");
    EXPECT_EQ(a, b);
  }
  at::set_num_threads(threads);
}

TEST(Resume, AfterAnInterruptionAtAnyMomentGivesTheSameBits) { expect_the_same_bits("swiglu-residual", 1); }

TEST(Resume, OfOtherReplacementsGivesTheSameBitsToo) {
  for (const char* name : {"layer", "ffn-residual"}) expect_the_same_bits(name, 5);
}

TEST(Resume, OfAFinishedRunIsItsResult) {
  const test::TemporaryDirectory directory;
  const Model model = pico_model(test::tiny_llama(), 1);
  const auto state = directory.path() / "state.safetensors";
  const HealResult first = run(model, state, -1);
  const HealResult again = run(model, state, 0);  // would stop at the first thing that it did
  EXPECT_TRUE(test::same(first.weights.front(), again.weights.front()));
}

// What is known of a run is compared before the rest is.
TEST(Resume, ChecksTheStatesOfAFolderAsFarAsARunIsKnown) {
  const test::TemporaryDirectory directory;
  const Model model = pico_model(test::tiny_llama(), 1), other = pico_model(test::tiny_llama(), 2);
  const Json known = {{kStateForm, "healing 2"}, {"model", model.checkpoint().digest()}};
  check_train_states(directory.path() / "none", known);
  save_train_state({.run = {{kStateForm, "healing 2"}, {"model", model.checkpoint().digest()}, {"text", "a"}}},
                   directory.path() / "window-1.safetensors");
  check_train_states(directory.path(), known);
  EXPECT_ERROR(
      check_train_states(directory.path(), {{kStateForm, "healing 2"}, {"model", other.checkpoint().digest()}}),
      mismatch, "window-1.safetensors: is the state of another run (what differs: model)");
  EXPECT_ERROR(check_train_states(directory.path(), {{kStateForm, "healing 3"}}), mismatch, "another version");
  TensorFile({{"weight", torch::zeros({2})}}, {}).write(directory.path() / "model.safetensors", Durable::now);
  EXPECT_ERROR(check_train_states(directory.path(), known), format, "model.safetensors: this is no training state");
}

// As they were when their key was a digest.
TEST(Resume, TellsTheStateOfAnotherVersionAsOne) {
  const test::TemporaryDirectory directory;
  const Model model = pico_model(test::tiny_llama(), 1);
  const auto state = directory.path() / "state.safetensors";
  TensorFile({{"parameter.0", torch::zeros({2})}}, {{"run", std::string(64, 'a')}, {"progress", "{}"}})
      .write(state, Durable::now);
  EXPECT_ERROR(run(model, state, -1), mismatch, "another version of this program; delete it");
}

TEST(Resume, RefusesTheStateOfAnotherRunAndBrokenFiles) {
  const test::TemporaryDirectory directory;
  const auto state = directory.path() / "state.safetensors";
  run(pico_model(test::tiny_llama(), 1), state, -1);
  EXPECT_ERROR(run(pico_model(test::tiny_llama(), 2), state, -1), mismatch,
               "is the state of another run (what differs: model)");
  const std::string bytes = read_text(state);
  write_text(state, bytes.substr(0, bytes.size() / 2));
  EXPECT_ERROR(run(pico_model(test::tiny_llama(), 1), state, -1), format, "state.safetensors");
  write_text(state, "not a state");
  EXPECT_ERROR(run(pico_model(test::tiny_llama(), 1), state, -1), format, "state.safetensors");
}

}  // namespace
}  // namespace streamline
