// SPDX-License-Identifier: Apache-2.0
// Policy gradient (Gao et al., arXiv 2406.10576): every unit has a probability of being kept; masks are drawn, losses
// of the masked model say which draws were good, and the probabilities follow within a budget.
#include <algorithm>
#include <cmath>
#include <limits>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/plan/drop_halves.h"
#include "streamline/plan/slice.h"
#include "streamline/prune/cut_request.h"
#include "streamline/prune/policy.h"
#include "streamline/prune/proposal.h"
#include "streamline/prune/read_scores.h"
#include "streamline/prune/unit_search.h"
#include "streamline/prune/zeroth_order.h"

namespace streamline::policy_gradient_method {
namespace {

enum class UnitKind { head_group, channel, attention, mlp, layer };

// A unit of a model: a half or a layer, or one of so many groups or channels of a half.
struct Unit {
  UnitKind kind;
  std::int64_t layer;
  std::int64_t index = 0;
};

// Units with a budget of their own, and the probability of each.
struct Pool {
  std::string name;
  std::vector<Unit> units = {};
  Probabilities s = {};
  double keep = 1;

  double budget() const { return keep * static_cast<double>(units.size()); }
};
using Pools = std::vector<Pool>;
using PoolMasks = std::vector<UnitMask>;  // by pool

struct Settings {
  std::string over = {}, init = {};
  double keep = 1, rate = 0;
  std::int64_t steps = 0, batch = 0, length = 0, samples = 0, window = 0, every = 0;
  ScoreForm form = ScoreForm::root;
  bool leave_one_out = false, antithetic = false, best = true;
  std::vector<std::int64_t> protect = {};

