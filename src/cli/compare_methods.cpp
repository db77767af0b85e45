// SPDX-License-Identifier: Apache-2.0
#include "compare_methods.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "kept_choice.h"
#include "plan_option.h"
#include "streamline/base/digest.h"
#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/base/number_text.h"
#include "streamline/base/parse_number.h"
#include "streamline/base/resources.h"
#include "streamline/base/version.h"
#include "streamline/heal/adapted_view.h"
#include "streamline/heal/pace.h"
#include "streamline/heal/tuning.h"
#include "streamline/io/checkpoint_writer.h"
#include "streamline/nn/type_name.h"
#include "streamline/plan/overlap.h"
#include "streamline/prune/budget.h"
#include "streamline/surgery/format.h"
#include "streamline/surgery/widths.h"
#include "training.h"

namespace streamline::cli {
namespace {

constexpr std::int64_t kHealedSequencesAStep = 16, kHealedValidation = 16;

// One text, or one draw from it, by which methods choose.
struct Chooser {
  std::string text;
  std::uint64_t draw = 0;
  TokenBatches tokens = {};
  std::optional<Scores> scores = {};
  SearchMemory memory = {};  // what methods found: of one size it serves the next
};

// How much each method takes: so many layers, or as little as meets a budget.
struct SweepSize {
  std::int64_t layers = 0;
  std::string budget = {};

  std::string text() const { return budget.empty() ? std::to_string(layers) : budget; }
};

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
      data.shuffle = options.seeds > 1;
      const std::uint64_t drawn = seed + static_cast<std::uint64_t>(draw);
      result.push_back({.text = text, .draw = drawn, .tokens = load_calibration(source, data, drawn)});
    }
  return result;
}

// What is the same for all searches.
struct SearchTerms {
  PrefixLimits prefixes = {};
  LayerForm form = LayerForm::ordinary;  // that sizes are of
};

// What it leaves, as large as it would be written.
Model as_written(const Model& source, const Proposal& proposal, const SearchTerms& terms) {
  return written_view(source, proposal.plan, proposal.replacements, terms.form);
}

bool takes_layers(const Method& method) {
  return std::ranges::any_of(method.params, [](const Param& param) { return param.name == "layers"; });
}

void check_takes_layers(const Method& method) {
  if (takes_layers(method)) return;
  fail(ErrorKind::usage, method.name, " takes no whole layers, so that --layers says nothing to it; give --budget, as ",
       "params=0.8x");
}

struct Choice {
  Proposal proposal;
  double seconds = 0;  // that it took; what an earlier method or size needed too is in that one's
};

// What a method proposes. The chooser keeps the scores that were made for it, and what the method found. Errors: those
// of the method.
Choice search(const Method& method, const OpenedModel& source, Chooser& chooser, const SweepSize& size,
              const SearchTerms& terms) {
  const Stopwatch watch;
  PruneContext context{
      .model = source.model, .calibration = chooser.tokens, .seed = chooser.draw, .prefixes = terms.prefixes};
  if (chooser.scores) context.scores = &*chooser.scores;
  context.sweep.label = "scoring";
  context.sweep.beyond_positions = true;
  context.memory = &chooser.memory;
  const auto propose = [&](const Json& params) {
    Proposal proposal =
        method.propose(context, resolve_params(method.params, params, "--method " + std::string(method.name)));
    if (!chooser.scores && proposal.scores.layers > 0) {
      chooser.scores = std::move(proposal.scores);
      context.scores = &*chooser.scores;
    }
    return proposal;
  };
  Proposal proposal;
  if (size.budget.empty()) {
    check_takes_layers(method);
    proposal = propose({{"layers", size.layers}});
  } else {
    const auto view = [&](const Proposal& cut) { return as_written(source.model, cut, terms); };
    proposal = smallest_cut(method, Json::object(), source.model, parse_budgets(size.budget),
                            {.propose = propose, .view = view})
                   .proposal;
  }
  return {.proposal = std::move(proposal), .seconds = watch.seconds()};
}

// What decides a choice: the model, what looks at it, and how much is to go.
Json choice_key(const Method& method, const OpenedModel& source, const Chooser& chooser, const SweepSize& size,
                LayerForm form) {
  const Placement& placement = source.model.placement();
  Json key = {{"method", method.name},
              {"size", size.text()},
              {"model", source.model.checkpoint().digest()},
              {"dtype", type_name(placement.dtype)},
              {"calibration", chooser.tokens.digest},
              {"seed", chooser.draw},
              {"version", program_version()}};
  if (!size.budget.empty()) key["format"] = form_name(form);
  if (!size.budget.empty() && any_measured(parse_budgets(size.budget)))
    key["machine"] = {
        {"processor", processor_name()}, {"threads", torch::get_num_threads()}, {"device", placement.device.str()}};
  return key;
}

