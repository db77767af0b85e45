// SPDX-License-Identifier: Apache-2.0
#include "streamline/prune/policy_training.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "streamline/base/error.h"
#include "streamline/base/log.h"
#include "streamline/plan/drop_halves.h"
#include "streamline/plan/slice.h"
#include "streamline/prune/cut_request.h"
#include "streamline/prune/proposal.h"
#include "streamline/prune/unit_search.h"

namespace streamline {
namespace {

class PolicyTraining {
 public:
  PolicyTraining(const PruneContext& context, PolicySettings settings, const Json& params)
      : context_(context),
        settings_(std::move(settings)),
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

  // Of these tokens under each of the masks, which ranks take in turn.
  std::vector<double> losses_under(const std::vector<PoolMasks>& masks, const torch::Tensor& ids) const {
    const Ranks& ranks = context_.model.placement().ranks;
    std::vector<double> losses(masks.size());  // each of one rank, and 0 elsewhere
    for (std::size_t k = 0; k < masks.size(); ++k)
      if (ranks.takes(static_cast<std::int64_t>(k))) losses[k] = masked_loss(context_.model, pools_, masks[k], ids);
    ranks.sum(losses);
    return losses;
  }

  void learn() {
    const torch::Tensor ids = drawn_text();
    std::vector<PoolMasks> by_sample(static_cast<std::size_t>(settings_.samples));
    for (const UnitPool& pool : pools_) {
      const auto drawn = drawn_masks(pool.s, settings_.samples, settings_.antithetic, rng_);
      for (std::size_t k = 0; k < by_sample.size(); ++k) by_sample[k].push_back(drawn[k]);
    }
    const std::vector<double> found = losses_under(by_sample, ids);
    std::vector<PoolMasks> kept;
    std::vector<double> losses;
    const std::size_t group = settings_.antithetic ? 2 : 1;  // masks that were drawn together
    for (std::size_t first = 0; first < found.size(); first += group) {
      const auto together = std::span(found).subspan(first, std::min(group, found.size() - first));
      if (!std::ranges::all_of(together, [](double loss) { return std::isfinite(loss); })) continue;
      losses.insert(losses.end(), together.begin(), together.end());
      for (std::size_t k = 0; k < together.size(); ++k) kept.push_back(std::move(by_sample[first + k]));
    }
    if (losses.empty() || (settings_.leave_one_out && losses.size() <= group)) return;
    double mean = 0;
    for (const double value : losses) mean += value / static_cast<double>(losses.size());
    baseline_ = moved_baseline(std::isnan(baseline_) ? mean : baseline_, mean, settings_.window);
    const double rate = cosine_rate(settings_.rate, step_, settings_.steps);
    for (std::size_t p = 0; p < pools_.size(); ++p) {
      std::vector<UnitMask> masks;
      for (const PoolMasks& sample : kept) masks.push_back(sample[p]);
      UnitPool& pool = pools_[p];
      const std::vector<double> gradient = settings_.leave_one_out
                                               ? leave_one_out_gradient(pool.s, masks, losses, group, settings_.form)
                                               : policy_gradient(pool.s, masks, losses, baseline_, settings_.form);
      for (std::size_t unit = 0; unit < pool.s.size(); ++unit) pool.s[unit] -= rate * gradient[unit];
      pool.s = projected(pool.s, pool.budget());
    }
  }

  PoolMasks likeliest() const {
    PoolMasks masks;
    for (const UnitPool& pool : pools_)
      masks.push_back(likeliest_mask(pool.s, removed_by(std::ssize(pool.units), pool.keep)));
    return masks;
  }

  // What stopping here would give, by the text that judges.
  void check() {
    const PoolMasks masks = likeliest();
    const double value = losses_under({masks}, judging_).front();
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

  Json probabilities() const {
    Json json = Json::array();
    for (const UnitPool& pool : pools_) {
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
      SlicedPlan made = with_slices(model.config(), keep_all(model.layer_count()), kept_by_masks(model, pools_, best_));
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
  PolicySettings settings_;
  UnitPools pools_;
  Rng rng_;
  Json key_;
  std::int64_t length_ = 0, step_ = 0, best_step_ = 0;
  std::vector<std::size_t> teaching_ = {};  // sequences of the text
  torch::Tensor judging_;                   // [sequences, length]
  double baseline_ = std::numeric_limits<double>::quiet_NaN(), best_loss_ = baseline_;
  PoolMasks best_ = {};
  Json history_ = Json::array();
};

}  // namespace

Proposal learnt_proposal(const PruneContext& context, const PolicySettings& settings, const Json& params) {
  return PolicyTraining(context, settings, params).run(params);
}

}  // namespace streamline