  bool inside() const { return over != "layers" && over != "halves"; }
};

Settings settings_of(const PruneContext& context, const Json& params) {
  Settings settings{.over = params.at("over").get<std::string>(),
                    .init = params.at("start-from").get<std::string>(),
                    .steps = params.at("steps").get<std::int64_t>(),
                    .batch = params.at("batch").get<std::int64_t>(),
                    .length = params.at("length").get<std::int64_t>(),
                    .window = params.at("baseline-window").get<std::int64_t>(),
                    .every = params.at("check-every").get<std::int64_t>(),
                    .form = params.at("score") == "exact" ? ScoreForm::exact : ScoreForm::root,
                    .leave_one_out = params.at("baseline") == "leave-one-out",
                    .antithetic = params.at("antithetic").get<bool>(),
                    .best = params.at("take") == "best",
                    .protect = params.at("protect").get<std::vector<std::int64_t>>()};
  const auto ratio = optional_value<double>(params, "ratio");
  if (!ratio || !(*ratio > 0 && *ratio < 1))
    fail(ErrorKind::usage, "policy-gradient needs --ratio, between 0 and 1, or a --budget");
  settings.keep = 1 - *ratio;
  // Layers and halves are few: larger steps, and more masks in each (a suggestion; the paper's setting is not known).
  settings.rate = optional_value<double>(params, "rate").value_or(settings.inside() ? 2e-3 : 2e-2);
  settings.samples = optional_value<std::int64_t>(params, "masks").value_or(settings.inside() ? 2 : 4);
  if (settings.leave_one_out && settings.samples < 2)
    fail(ErrorKind::usage, "policy-gradient: a leave-one-out baseline needs two --masks or more");
  check_protected(settings.protect, context.model.layer_count());
  if (context.replacement.name != "none")
    fail(ErrorKind::usage, "policy-gradient puts nothing in the place of what it takes; leave out --replace");
  return settings;
}

bool is_protected(const Settings& settings, std::int64_t layer) {
  return std::ranges::find(settings.protect, layer) != settings.protect.end();
}

// The units without their probabilities.
Pools pools_of(const Model& model, const Settings& settings) {
  Pool heads{.name = "heads"}, channels{.name = "channels"}, coarse{.name = settings.over};
  for (std::int64_t i = 0; i < model.layer_count(); ++i) {
    if (is_protected(settings, i)) continue;
    const LayerConfig& layer = model.config().layers[static_cast<std::size_t>(i)];
    const InsideScores inside = no_scores(layer);
    if (layer.mlp && layer.mlp->experts && (settings.over == "inside" || settings.over == "channels"))
      fail(ErrorKind::unsupported, "policy-gradient: the channels of experts are not masked one by one; take --over ",
           "heads, halves or layers");
    for (std::int64_t head = 0; head < std::ssize(inside.heads); ++head)
      heads.units.push_back({UnitKind::head_group, i, head});
    if (layer.mlp)
      for (std::int64_t channel = 0; channel < layer.mlp->intermediate; ++channel)
        channels.units.push_back({UnitKind::channel, i, channel});
    if (settings.over == "layers") coarse.units.push_back({UnitKind::layer, i});
    if (settings.over == "halves" && layer.attention) coarse.units.push_back({UnitKind::attention, i});
    if (settings.over == "halves" && layer.mlp) coarse.units.push_back({UnitKind::mlp, i});
  }
  Pools pools;
  if (!settings.inside()) pools.push_back(std::move(coarse));
  if (settings.over == "inside" || settings.over == "heads") pools.push_back(std::move(heads));
  if (settings.over == "inside" || settings.over == "channels") pools.push_back(std::move(channels));
  std::erase_if(pools, [](const Pool& pool) { return pool.units.empty(); });
  if (pools.empty()) fail(ErrorKind::usage, "policy-gradient: there is nothing that could go; protect fewer layers");
  for (Pool& pool : pools) pool.keep = settings.keep;
  return pools;
}

// What a metric says each unit is worth.
std::vector<double> metric_scores(const Pool& pool, const UnitScores& inside, const Scores& coarse) {
  std::vector<double> scores;
  for (const Unit& unit : pool.units) {
    const auto layer = static_cast<std::size_t>(unit.layer), index = static_cast<std::size_t>(unit.index);
    const auto half = [&](const std::vector<std::optional<UpdateStatistics>>& updates) {
      return updates.size() > layer && updates[layer] ? 1 - updates[layer]->cosine : 0.0;
    };
    switch (unit.kind) {
      case UnitKind::head_group:
        scores.push_back(inside[layer].heads[index]);
        break;
      case UnitKind::channel:
        scores.push_back(inside[layer].channels.front()[index]);
        break;
      case UnitKind::attention:
        scores.push_back(half(coarse.attention_updates));
        break;
      case UnitKind::mlp:
        scores.push_back(half(coarse.mlp_updates));
        break;
      case UnitKind::layer:
        scores.push_back(coarse.block_influence(unit.layer));
        break;
    }
  }
  return scores;
}

// Inside layers each layer's own mean is `keep`; layers and halves are one list.
Probabilities initial_probabilities(const Pool& pool, const std::vector<double>& scores) {
  Probabilities s;
  for (std::size_t first = 0; first < scores.size();) {
    std::size_t end = scores.size();
    const UnitKind kind = pool.units[first].kind;
    if (kind == UnitKind::head_group || kind == UnitKind::channel)
      for (end = first; end < scores.size() && pool.units[end].layer == pool.units[first].layer;) ++end;
    const Probabilities part = sigmoid_map(std::span(scores).subspan(first, end - first), pool.keep);
    s.insert(s.end(), part.begin(), part.end());
    first = end;
  }
  return s;
}

void start(Pools& pools, const PruneContext& context, const Settings& settings) {
  UnitScores inside;
  Scores coarse;
  if (settings.init == "metric" && settings.inside())
    inside = wanda_scores(context.model, read_moments(context.model, context.calibration, context.sweep));
  if (settings.init == "metric" && !settings.inside()) coarse = scores_for(context);
  Rng rng(context.seed + 1);
  for (Pool& pool : pools) {
    std::vector<double> scores(pool.units.size());
    if (settings.init == "metric") scores = metric_scores(pool, inside, coarse);
    if (settings.init == "random")
      for (double& score : scores) score = rng.normal();
    pool.s = projected(initial_probabilities(pool, scores), pool.budget());
  }
}

// What masks leave of a model: gates for what goes inside layers, a plan for halves and layers.
struct MaskedLayers {
  std::map<std::int64_t, Gates> gates = {};
  std::vector<std::int64_t> no_attention = {}, no_mlp = {};
};

MaskedLayers masked_layers(const Model& model, const Pools& pools, const PoolMasks& masks) {
  MaskedLayers masked;
  for (std::size_t p = 0; p < pools.size(); ++p)
    for (std::size_t u = 0; u < pools[p].units.size(); ++u) {
      const Unit& unit = pools[p].units[u];
      if (unit.kind == UnitKind::head_group || unit.kind == UnitKind::channel) {
        Gates& gates = masked.gates[unit.layer];
        const bool head = unit.kind == UnitKind::head_group;
        torch::Tensor& gate = head ? gates.heads : gates.channels;
        const LayerConfig& layer = model.config().layers[static_cast<std::size_t>(unit.layer)];
        if (!gate.defined())
          gate = torch::ones({head ? layer.attention->kv_heads : layer.mlp->intermediate}, torch::kFloat);
        gate.data_ptr<float>()[unit.index] = masks[p][u] ? 1 : 0;
      } else if (!masks[p][u]) {
        if (unit.kind != UnitKind::mlp) masked.no_attention.push_back(unit.layer);
        if (unit.kind != UnitKind::attention) masked.no_mlp.push_back(unit.layer);
      }
    }
  for (auto& [layer, gates] : masked.gates)
    for (torch::Tensor* gate : {&gates.heads, &gates.channels})
      if (gate->defined()) *gate = gate->to(model.placement().device, model.placement().dtype);
  return masked;
}

class Training {
 public:
  Training(const PruneContext& context, const Json& params)
      : context_(context),
        settings_(settings_of(context, params)),
        pools_(pools_of(context.model, settings_)),
        rng_(context.seed),
        key_(search_key(context, "policy-gradient", params)) {
    choose_text();
  }

