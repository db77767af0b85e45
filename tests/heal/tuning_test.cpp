// SPDX-License-Identifier: Apache-2.0
// Adapters: what they start as, what they learn, and that merging them changes nothing.
#include "streamline/heal/tuning.h"

#include <torch/autograd.h>

#include "streamline/engine/tail.h"
#include "streamline/engine/tensor_file.h"
#include "streamline/heal/adapted_view.h"
#include "streamline/heal/heal_memory.h"
#include "streamline/heal/initial.h"
#include "streamline/heal/next_token_run.h"
#include "streamline/heal/peft_files.h"
#include "streamline/io/safetensors.h"
#include "streamline/plan/drop_halves.h"
#include "streamline/surgery/apply.h"
#include "tests/heal/pico.h"
#include "tests/support/core/expect.h"
#include "tests/support/core/temporary_directory.h"

namespace streamline {
namespace {

using test::pico_model;
using test::random_tokens;
using test::within;

Adapters random_adapters(const Model& model, std::vector<Role> roles, double dropout = 0) {
  Rng rng(4);
  Adapters adapters =
      initial_adapters(model, {.rank = 3, .alpha = 6, .dropout = dropout, .roles = std::move(roles)}, rng);
  torch::manual_seed(5);
  for (Adapter& adapter : adapters.list) adapter.b = 0.1 * torch::randn_like(adapter.b);
  return adapters;
}

torch::Tensor some_ids() { return to_tensor(random_tokens(2, 9, 3), {0, 1}, torch::kCPU); }

torch::Tensor adapted_logits(const Model& model, const Adapters& adapters, const torch::Tensor& ids) {
  const torch::NoGradGuard no_grad;
  const Positions positions = rope_positions(model.config(), 0, ids.size(1), torch::kCPU);
  auto x = model.embed(ids);
  for (std::int64_t i = 0; i < model.layer_count(); ++i) {
    LayerWeights weights = model.layer(i);
    attach(adapters, i, 0, weights);
    x = block_forward(model.config(), weights, x, positions);
  }
  return model.logits(x);
}

// Unreasonable ineffectiveness, check 12: B = 0, so the model is as it was, to the bit. Section 4 counts the parameters
// so: 3 matrices a layer, the rank times both their sides.
TEST(Adapters, UnreasonableCheck12ChangeNothingAtTheStart) {
  const Model model = pico_model(test::tiny_llama(), 1);
  Rng rng(1);
  const Adapters adapters = initial_adapters(model, {.rank = 4}, rng);
  EXPECT_EQ(adapters.list.size(), 6U * 3);
  EXPECT_EQ(adapters.parameters(), 6 * 3 * 4 * (64 + 176));
  EXPECT_TRUE(torch::equal(adapted_logits(model, adapters, some_ids()), forward_logits(model, some_ids())));
}

TEST(Adapters, MergedGiveWhatTheyGiveBeside) {
  for (const Json& json : {test::tiny_llama(), test::tiny_opt(), test::tiny_qwen3()}) {
    const Model model = pico_model(json, 1);
    const Adapters adapters = random_adapters(model, parse_adapter_roles({"all"}));
    const auto beside = adapted_logits(model, adapters, some_ids());
    const Model healed = model.changed(merging(adapters));
    EXPECT_LT((forward_logits(healed, some_ids()) - beside).abs().max().item<double>(), 1e-4);
    EXPECT_GT((forward_logits(model, some_ids()) - beside).abs().max().item<double>(), 1e-2);
  }
}

// DoRA starts as the model, to the bit, and its rows keep their lengths apart from where they point.
TEST(Adapters, OfDoraStartAsTheModelAndKeepLengthsApart) {
  const Model model = pico_model(test::tiny_llama(), 1);
  Rng rng(1);
  Adapters adapters = initial_adapters(model, {.kind = AdapterKind::dora, .rank = 4}, rng);
  EXPECT_EQ(adapters.parameters(), 6 * 3 * 4 * (64 + 176) + 6 * (176 + 176 + 64));
  EXPECT_TRUE(torch::equal(adapted_logits(model, adapters, some_ids()), forward_logits(model, some_ids())));
  torch::manual_seed(5);
  for (Adapter& adapter : adapters.list) adapter.b = 0.1 * torch::randn_like(adapter.b);
  const Adapter& first = adapters.list.front();
  const Model healed = model.changed(merging(adapters));
  const auto w = model.stored_matrix(0, first.role).to(torch::kFloat64);
  const auto v = w + first.b.to(torch::kFloat64).mm(first.a.to(torch::kFloat64));
  const auto expected = w.norm(2, 1).unsqueeze(1) * v / v.norm(2, 1).unsqueeze(1);
  EXPECT_TRUE(torch::allclose(healed.stored_matrix(0, first.role).to(torch::kFloat64), expected, 1e-4, 1e-6));
  EXPECT_LT(
      (forward_logits(healed, some_ids()) - adapted_logits(model, adapters, some_ids())).abs().max().item<double>(),
      1e-4);
}

// It has no direction: nothing is divided by its length, and the rest of its matrix learns.
TEST(Adapters, OfDoraLeaveARowOfZerosAsItIs) {
  const Model model = pico_model(test::tiny_llama(4), 1, [](const ExpectedTensor& tensor, std::vector<float>& values) {
    if (tensor.role == Role::up) std::fill_n(values.begin(), 2 * tensor.shape[1], 0.0F);
  });
  const auto text = random_tokens(8, 24, 2);
  TuningOptions options{.adapters = {.kind = AdapterKind::dora, .rank = 4, .dropout = 0}};
  options.heal = {.learning_rate = 2e-2, .epochs = 8, .batch_tokens = 96, .validate_every = 8};
  const Tuned tuned = tune(model, text, text, options);
  EXPECT_LT(tuned.result.last().best, 0.99 * tuned.result.last().nothing);
  const auto up = model.changed(merging(tuned.adapters)).stored_matrix(1, Role::up);
  EXPECT_TRUE(torch::isfinite(up).all().item<bool>());
  EXPECT_EQ(up.narrow(0, 0, 2).count_nonzero().item<std::int64_t>(), 0);
  EXPECT_FALSE(torch::equal(up, model.stored_matrix(1, Role::up)));
}

TEST(Adapters, OfNormsAreTheirWeights) {
  for (const Json& json : {test::tiny_llama(), test::tiny_opt(), test::tiny_qwen3()}) {
    const Model model = pico_model(json, 1);
    Rng rng(1);
    Adapters adapters = initial_adapters(model, {.kind = AdapterKind::norms}, rng);
    EXPECT_TRUE(torch::equal(adapted_logits(model, adapters, some_ids()), forward_logits(model, some_ids())));
    for (Adapter& adapter : adapters.list) adapter.norm = 1.5 * adapter.norm;
    const auto beside = adapted_logits(model, adapters, some_ids());
    EXPECT_LT((forward_logits(model.changed(merging(adapters)), some_ids()) - beside).abs().max().item<double>(), 1e-4);
    EXPECT_GT((forward_logits(model, some_ids()) - beside).abs().max().item<double>(), 1e-2);
  }
}

// Every kind learns the text that it is judged by, and its parameters alone.
TEST(Adapters, OfEveryKindLearn) {
  const Model model = pico_model(test::tiny_llama(4), 1);
  const auto text = random_tokens(8, 24, 2);
  for (const AdapterKind kind : {AdapterKind::lora, AdapterKind::dora, AdapterKind::norms}) {
    TuningOptions options{.adapters = {.kind = kind, .rank = 4, .dropout = 0}};
    options.heal.epochs = 8;
    options.heal.batch_tokens = 96;
    options.heal.validate_every = 8;
    options.heal.learning_rate = 2e-2;
    const Tuned tuned = tune(model, text, text, options);
    EXPECT_NEAR(tuned.result.last().initial, tuned.result.last().nothing, 1e-5);
    EXPECT_LT(tuned.result.last().best, 0.99 * tuned.result.last().nothing) << static_cast<int>(kind);
  }
}

// Adapters of a view's layers, which are numbered otherwise than the source's: halves come from two layers each.
TEST(Adapters, OfAViewAreMergedIntoWhatItIsMadeOf) {
  const Model model = pico_model(test::tiny_llama(), 1);
  Plan replaced = cut_window(6, 3, 2, "layer");
  Rng rng(3);
  const Replacements layer = {{1, initial_weights(find_replacement("layer"), model, 3, Start::random, rng)}};
  Plan sliced = drop_halves(6, {2, 4}, {1});
  sliced.slices[1] = {.kv_heads = KeptUnits{2, {1}}};
  sliced.slices[2] = {.channels = {KeptUnits{176, {0, 5, 9, 100, 175}}}};
  const std::vector<std::pair<Plan, Replacements>> cuts = {
      {sliced, {}}, {drop_layers(6, {1, 3}), {}}, {drop_halves(6, {2, 4}, {1}), {}}, {replaced, layer}};
  for (const auto& [plan, replacements] : cuts) {
    const Model view = model.view(plan, replacements);
    const Adapters adapters = random_adapters(view, parse_adapter_roles({"all"}));
    const auto beside = adapted_logits(view, adapters, some_ids()), before = forward_logits(view, some_ids());
    const Model healed = adapted_view(model, plan, replacements, adapters);
    EXPECT_LT((forward_logits(healed, some_ids()) - beside).abs().max().item<double>(), 1e-4) << summary(plan);
    EXPECT_GT((before - beside).abs().max().item<double>(), 1e-2);
    EXPECT_TRUE(torch::equal(forward_logits(model.view(plan, replacements), some_ids()), before));
  }
}

TEST(Adapters, MergedAreWrittenAndReadBack) {
  const test::TemporaryDirectory directory;
  const Model model = pico_model(test::tiny_llama(), 1);
  const Model healed = model.changed(merging(random_adapters(model, parse_adapter_roles({"down", "q"}))));
  Plan plan{.base = {.layers = 6}};
  plan.segments = {{.first = 0, .last = 5}};
  const AppliedPlan applied = apply_plan(healed, plan, {}, directory.path() / "out", {});
  EXPECT_LT(applied.largest_logit_difference.value(), 1e-5);
  const Model back = Model::open(Checkpoint::open(directory.path() / "out"), {});
  EXPECT_TRUE(torch::equal(forward_logits(back, some_ids()), forward_logits(healed, some_ids())));
}

TEST(Adapters, GoThroughPeftFiles) {
  const test::TemporaryDirectory directory;
  const Model model = pico_model(test::tiny_llama(), 1);
  const Adapters adapters = random_adapters(model, parse_adapter_roles({"attention"}));
  write_peft(directory.path(), adapters, model, "models/tiny");
  const Adapters back = read_peft(directory.path(), model);
  ASSERT_EQ(back.list.size(), adapters.list.size());
  EXPECT_EQ(back.options.scale(), 2);
  EXPECT_TRUE(torch::equal(adapted_logits(model, back, some_ids()), adapted_logits(model, adapters, some_ids())));
  EXPECT_ERROR(read_peft(directory.path(), pico_model(test::tiny_llama(3), 1)), mismatch, "adapters for layer 3");
  write_text(directory.path() / "adapter_config.json", R"({"peft_type": "LORA", "r": 3, "use_dora": true})");
  EXPECT_ERROR(read_peft(directory.path(), model), unsupported, "'use_dora' is true; only plain LoRA is read");
  // PiSSA's adapters belong to a base that lacks what they begin with.
  write_text(directory.path() / "adapter_config.json",
             R"({"peft_type": "LORA", "r": 3, "init_lora_weights": "pissa_niter_4"})");
  EXPECT_ERROR(read_peft(directory.path(), model), unsupported, "'init_lora_weights' is pissa_niter_4, which begins");
  for (const char* start : {"true", "\"gaussian\""}) {
    write_text(directory.path() / "adapter_config.json",
               std::string(R"({"peft_type": "LORA", "r": 3, "init_lora_weights": )") + start + "}");
    EXPECT_DOUBLE_EQ(read_peft(directory.path(), model).options.scale(), 8.0 / 3);  // PEFT's alpha unless it is given
  }
  write_text(directory.path() / "adapter_config.json", R"({"peft_type": "LORA", "r": 4})");
  EXPECT_ERROR(read_peft(directory.path(), model), mismatch, "does not fit its matrix of");
  write_text(directory.path() / "adapter_config.json", R"({"peft_type": "IA3"})");
  EXPECT_ERROR(read_peft(directory.path(), model), unsupported, "'peft_type' is IA3");
}

// Whatever the model is called and wherever it lies.
TEST(Adapters, BelongToTheWeightsThatTheyWereTrainedOn) {
  const test::TemporaryDirectory directory;
  const Model model = pico_model(test::tiny_llama(), 1), twin = pico_model(test::tiny_llama(), 2);
  write_peft(directory.path(), random_adapters(model, parse_adapter_roles({"q"})), model, "models/tiny");
  EXPECT_EQ(read_peft(directory.path(), pico_model(test::tiny_llama(), 1)).list.size(), 6U);
  EXPECT_ERROR(read_peft(directory.path(), twin), mismatch,
               "these adapters were trained on other weights (models/tiny; digest " + model.checkpoint().digest());
  EXPECT_EQ(read_peft(directory.path(), twin, AnyWeights::yes).list.size(), 6U);

  // As the library leaves them, which says no digest.
  const auto file = directory.path() / "adapter_model.safetensors";
  NamedTensors tensors;
  const Blob blob = map_file(file);
  for (const TensorInfo& info : parse_safetensors(blob.bytes, file.string()))
    tensors.emplace_back(info.name, read_tensor(info, blob));
  std::filesystem::remove(file);
  TensorFile(tensors, {{"format", "pt"}}).write(file);
  EXPECT_EQ(read_peft(directory.path(), twin).list.size(), 6U);
  EXPECT_EQ(read_peft_base(directory.path()).model, "models/tiny");
  EXPECT_EQ(read_peft_base(directory.path()).digest, "");
}

TEST(Adapters, ThatMakeNoSenseAreRefused) {
  const Model model = pico_model(test::tiny_llama(), 1);
  Rng rng(1);
  EXPECT_ERROR(initial_adapters(model, {.rank = 0}, rng), usage, "rank 0; at least 1");
  EXPECT_ERROR(initial_adapters(model, {.rank = 9999}, rng), usage, "rank 9999; the model's matrices have rank");
  EXPECT_ERROR(initial_adapters(model, {.dropout = 1}, rng), usage, "outside [0, 1)");
  EXPECT_ERROR(initial_adapters(model, {.roles = {Role::qkv}}, rng), usage, "no layer has a matrix of that name");
  EXPECT_ERROR(parse_adapter_roles({"norm"}), usage, "'norm' is no matrix that takes an adapter");
}

// The gradient of the whole model by autograd, dropout and all.
TEST(Tuning, ItsGradientIsThatOfTheWholeModel) {
  const Model model = pico_model(test::tiny_llama(), 1, {}, {torch::kCPU, torch::kFloat64});
  Adapters adapters = random_adapters(model, parse_adapter_roles({"all"}), 0.2);
  std::vector<torch::Tensor> matrices;
  for (Adapter& adapter : adapters.list)
    for (torch::Tensor* matrix : {&adapter.a, &adapter.b}) {
      *matrix = matrix->to(torch::kFloat64).requires_grad_(true);
      matrices.push_back(*matrix);
    }
  const auto layer = [&](std::int64_t i) {
    LayerWeights weights = model.layer(i);
    attach(adapters, i, 99, weights);
    return weights;
  };
  const auto ids = some_ids();
  const Positions positions = rope_positions(model.config(), 0, ids.size(1), torch::kCPU);
  auto x = model.embed(ids);
  for (std::int64_t i = 0; i < model.layer_count(); ++i) x = block_forward(model.config(), layer(i), x, positions);
  const auto shares = torch::log_softmax(model.logits(x), -1).narrow(1, 0, ids.size(1) - 1);
  const auto loss = -shares.gather(-1, ids.narrow(1, 1, ids.size(1) - 1).unsqueeze(-1)).sum();
  const auto expected = torch::autograd::grad({loss}, matrices);
  const TailLoss mine = Tail(model, 0, layer).next_token(model.embed(ids), ids, true);
  EXPECT_NEAR(mine.sum, loss.item<double>(), 1e-9 * mine.sum);
  for (std::size_t i = 0; i < matrices.size(); ++i)
    EXPECT_LT((matrices[i].grad() - expected[i]).abs().max().item<double>(),
              1e-9 * expected[i].abs().max().item<double>() + 1e-12)
        << i;
}

TuningOptions small_run() {
  TuningOptions options{.adapters = {.rank = 4, .dropout = 0.1}};
  options.heal = {.learning_rate = 5e-3, .epochs = 3, .batch_tokens = 32, .seed = 5};
  return options;
}

TEST(Tuning, LearnsWhatTheTextSays) {
  const Model model = pico_model(test::tiny_llama(), 1);
  TokenBatches text = random_tokens(20, 16, 1);
  for (auto& sequence : text.sequences)  // every second token repeats the one before
    for (std::size_t i = 1; i < sequence.size(); i += 2) sequence[i] = sequence[i - 1];
  TokenBatches validation = text;
  validation.sequences.resize(4);
  text.sequences.erase(text.sequences.begin(), text.sequences.begin() + 4);
  for (const FrozenBase base : {FrozenBase::stored, FrozenBase::nf4}) {
    TuningOptions options = small_run();
    options.base = base;
    const Tuned tuned = tune(model, text, validation, options);
    const HealStage& stage = tuned.result.last();
    EXPECT_EQ(stage.initial, stage.nothing);
    EXPECT_LT(stage.best, stage.nothing - 0.02);
    EXPECT_EQ(tuned.result.trained_parameters, 6 * 3 * 4 * (64 + 176));
  }
}

TEST(Tuning, GoesOnAfterAnInterruption) {
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const test::TemporaryDirectory directory;
  const Model model = pico_model(test::tiny_llama(), 1);
  const TokenBatches text = random_tokens(12, 16, 1), validation = random_tokens(3, 16, 2);
  const Tuned whole = tune(model, text, validation, small_run());
  TuningOptions options = small_run();
  options.heal.state_file = directory.path() / "state.safetensors";
  options.heal.save_every = 0;
  struct Stopped {};
  int records = 0;
  options.heal.log = [&](const Json&) {
    if (records++ == 9) throw Stopped();
  };
  EXPECT_THROW(tune(model, text, validation, options), Stopped);
  const Tuned resumed = tune(model, text, validation, options);
  ASSERT_EQ(resumed.adapters.list.size(), whole.adapters.list.size());
  for (std::size_t i = 0; i < whole.adapters.list.size(); ++i)
    EXPECT_TRUE(torch::equal(resumed.adapters.list[i].b, whole.adapters.list[i].b)) << i;
  at::set_num_threads(threads);
}

HealMemory all_layers(const Model& model) {
  return {.model = model, .window = {}, .shape = {}, .networks = 0, .longest = 16, .on_logits = true};
}

// What fits together at another time is another matter: sums and what is dropped depend on the micro-batch.
TEST(Tuning, GoesOnWithTheMicroBatchThatItBeganWith) {
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  const test::TemporaryDirectory directory;
  const Model model = pico_model(test::tiny_llama(2), 1);
  const Model little = within(model, heal_memory(all_layers(model), 512) + 2'000'000),
              roomy = within(model, 2'000'000'000);
  const TokenBatches text = random_tokens(256, 16, 1);
  TokenBatches validation = text;
  validation.sequences.resize(8);
  TuningOptions options = small_run();
  options.heal.learning_rate = 2e-2;
  options.heal.batch_tokens = 2048;
  const Tuned whole = tune(little, text, validation, options);
  const auto same = [&](const Tuned& tuned) {
    return torch::equal(tuned.adapters.list.front().b, whole.adapters.list.front().b);
  };
  ASSERT_FALSE(same(tune(roomy, text, validation, options)));
  struct Stopped {};
  const auto stopped = [&](const Model& begun, const char* state) {
    TuningOptions cut = options;
    cut.heal.state_file = directory.path() / state;
    cut.heal.save_every = 0;
    int records = 0;
    cut.heal.log = [&](const Json&) {
      if (records++ == 4) throw Stopped();
    };
    EXPECT_THROW(tune(begun, text, validation, cut), Stopped);
    cut.heal.log = {};
    return cut;
  };
  EXPECT_TRUE(same(tune(roomy, text, validation, stopped(little, "little"))));
  EXPECT_ERROR(tune(little, text, validation, stopped(roomy, "roomy")), resource, "began with more");
  at::set_num_threads(threads);
}

// What is available differs from moment to moment, unlike a limit.
TEST(Tuning, GoesOnWhereMemoryIsShortAtTheMoment) {
  const Model model = pico_model(test::tiny_llama(2), 1);
  HealMemory use = all_layers(model);
  use.beside = std::uint64_t{1} << 60;  // more than any machine has
  testing::internal::CaptureStderr();
  EXPECT_EQ(fitting_micro_batch(use, 512, /*fixed=*/false, "run.safetensors"), 512);
  EXPECT_THAT(testing::internal::GetCapturedStderr(), testing::HasSubstr("run.safetensors: the run began with"));
  EXPECT_ERROR(fitting_micro_batch(use, 512, /*fixed=*/false, ""), resource, "healing needs at least");
}

TEST(Tuning, DoesNotGoOnFromAStateOfOtherLayers) {
  const test::TemporaryDirectory directory;
  const Model model = pico_model(test::tiny_llama(2), 1);
  const TokenBatches text = random_tokens(8, 16, 1), validation = random_tokens(2, 16, 2);
  TuningOptions options = small_run();
  options.heal.state_file = directory.path() / "state.safetensors";
  tune(model, text, validation, options);
  EXPECT_ERROR(tune(model.truncated(1), text, validation, options), mismatch, "the state of another run");
  options.heal.view_digest = "of another view";
  EXPECT_ERROR(tune(model, text, validation, options), mismatch, "the state of another run");
}

TEST(Tuning, CountsItsAdaptersAndPackedLayers) {
  const Model model = pico_model(test::tiny_llama(), 1);
  const TokenBatches text = random_tokens(8, 16, 1), validation = random_tokens(2, 16, 2);
  TuningOptions options = small_run();
  const std::int64_t parameters = 6 * 3 * 4 * (64 + 176);
  const Model limited =
      within(model, heal_memory(all_layers(model), 16) + static_cast<std::uint64_t>(kTrainedBytes * parameters));
  EXPECT_EQ(tune(limited, text, validation, options).result.trained_parameters, parameters);
  options.adapters.rank = 5;
  EXPECT_ERROR(tune(limited, text, validation, options), resource, "healing needs at least");
  options.adapters.rank = 4;
  options.base = FrozenBase::nf4;
  EXPECT_ERROR(tune(limited, text, validation, options), resource, "healing needs at least");
  std::uint64_t packed = 0;  // 4.5 bits an element of a matrix, all else as it is
  for (std::int64_t layer = 0; layer < model.layer_count(); ++layer)
    for (const torch::Tensor& tensor : model.layer(layer).all())
      packed += tensor.dim() == 2 ? static_cast<std::uint64_t>(tensor.numel()) * 9 / 16 : tensor.nbytes();
  const std::uint64_t enough =
      heal_memory(all_layers(model), 16) + static_cast<std::uint64_t>(kTrainedBytes * parameters) + packed;
  EXPECT_EQ(tune(within(model, enough), text, validation, options).result.trained_parameters, parameters);
  EXPECT_ERROR(tune(within(model, enough - 1), text, validation, options), resource, "healing needs at least");
}

// What was computed with before is let go of.
TEST(Tuning, BesidePackedLayersKeepsNoOthers) {
  const Model model = pico_model(test::tiny_llama(2), 1, {}, {torch::kCPU, torch::kBFloat16});
  const auto before = model.layer(0).at(Role::up).weight;
  ASSERT_EQ(model.layer(0).at(Role::up).weight.data_ptr(), before.data_ptr());
  TuningOptions options = small_run();
  options.base = FrozenBase::nf4;
  tune(model, random_tokens(4, 16, 1), random_tokens(2, 16, 2), options);
  EXPECT_NE(model.layer(0).at(Role::up).weight.data_ptr(), before.data_ptr());
}

// 5000 steps of one number in the place of adapters.
TEST(Tuning, UnreasonableCheck12RateRisesFallsAndEndsAtNothing) {
  auto number = torch::zeros({1}).requires_grad_();
  const auto add_gradient = [&](std::int64_t, const Indices&) {
    number.mutable_grad() = torch::ones({1});
    return 1.0;
  };
  const Trainee trainee = trainee_of({}, {number}, add_gradient, [](bool) { return 1.0; });
  const TokenBatches text = random_tokens(5000, 2, 1);
  const HealOptions heal{.epochs = 1, .batch_tokens = 2, .validate_every = 5000};
  const Pace pace = pace_of(text, text, kTuningRate, heal);
  HealResult result;
  train(
      trainee, text, pace, Rng(1), next_token_options(heal, TuningOptions{}.warmup_steps, pace.steps), {}, [] {},
      result);
  const auto& steps = result.last().steps;
  ASSERT_EQ(steps.size(), 5000U);
  EXPECT_NEAR(steps[49].learning_rate, kTuningRate / 2, 1e-12);
  EXPECT_NEAR(steps[99].learning_rate, kTuningRate, 1e-12);
  EXPECT_NEAR(steps[4999].learning_rate, 0, 1e-12);
}

TEST(Tuning, UnreasonableCheck12RateRisesToItsPeakInAHundredSteps) {
  const Model model = pico_model(test::tiny_llama(1), 1);
  TuningOptions options{.adapters = {.rank = 1}};
  options.heal = {.epochs = 300, .batch_tokens = 4, .validate_every = 1000};
  const Tuned tuned = tune(model, random_tokens(4, 4, 1), random_tokens(1, 4, 2), options);
  const auto& steps = tuned.result.last().steps;
  ASSERT_EQ(steps.size(), 1200U);
  EXPECT_NEAR(steps[49].learning_rate, kTuningRate / 2, 0.02 * kTuningRate);
  EXPECT_NEAR(steps[99].learning_rate, kTuningRate, 0.02 * kTuningRate);
  EXPECT_LT(steps.back().learning_rate, 1e-3 * kTuningRate);
}

}  // namespace
}  // namespace streamline
