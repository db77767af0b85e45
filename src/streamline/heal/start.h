// SPDX-License-Identifier: Apache-2.0
// How the weights of a replacement start.
#pragma once

#include <string_view>

namespace streamline {

enum class Start {
  zero,         // what it adds to the residual stream is nothing
  inherit,      // the tensors of the first cut layer, wherever it has one of that role and shape
  random,       // matrices N(0, initializer_range), biases 0
  closed_form,  // the last matrix by least squares (heal/closed_form.h), the rest as inherited or as it starts
};

std::string_view start_name(Start start);  // "zero", "inherit", "random", "closed-form"
Start parse_start(std::string_view name);  // usage error that lists what exists

}  // namespace streamline