  Proposal run(const Json& params) {
    if (!resume()) {
      start(pools_, context_, settings_);
      check();
    }
    std::optional<Progress> progress;
    if (!context_.sweep.label.empty()) progress.emplace("learning", settings_.steps, "steps");
    if (progress) progress->advance(step_);
    while (step_ < settings_.steps) {
      learn();
      ++step_;
      if (progress) progress->advance(1);
      if (step_ % settings_.every == 0 || step_ == settings_.steps) check();
    }
    return proposal(params);
  }

 private:
  // Sequences that are long enough; the last eighth of them judges, the others teach.
  void choose_text() {
    std::size_t longest = 0;
    for (const auto& sequence : context_.calibration.sequences) longest = std::max(longest, sequence.size());
    length_ = std::min<std::int64_t>(settings_.length, static_cast<std::int64_t>(longest));
    for (std::size_t i = 0; i < context_.calibration.sequences.size(); ++i)
      if (std::ssize(context_.calibration.sequences[i]) >= length_) teaching_.push_back(i);
    if (length_ < 2 || teaching_.size() < 2)
      fail(ErrorKind::resource, "policy-gradient: needs two sequences of the same length or more; give more text");
    const std::size_t held = std::max<std::size_t>(1, teaching_.size() / 8);
    TokenBatches judging;
    for (std::size_t i = teaching_.size() - held; i < teaching_.size(); ++i)
      judging.sequences.push_back(context_.calibration.sequences[teaching_[i]]);
    teaching_.resize(teaching_.size() - held);
    judging_ = to_rows(judging);
  }

  torch::Tensor to_rows(const TokenBatches& text) const {
    auto ids = torch::empty({std::ssize(text.sequences), length_}, torch::kLong);
    for (std::size_t row = 0; row < text.sequences.size(); ++row)
      ids[static_cast<std::int64_t>(row)].copy_(torch::tensor(text.sequences[row], torch::kLong).narrow(0, 0, length_));
    return ids.to(context_.model.placement().device);
  }

  torch::Tensor drawn_text() {
    TokenBatches text;
    for (std::int64_t i = 0; i < settings_.batch; ++i) {
      const auto& sequence = context_.calibration.sequences[teaching_[rng_.below(teaching_.size())]];
      const auto first =
          static_cast<std::ptrdiff_t>(rng_.below(sequence.size() - static_cast<std::size_t>(length_) + 1));
      text.sequences.emplace_back(sequence.begin() + first, sequence.begin() + first + length_);
    }
    return to_rows(text);
  }

  // NaN where nothing is left of the model.
  double loss(const PoolMasks& masks, const torch::Tensor& ids) const {
    const Model& model = context_.model;
    const MaskedLayers masked = masked_layers(model, pools_, masks);
    if (masked.no_attention.empty() && masked.no_mlp.empty()) return mean_loss(model.gated(masked.gates), ids);
    try {
      return mean_loss(model.view(drop_halves(model.layer_count(), masked.no_attention, masked.no_mlp), {}), ids);
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::mismatch) throw;
      return std::numeric_limits<double>::quiet_NaN();
    }
  }

