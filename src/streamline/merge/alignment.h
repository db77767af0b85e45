// SPDX-License-Identifier: Apache-2.0
// Models side by side: the tensors of one by layer, its ends, and what another has in their place.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "streamline/merge/merge_plan.h"

namespace streamline::merge {

// A model's tensors without the buffers that its family ignores, and without a head that a tied model stores twice.
struct Contents {
  std::vector<const TensorInfo*> outside = {};              // of no layer
  std::vector<std::vector<const TensorInfo*>> layers = {};  // by layer
  std::string embedding = {}, head = {};                    // their names; empty where the family is not known
  bool tied = false;                                        // the embedding is the head
};
Contents contents_of(const Source& source);

// Whether a tensor outside the layers comes before them.
bool is_before_layers(const Contents& contents, const std::string& name);

// The tensor of that name; the embedding for the head of a tied model that does not store one. Errors: mismatch,
// saying who has it.
const TensorInfo& counterpart(const Source& source, const Contents& contents, const std::string& name,
                              const Source& reference);

// Whether a tensor has a row an entry of the vocabulary.
bool is_vocabulary(const Contents& contents, const TensorInfo& tensor);

// Errors: mismatch, naming both; `hint`: what could be done.
void check_same_shape(const Source& source, const TensorInfo& tensor, const Source& reference, const TensorInfo& other,
                      std::string_view hint = {});

// Errors: mismatch, naming a tensor of these that is not among the used.
void check_all_used(const Source& source, const std::vector<const TensorInfo*>& tensors,
                    const std::set<const TensorInfo*>& used, const Source& reference);

}  // namespace streamline::merge