// As search(), from `keep` where an earlier run left it there.
Choice kept_or_searched(const std::string& keep, const Method& method, const OpenedModel& source, Chooser& chooser,
                        const SweepSize& size, const SearchTerms& terms) {
  if (keep.empty()) return search(method, source, chooser, size, terms);
  const Json key = choice_key(method, source, chooser, size, terms.form);
  if (std::optional<KeptChoice> kept = kept_choice(keep, key)) {
    log_info("what " + std::string(method.name) + " chose is in " + keep + " already");
    Proposal proposal;
    proposal.plan = std::move(kept->plan);
    proposal.warnings = std::move(kept->warnings);
    return {.proposal = std::move(proposal), .seconds = kept->seconds};
  }
  Choice choice = search(method, source, chooser, size, terms);
  if (choice.proposal.replacements.empty())  // else the plan is not all of it
    keep_choice(keep, key,
                {.plan = choice.proposal.plan, .warnings = choice.proposal.warnings, .seconds = choice.seconds});
  return choice;
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
    if (options.heal_tokens == 0) return;
    DataOptions data = options.data;
    data.path = options.heal_data.empty() ? choosers_.front().text : options.heal_data;
    text_ = std::make_shared<const SplitSequences>(
        load_training_text(*source_, data, options.heal_tokens, kHealedValidation, seed));
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

  // One sentence for all of "all" that --layers says nothing to, instead of one a method and size.
  void leave_out_of_layers(const std::vector<NamedMethod>& named) {
    std::string names;
    for (const NamedMethod& each : named)
      if (!each.by_name && !takes_layers(*each.method))
        names += (names.empty() ? "" : ", ") + std::string(each.method->name);
    if (!names.empty()) leave_out("left out at --layers, as they take no whole layers (give --budget): " + names);
  }

  MethodViews result() { return std::move(result_); }

 private:
  void leave_out(const std::string& sentence) {
    result_.left_out.push_back(sentence);
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
      return kept_or_searched(options_.keep, *named.method, *source_, chooser, size, terms_);
    } catch (const Error& error) {
      const bool fits = error.kind() != ErrorKind::usage && error.kind() != ErrorKind::unsupported;
      if (named.by_name || fits) throw;
      leave_out("left out " + std::string(named.method->name) + " at " + size.text() + ": " + error.what());
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
    if (size.budget.empty()) model.about["layers_removed"] = size.layers;
    result_.models.push_back(model);
    if (options_.heal_tokens > 0) result_.models.push_back(healed(model, proposal));
  }

  // After the one budget of training that all of them get: adapters in the MLPs, as `streamline heal` trains them.
  ComparedModel healed(ComparedModel model, const Proposal& proposal) const {
    const std::string training = text_->training.digest + std::to_string(seed_);
    model.trained = [cut = model.model, name = model.name, source = source_, text = text_, plan = proposal.plan,
                     replacements = proposal.replacements, seed = seed_] {
      log_info("healing " + name);
      TuningOptions tuning;
      tuning.adapters.roles = parse_adapter_roles({"mlp"});
      tuning.heal.clip = 1;
      tuning.heal.weight_decay = 0;
      tuning.heal.seed = seed;
      tuning.heal.batch_tokens = kHealedSequencesAStep * longest_sequence(text->training);
      Tuned tuned = tune(cut, text->training, text->validation, tuning);
      return adapted_view(source->model, plan, replacements, std::move(tuned.adapters));
    };
    model.name += ", healed";
    model.about["healed"] = {{"tokens", text_->training.tokens()}, {"source", text_->training.source}};
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
};

}  // namespace

bool try_many_candidates(const std::vector<std::string>& names) {
  return std::ranges::any_of(named_methods(names),
                             [](const NamedMethod& named) { return named.method->keeps_prefixes; });
}

MethodViews method_views(const CompareModelOptions& options, const std::shared_ptr<const OpenedModel>& source,
                         LayerForm form, std::uint64_t seed) {
  const bool sized = !options.layers.empty() || !options.budgets.empty();
  if (options.heal_tokens == 0 && !options.heal_data.empty())
    fail(ErrorKind::usage, "--heal-data is the text of --heal-tokens; give both");
  if (options.heal_tokens > 0 && options.methods.empty())
    fail(ErrorKind::usage, "--heal-tokens heals the cuts of --methods; `streamline heal` trains a model by itself");
  if (options.methods.empty() && !sized) return {};
  if (options.methods.empty() || !sized || (options.data.path.empty() && options.calibrations.empty()))
    fail(ErrorKind::usage,
         "a sweep over methods needs --methods, --layers (or --budget) and --data (or --calibration)");
  if (!options.data.path.empty() && !options.calibrations.empty())
    fail(ErrorKind::usage, "--data is the one text that methods look at, --calibration names several; give one of ",
         "the two");
  const std::vector<SweepSize> sizes = sweep_sizes(options.layers, options.budgets);
  const std::vector<NamedMethod> named = named_methods(options.methods);
  MethodSweep sweep(options, source, form, seed);
  if (!options.layers.empty()) sweep.leave_out_of_layers(named);
  for (const NamedMethod& method : named)
    for (const SweepSize& size : sizes)
      if (method.by_name || !size.budget.empty() || takes_layers(*method.method)) sweep.add(method, size);
  return sweep.result();
}

}  // namespace streamline::cli
