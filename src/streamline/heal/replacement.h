// SPDX-License-Identifier: Apache-2.0
// The networks that may stand in for a window. Each is one small file in replacements/ and one line of
// replacements.def.
#pragma once

#include <span>

#include "streamline/base/random.h"
#include "streamline/engine/model.h"
#include "streamline/heal/start.h"

namespace streamline {

// What loads the folded result unmodified.
enum class Folding {
  ordinary_layer,  // a layer of the same family
  extension,       // our own entry in config.json (docs/formats); only this program reads it
};

// What least squares can find of a network without training (heal/closed_form.h).
enum class ClosedForm {
  nothing,
  output_matrix,  // the last matrix of its MLP
  map,            // a d x d matrix behind the MLP that is there
  scale,          // the diagonal of one
  constant,       // the bias of its last matrix, nothing else
  low_rank,       // its up and last matrices and the last bias, a linear map of the width's rank (kConstantGate)
};

// What a gate that lets everything through is: of silu and gelu it is itself, and dividing by it rounds nothing.
constexpr double kConstantGate = 16;

struct Replacement {
  std::string_view name, title, source;  // source: paper and section
  double learning_rate;                  // largest of a run, by default; measured (docs/healing.md)
  // Shape of the network in place of layer `first` of `model`.
  LayerConfig (*shape)(const Config& model, std::int64_t first);
  // Weights of its own start, starts.front(), where that is no closed form; fp32 on the CPU, independent of the model's
  // memory.
  LayerWeights (*initial)(const Model& model, std::int64_t first, Rng& rng);
  std::span<const Start> starts;  // that make sense for it, its own first
  ClosedForm closed_form = ClosedForm::nothing;
  // Layers before the window that the network takes in too: it is the last of them, changed so as to make up for the
  // window behind it.
  std::int64_t before = 0;
  bool (*learns)(Role role) = nullptr;  // which of its tensors are trained; empty: all

  bool is_trained() const { return closed_form != ClosedForm::scale && closed_form != ClosedForm::constant; }
};

std::span<const Replacement* const> replacements();  // without "none"
// Errors: usage, listing what exists, and `also`, another word that may stand there.
const Replacement& find_replacement(std::string_view name, std::string_view also = {});

// Its shape in place of a layer that has both halves, the first such of the model.
LayerConfig usual_shape(const Replacement& replacement, const Config& model);
// How a network of that shape is stored (surgery/fold.h).
Folding folding_of(const Replacement& replacement, const Config& model);

std::int64_t replacement_parameters(const Replacement& replacement, const Config& model, std::int64_t first);

// A replacement as a user asks for it: "ffn", or "layer:2" for two of them in a row.
struct ReplacementChoice {
  const Replacement* network = nullptr;
  std::int64_t count = 1;

  // NOLINTNEXTLINE(google-explicit-constructor): a replacement is the choice of one of it
  ReplacementChoice(const Replacement& replacement, std::int64_t networks = 1)
      : network(&replacement), count(networks) {}
};
// Errors: usage for an unknown name (`also` as above), for a number below 1, and for more than one of what cannot stand
// in a row.
ReplacementChoice parse_replacement(std::string_view text, std::string_view also = {});

// The plan with each segment that this choice replaces in the form that is written: one segment a network, the window
// shared out evenly, and the layers before it that the network takes in. Errors: usage where a window is too short, or
// begins at the first layer and needs one before.
Plan with_networks(const Plan& plan, const ReplacementChoice& choice);

}  // namespace streamline
