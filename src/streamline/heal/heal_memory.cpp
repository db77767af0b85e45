// SPDX-License-Identifier: Apache-2.0
#include "streamline/heal/heal_memory.h"

#include <algorithm>

#include "streamline/base/log.h"
#include "streamline/base/resources.h"
#include "streamline/engine/memory.h"
#include "streamline/engine/tail.h"

namespace streamline {
namespace {

// A layer's activations, kept for the way back: about 20 hidden states and 8 of its MLP.
std::uint64_t activations(const LayerConfig& layer, std::int64_t hidden, std::int64_t tokens) {
  const std::int64_t active = layer.mlp && layer.mlp->experts ? layer.mlp->experts->active : 1;
  const std::int64_t width = 20 * hidden + 8 * active * (layer.mlp ? layer.mlp->intermediate : 0);
  return static_cast<std::uint64_t>(4 * tokens * width);
}

}  // namespace

std::uint64_t heal_memory(const HealMemory& use, std::int64_t micro_batch_tokens) {
  const Config& config = use.model.config();
  const std::int64_t together = std::max(use.longest, micro_batch_tokens);
  // Master weights, gradient, two moments, the best copy, and the compute type's copy with its gradient.
  const auto weights = static_cast<std::uint64_t>(28 * use.networks * layer_parameters(config, use.shape));
  const std::uint64_t network =
      static_cast<std::uint64_t>(use.networks) * activations(use.shape, config.hidden, together);
  // Layers behind the window are run too where the loss is on logits.
  const Model run = use.on_logits ? use.model : use.model.truncated(use.window.end());
  const std::uint64_t needed =
      sweep_memory(run, use.longest, together, Keeps::nothing) + weights + network + use.beside;
  if (!use.on_logits) return needed;
  const std::int64_t behind = config.layer_count() - use.window.end();
  std::uint64_t largest = 0;
  for (std::int64_t i = use.window.end(); i < config.layer_count(); ++i)
    largest = std::max(largest, activations(config.layers[static_cast<std::size_t>(i)], config.hidden, together));
  return needed + largest + head_memory(use.model) +
         static_cast<std::uint64_t>(4 * (behind + 2) * together * config.hidden);
}

std::int64_t fitting_micro_batch(const HealMemory& use, std::int64_t wanted, bool fixed, const std::string& state) {
  const Placement& placement = use.model.placement();
  const bool goes_on = !state.empty();
  if (!placement.device.is_cpu()) return wanted;
  const std::uint64_t available = working_memory(placement);
  std::int64_t tokens = wanted;
  while (!fixed && !goes_on && tokens > use.longest && heal_memory(use, tokens) > available)
    tokens = std::max(use.longest, tokens / 2);
  const std::uint64_t needed = heal_memory(use, tokens);
  if (!goes_on) {
    require_memory(placement, needed, "healing needs", "use shorter sequences (--seq-len), or train something smaller");
  } else if (placement.memory > 0) {
    require_memory(placement, needed, "healing needs",
                   "the run of " + state + " began with more: give it as much again (--memory)");
  } else if (needed > available) {
    log_warning(state + ": the run began with micro-batches that take " + format_bytes(needed) + ", and " +
                format_bytes(available) + " are free; it goes on with them");
  }
  for (const std::string& fitting : placement.ranks.gather(std::to_string(tokens)))
    tokens = std::min<std::int64_t>(tokens, std::stoll(fitting));
  return tokens;
}

}  // namespace streamline