  void learn() {
    const torch::Tensor ids = drawn_text();
    std::vector<PoolMasks> by_sample(static_cast<std::size_t>(settings_.samples));
    for (const Pool& pool : pools_) {
      const auto drawn = drawn_masks(pool.s, settings_.samples, settings_.antithetic, rng_);
      for (std::size_t k = 0; k < by_sample.size(); ++k) by_sample[k].push_back(drawn[k]);
    }
    std::vector<PoolMasks> kept;
    std::vector<double> losses;
    for (PoolMasks& masks : by_sample) {
      const double value = loss(masks, ids);
      if (!std::isfinite(value)) continue;
      losses.push_back(value);
      kept.push_back(std::move(masks));
    }
    if (losses.empty()) return;
    double mean = 0;
    for (const double value : losses) mean += value / static_cast<double>(losses.size());
    baseline_ = moved_baseline(std::isnan(baseline_) ? mean : baseline_, mean, settings_.window);
    const double against = settings_.leave_one_out ? mean : baseline_;
    const double rate = cosine_rate(settings_.rate, step_, settings_.steps);
    for (std::size_t p = 0; p < pools_.size(); ++p) {
      std::vector<UnitMask> masks;
      for (const PoolMasks& sample : kept) masks.push_back(sample[p]);
      Pool& pool = pools_[p];
      const std::vector<double> gradient = policy_gradient(pool.s, masks, losses, against, settings_.form);
      for (std::size_t unit = 0; unit < pool.s.size(); ++unit) pool.s[unit] -= rate * gradient[unit];
      pool.s = projected(pool.s, pool.budget());
    }
  }

  PoolMasks likeliest() const {
    PoolMasks masks;
    for (const Pool& pool : pools_)
      masks.push_back(likeliest_mask(pool.s, removed_by(std::ssize(pool.units), pool.keep)));
    return masks;
  }

  // What stopping here would give, by the text that judges.
  void check() {
    const PoolMasks masks = likeliest();
    const double value = loss(masks, judging_);
    history_.push_back({{"step", step_}, {"loss", std::isfinite(value) ? Json(value) : Json()}});
    log_detail("step " + std::to_string(step_) + ": what is likeliest to stay has a loss of " + std::to_string(value));
    if (!settings_.best || best_.empty() || value < best_loss_ || std::isnan(best_loss_)) {
      best_ = masks;
      best_loss_ = value;
      best_step_ = step_;
    }
    remember();
  }

  void remember() const {
    Json pools = Json::array();
    for (std::size_t p = 0; p < pools_.size(); ++p) pools.push_back({{"s", pools_[p].s}, {"best", best_[p]}});
    const auto number = [](double value) { return std::isfinite(value) ? Json(value) : Json(); };
    keep(context_, key_,
         {{"step", step_},
          {"pools", pools},
          {"baseline", number(baseline_)},
          {"best_loss", number(best_loss_)},
          {"best_step", best_step_},
          {"history", history_},
          {"random", rng_.state()}});
  }

  bool resume() {
    return restore(context_, key_, [&](const Json& known) {
      const auto number = [](const Json& json) {
        return json.is_null() ? std::numeric_limits<double>::quiet_NaN() : json.get<double>();
      };
      for (std::size_t p = 0; p < pools_.size(); ++p) {
        const Json& pool = known.at("pools").at(p);
        pools_[p].s = pool.at("s").get<Probabilities>();
        best_.push_back(pool.at("best").get<UnitMask>());
        if (pools_[p].s.size() != pools_[p].units.size() || best_[p].size() != pools_[p].units.size())
          fail_broken_state("its units are not the model's");
      }
      step_ = known.at("step").get<std::int64_t>();
      baseline_ = number(known.at("baseline"));
      best_loss_ = number(known.at("best_loss"));
      best_step_ = known.at("best_step").get<std::int64_t>();
      history_ = known.at("history");
      rng_ = Rng(known.at("random").get<std::uint64_t>());
    });
  }

  std::map<std::int64_t, LayerSlice> best_slices() const {
    std::map<std::int64_t, LayerSlice> slices;
    for (std::size_t p = 0; p < pools_.size(); ++p)
      for (std::size_t u = 0; u < best_[p].size(); ++u) {
        const Unit& unit = pools_[p].units[u];
        LayerSlice& slice = slices[unit.layer];
        const LayerConfig& layer = context_.model.config().layers[static_cast<std::size_t>(unit.layer)];
        if (unit.kind == UnitKind::head_group) {
          if (!slice.kv_heads) slice.kv_heads = KeptUnits{.of = layer.attention->kv_heads};
          if (best_[p][u]) slice.kv_heads->kept.push_back(unit.index);
        } else {
          if (slice.channels.empty()) slice.channels = {KeptUnits{.of = layer.mlp->intermediate}};
          if (best_[p][u]) slice.channels.front().kept.push_back(unit.index);
        }
      }
    return slices;
  }

