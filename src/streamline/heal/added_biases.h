// SPDX-License-Identifier: Apache-2.0
// Biases where a model has none: what holds a constant that stands for something that went. They are part of an
// ordinary checkpoint where the family's config.json can say that they are there.
#pragma once

#include <map>
#include <string>
#include <utility>

#include "streamline/engine/model.h"

namespace streamline {

// By layer and role, Role::o or Role::down; [out].
using AddedBiases = std::map<std::pair<std::int64_t, Role>, torch::Tensor>;

// Why the last matrix of a half, Role::o or Role::down, of a layer that has the half cannot have a bias; empty where it
// can.
std::string why_no_bias(const Config& config, std::int64_t layer, Role role);

// The same model whose matrices give so much more. The key of config.json that says that these biases are there is set;
// all other biases that it then promises, those of q, k and v beside that of o, are zeros. Values are rounded to the
// type of a bias that is there, else to stored_type(). `model` is a whole one whose matrices do not change. Errors:
// unsupported, with why_no_bias(), and those of stored_type().
Model with_added_biases(const Model& model, const AddedBiases& added);

}  // namespace streamline
