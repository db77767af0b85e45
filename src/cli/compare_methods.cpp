// SPDX-License-Identifier: Apache-2.0
#include "compare_methods.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "cut_choice.h"
#include "plan_option.h"
#include "streamline/base/digest.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/number_text.h"
#include "streamline/base/parse_number.h"
#include "streamline/heal/adapted_view.h"
#include "streamline/heal/pace.h"
#include "streamline/heal/tuning.h"
#include "streamline/io/checkpoint_writer.h"
#include "streamline/plan/overlap.h"
#include "streamline/prune/budget.h"
#include "streamline/surgery/format.h"
#include "training.h"

namespace streamline::cli {
namespace {

constexpr std::int64_t kHealedValidation = 16;  // sequences held out of the text that cuts are healed on

// And takes nothing inside layers, which may be padded too.
bool drops_halves(const Plan& plan) {
  return plan.slices.empty() && std::ranges::any_of(plan.segments, [](const Segment& segment) {
           return segment.action == Action::drop_attention || segment.action == Action::drop_mlp;
         });
}

// What a plan takes, as a label: "-4 layers", "-2 MLPs", "-3 halves" of layers, "params=0.8x".
std::string size_name(const SweepSize& size, const Plan& plan) {
  if (!size.budget.empty()) return size.budget;
  std::int64_t attentions = 0, mlps = 0, layers = 0;
  for (const Segment& segment : plan.segments) {
    if (segment.action == Action::drop_attention) attentions += segment.count();
    if (segment.action == Action::drop_mlp) mlps += segment.count();
    if (segment.action == Action::drop) layers += segment.count();
  }
  const auto label = [](std::int64_t count, std::string_view one) { return "-" + counted(count, one); };
  if (attentions + mlps == 0) return label(size.layers, "layer");
  if (mlps + layers == 0) return label(attentions, "attention");
  if (attentions + layers == 0) return label(mlps, "MLP");
  const std::int64_t halves = attentions + mlps + 2 * layers;
  return "-" + std::to_string(halves) + (halves == 1 ? " half" : " halves");
}

std::vector<SweepSize> sweep_sizes(const std::vector<std::string>& layers, const std::vector<std::string>& budgets) {
  std::vector<SweepSize> result;
  for (const std::string& word : layers) {
    const auto size = parse_number<std::int64_t>(word);
    if (!size || *size < 1) fail(ErrorKind::usage, "--layers ", word, ": numbers of layers, e.g. 2,4,8");
    result.push_back({.layers = *size});
  }
  for (const std::string& budget : budgets) {
    parse_budgets(budget);
    result.push_back({.budget = budget});
  }
  return result;
}

struct NamedMethod {
  const Method* method = nullptr;
  bool by_name = true;  // else one of "all", which need not all fit the model
};

std::vector<NamedMethod> named_methods(const std::vector<std::string>& names) {
  std::vector<NamedMethod> result;
  for (const std::string& name : names) {
    if (name != "all") {
      result.push_back({&find_method(name)});
      continue;
    }
    for (const Method* method : methods()) result.push_back({method, false});
  }
  return result;
}

std::vector<Chooser> choosers(const CompareModelOptions& options, const OpenedModel& source, std::uint64_t seed) {
  std::vector<std::string> texts = options.calibrations;
  if (texts.empty()) texts = {options.data.path};
  std::vector<Chooser> result;
  for (const std::string& text : texts)
    for (std::int64_t draw = 0; draw < options.seeds; ++draw) {
      DataOptions data = options.data;
      data.path = text;
      data.shuffle = data.shuffle || options.seeds > 1;
      const std::uint64_t drawn = seed + static_cast<std::uint64_t>(draw);
      result.push_back({.text = text, .draw = drawn, .tokens = load_calibration(source, data, drawn)});
    }
  return result;
}

// The sweep over methods and sizes, filled one by one.
class MethodSweep {
 public:
  MethodSweep(const CompareModelOptions& options, std::shared_ptr<const OpenedModel> source, LayerForm form,
              std::uint64_t seed)
      : options_(options),
        source_(std::move(source)),
        seed_(seed),
        terms_{.prefixes = {.file = parse_size(options.cache_limit)}, .form = form},
        choosers_(choosers(options, *source_, seed)) {
    if (choosers_.size() == 1) result_.looked_at = text_record(choosers_.front().tokens);
    if (options.heal_tokens == 0) return;
    DataOptions data = options.data;
    data.path = options.heal_data.empty() ? choosers_.front().text : options.heal_data;
    data.shipped = false;
    text_ = std::make_shared<const SplitSequences>(
        load_training_text(*source_, data, options.heal_tokens, kHealedValidation, seed, "take fewer --heal-tokens"));
  }

