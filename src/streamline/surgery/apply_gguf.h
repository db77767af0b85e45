// SPDX-License-Identifier: Apache-2.0
// Carries out a plan on a GGUF file: a smaller GGUF file, in which surviving tensors have the bytes that they had.
#pragma once

#include <filesystem>

#include "streamline/surgery/apply.h"

namespace streamline {

// What is refused before any work, so that nothing is lost: usage for a target that does not end in ".gguf" or is the
// source; unsupported for a cut that llama.cpp would compute differently.
void check_gguf_target(const Checkpoint& source, const std::filesystem::path& out);

// Errors: unsupported, one line, where a layer of this shape cannot stand in a GGUF file of the model's family.
void check_gguf_replacement(const Config& config, const LayerConfig& layer, std::int64_t first);

// Whether slices of its layers' heads, or of their channels, can be written of a GGUF file at all: which channels stay
// is not known yet, so that theirs must not lie in quantised blocks, and groups of heads must fill whole ones. Errors:
// unsupported, one line that says what to do instead.
void check_gguf_slices(const Model& source, bool heads, bool channels);

// Whether what a plan leaves of layers is there as layers: a half alone is none in a GGUF file, where it has no
// partner. Errors: unsupported, those of output_layers().
void check_gguf_halves(const Config& config, const Plan& plan);
// The same of plans that drop halves of these kinds by themselves: of one kind alone, no other half goes where one did.
void check_gguf_halves(bool attention, bool mlp);

// The same, and that llama.cpp computes what the plan leaves of this source, as soon as there is a plan: windows and
// kinds of layers that it counts on by their number, say. Replacements need no weights yet. Errors: unsupported.
void check_gguf_cut(const Model& source, const Plan& plan);

// As apply_plan(), for a source that is a GGUF file, perhaps a split one, and has no changes: NAME.gguf, and beside it
// NAME.plan.json, NAME.replacement.safetensors where something was trained, and what `finish` writes, as NAME.<its
// name>. Metadata is kept but for what depends on the layers. The matrices of a replacement have the type that
// config.dtype names. What slices leave has the bytes that it had; layers are as wide as the widest, with zeros in
// narrower ones. Errors: those of apply_plan(); unsupported for a result that GGUF cannot express, and for slices that
// cut through quantised blocks.
AppliedPlan apply_gguf(const Model& source, const Plan& plan, const Replacements& replacements,
                       const std::filesystem::path& out, const ApplyOptions& options);

}  // namespace streamline