  Json probabilities() const {
    Json json = Json::array();
    for (const Pool& pool : pools_) {
      Json entry = {{"pool", pool.name}, {"units", pool.units.size()}};
      if (!settings_.inside()) entry["keep_probabilities"] = pool.s;
      json.push_back(std::move(entry));
    }
    return json;
  }

  Proposal proposal(const Json& params) const {
    const Model& model = context_.model;
    Proposal proposal;
    if (settings_.inside()) {
      SlicedPlan made = with_slices(model.config(), keep_all(model.layer_count()), best_slices());
      proposal.plan = std::move(made.plan);
      proposal.warnings = std::move(made.notes);
    } else {
      const MaskedLayers masked = masked_layers(model, pools_, best_);
      proposal.plan = drop_halves(model.layer_count(), masked.no_attention, masked.no_mlp);
    }
    if (proposal.plan.slices.empty() && proposal.plan.segments.size() == 1)
      fail(ErrorKind::usage, "policy-gradient: this ratio takes no unit; take a larger one");
    proposal.plan.scores = {
        {"loss", best_loss_}, {"step", best_step_}, {"history", history_}, {"pools", probabilities()}};
    proposal.plan.scores.update(savings(context_, proposal.plan));
    sign(proposal.plan, context_, "policy-gradient", params);
    return proposal;
  }

  const PruneContext& context_;
  Settings settings_;
  Pools pools_;
  Rng rng_;
  Json key_;
  std::int64_t length_ = 0, step_ = 0, best_step_ = 0;
  std::vector<std::size_t> teaching_ = {};  // sequences of the text
  torch::Tensor judging_;                   // [sequences, length]
  double baseline_ = std::numeric_limits<double>::quiet_NaN(), best_loss_ = baseline_;
  PoolMasks best_ = {};
  Json history_ = Json::array();
};

Proposal propose(PruneContext& context, const Json& params) { return Training(context, params).run(params); }

Param count_of(const char* name, const char* help, const Json& default_value, double minimum = 1) {
  return {.name = name, .type = ParamType::integer, .help = help, .default_value = default_value, .minimum = minimum};
}
Param choice_of(const char* name, const char* help, std::vector<std::string> choices) {
  return {.name = name,
          .type = ParamType::text,
          .help = help,
          .default_value = choices.front(),
          .choices = std::move(choices)};
}

Params params() {
  return {{.name = "ratio",
           .type = ParamType::number,
           .help = "share of the groups of heads and of the channels that goes, between 0 and 1",
           .minimum = 0,
           .maximum = 1},
          choice_of("over", "the units: heads and channels inside layers (inside), one of these, halves, or layers",
                    {"inside", "heads", "channels", "halves", "layers"}),
          choice_of("start-from",
                    "probabilities to begin with: by a metric (wanda-sp inside layers, block influence otherwise), all "
                    "alike, or random",
                    {"metric", "uniform", "random"}),
          count_of("steps", "steps of learning", 300, 0),
          count_of("batch", "sequences whose loss each step takes", 8),
          count_of("length", "tokens of each of them", 128, 2),
          count_of("masks", "masks drawn in each step; default: 2, of layers and halves 4", nullptr),
          {.name = "rate",
           .type = ParamType::number,
           .help = "learning rate at the start; default: 0.002, of layers and halves 0.02"},
          choice_of("score", "the estimator: root as released, which divides by the root of s(1-s), or exact",
                    {"root", "exact"}),
          choice_of("baseline", "what losses are compared with: the average of the last ones, or the other masks' mean",
                    {"moving", "leave-one-out"}),
          count_of("baseline-window", "losses in that average", 5),
          {.name = "antithetic",
           .type = ParamType::boolean,
           .help = "draw masks in mirrored pairs",
           .default_value = false},
          count_of("check-every", "steps between two looks at what is likeliest to stay", 50),
          choice_of("take", "the best of these looks, or the last as released", {"best", "last"}),
          {.name = "protect",
           .type = ParamType::integers,
           .help = "layers never to cut, e.g. 0,1,28-29",
           .default_value = Json::array()}};
}

}  // namespace

extern const Method kMethod;
const Method kMethod = {
    .name = "policy-gradient",
    .title = "keep-probabilities of heads, channels, halves or layers, learnt from losses of masked models",
    .paper = "Gao et al., arXiv 2406.10576",
    .params = params(),
    .propose = propose,
};

}  // namespace streamline::policy_gradient_method