  void add(const NamedMethod& named, const SweepSize& size) {
    std::vector<Plan> plans;
    Json runs = Json::array();
    std::map<std::string, std::size_t> known;  // models of this method and size by what their plans come to
    for (Chooser& chooser : choosers_) {
      const std::optional<Choice> choice = chosen(named, size, chooser);
      if (!choice) return;
      const Proposal& proposal = choice->proposal;
      plans.push_back(proposal.plan);
      const std::string effect = digest_of_effect(proposal.plan, proposal.replacements);
      const auto [place, is_new] = known.try_emplace(effect, result_.models.size());
      if (is_new)
        add_models(std::string(named.method->name) + " " + size_name(size, proposal.plan) + chosen_by(chooser), named,
                   size, *choice, effect);
      runs.push_back({{"text", std::filesystem::path(chooser.text).filename().string()},
                      {"seed", chooser.draw},
                      {"model", place->second},
                      {"cut", summary(proposal.plan)}});
    }
    if (plans.size() < 2) return;
    double overlaps = 0;
    for (std::size_t i = 0; i < plans.size(); ++i)
      for (std::size_t k = 0; k < i; ++k) overlaps += cut_overlap(plans[i], plans[k]);
    const auto pairs = static_cast<double>(plans.size() * (plans.size() - 1)) / 2;
    result_.calibration.push_back({{"method", named.method->name},
                                   {"size", size.text()},
                                   {"runs", runs},
                                   {"distinct", known.size()},
                                   {"overlap", overlaps / pairs}});
  }

  // One sentence for all that --layers says nothing to, instead of one a method and size.
  void leave_out_of_layers(const std::vector<NamedMethod>& named) {
    std::string names;
    for (const NamedMethod& each : named)
      if (!takes(each, {.layers = 1})) names += (names.empty() ? "" : ", ") + std::string(each.method->name);
    if (!names.empty()) warn("left out at --layers, as they take no whole layers (give --budget): " + names);
  }

  // Whether a size says something to a method. One that was named is asked all the same where no other size is there:
  // its error says what to give.
  bool takes(const NamedMethod& named, const SweepSize& size) const {
    return !size.budget.empty() || takes_layers(*named.method) || (named.by_name && options_.budgets.empty());
  }

  MethodViews result() { return std::move(result_); }

 private:
  void warn(const std::string& sentence) {
    result_.warnings.push_back(sentence);
    log_warning(sentence);
  }

  // Where there are several texts or draws: the first that chose so.
  std::string chosen_by(const Chooser& chooser) const {
    if (choosers_.size() < 2) return "";
    const std::string text = ", " + std::filesystem::path(chooser.text).filename().string();
    return options_.seeds < 2 ? text : text + " " + std::to_string(chooser.draw);
  }

  // Nothing, with a sentence for the record, where one of "all" cannot do it to this model.
  std::optional<Choice> chosen(const NamedMethod& named, const SweepSize& size, Chooser& chooser) {
    try {
      return choose_cut(options_.keep, *named.method, *source_, chooser, size, terms_);
    } catch (const Error& error) {
      const bool fits = error.kind() != ErrorKind::usage && error.kind() != ErrorKind::unsupported;
      if (named.by_name || fits) throw;
      warn("left out " + std::string(named.method->name) + " at " + size.text() + ": " + error.what());
      return std::nullopt;
    }
  }

  void add_models(const std::string& name, const NamedMethod& named, const SweepSize& size, const Choice& choice,
                  const std::string& effect) {
    const Proposal& proposal = choice.proposal;
    for (const std::string& warning : proposal.warnings) log_warning(warning);
    const Json plan = to_json(proposal.plan);
    ComparedModel model = {.name = name,
                           .opened = source_,
                           .model = source_->model.view(proposal.plan, proposal.replacements),
                           .written = as_written(source_->model, proposal, terms_),
                           .about = {{"method", named.method->name},
                                     {"size", size.text()},
                                     {"cut", summary(proposal.plan)},
                                     {"choosing_seconds", choice.seconds},
                                     {"plan", plan}},
                           .plan_digest = sha256(dump_json(plan)),
                           .warnings = proposal.warnings,
                           .same = effect};
    if (!told_of_zeros_ && drops_halves(proposal.plan) && model.written->parameters() > model.model.parameters()) {
      told_of_zeros_ = true;
      warn(
          "halves of layers that find no partner are counted as the zeros that stand in their place in an ordinary "
          "checkpoint; --format per-layer, or decilm where the family allows it, leaves them out");
    }
    if (size.budget.empty()) model.about["layers_removed"] = size.layers;
    result_.models.push_back(model);
    if (options_.heal_tokens > 0) result_.models.push_back(healed(model, proposal));
  }

  // After the one budget of training that all of them get: adapters in the MLPs, as `streamline heal` trains them.
  ComparedModel healed(ComparedModel model, const Proposal& proposal) const {
    const std::int64_t sequences_per_step = options_.heal_batch;
    const std::string training =
        text_->training.digest + std::to_string(seed_) + " " + std::to_string(sequences_per_step);
    model.trained = [cut = model.model, name = model.name, source = source_, text = text_, plan = proposal.plan,
                     replacements = proposal.replacements, seed = seed_, sequences_per_step] {
      log_info("healing " + name);
      TuningOptions tuning;
      tuning.adapters.roles = parse_adapter_roles({"mlp"});
      tuning.heal.clip = 1;
      tuning.heal.weight_decay = 0;
      tuning.heal.seed = seed;
      tuning.heal.batch_tokens = sequences_per_step * longest_sequence(text->training);
      Tuned tuned = tune(cut, text->training, text->validation, tuning);
      const HealStage& stage = tuned.result.last();
      return Trained{
          .model = adapted_view(source->model, plan, replacements, std::move(tuned.adapters)),
          .record = {{"nothing_error", stage.nothing}, {"best_error", stage.best}, {"best_step", stage.best_step}},
          .warning = nothing_learnt(tuned.result, "give more --heal-tokens")};
    };
    model.name += ", healed";
    model.about["healed"] = {{"tokens", text_->training.tokens()},
                             {"source", text_->training.source},
                             {"sequences_per_step", sequences_per_step}};
    model.plan_digest = sha256(model.plan_digest + training);
    model.same = sha256(model.same + training);
    return model;
  }

  const CompareModelOptions& options_;
  std::shared_ptr<const OpenedModel> source_;
  std::uint64_t seed_;
  SearchTerms terms_;
  std::vector<Chooser> choosers_;
  std::shared_ptr<const SplitSequences> text_ = {};  // to heal on; null: nothing is healed
  MethodViews result_ = {};
  bool told_of_zeros_ = false;
};

}  // namespace

bool try_many_candidates(const std::vector<std::string>& names) {
  return std::ranges::any_of(named_methods(names),
                             [](const NamedMethod& named) { return named.method->keeps_prefixes; });
}

bool lacks_text_to_look_at(const CompareModelOptions& options) {
  const bool sized = !options.layers.empty() || !options.budgets.empty(), heals = options.heal_tokens > 0;
  return !options.methods.empty() && sized && options.data.path.empty() && options.calibrations.empty() &&
         (!heals || !options.heal_data.empty());
}

MethodViews method_views(const CompareModelOptions& options, const std::shared_ptr<const OpenedModel>& source,
                         LayerForm form, std::uint64_t seed) {
  const bool sized = !options.layers.empty() || !options.budgets.empty();
  if (options.heal_tokens == 0 && !options.heal_data.empty())
    fail(ErrorKind::usage, "--heal-data is the text of --heal-tokens; give both");
  if (options.heal_tokens > 0 && options.methods.empty())
    fail(ErrorKind::usage, "--heal-tokens heals the cuts of --methods; `streamline heal` trains a model by itself");
  if (options.methods.empty() && !sized) return {};
  if (options.methods.empty() || !sized)
    fail(ErrorKind::usage, "a sweep over methods needs --methods and --layers (or --budget)");
  if (options.data.path.empty() && options.calibrations.empty())
    fail(ErrorKind::usage, "--heal-tokens trains on text: give text like your model's use with --heal-data, or --data");
  if (!options.data.path.empty() && !options.calibrations.empty())
    fail(ErrorKind::usage, "--data is the one text that methods look at, --calibration names several; give one of ",
         "the two");
  const std::vector<SweepSize> sizes = sweep_sizes(options.layers, options.budgets);
  const std::vector<NamedMethod> named = named_methods(options.methods);
  MethodSweep sweep(options, source, form, seed);
  if (!options.layers.empty()) sweep.leave_out_of_layers(named);
  for (const NamedMethod& method : named)
    for (const SweepSize& size : sizes)
      if (sweep.takes(method, size)) sweep.add(method, size);
  return sweep.result();
}

}  // namespace streamline::cli
