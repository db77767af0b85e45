// SPDX-License-Identifier: Apache-2.0
#include "streamline/nn/kernel_gradients.h"

#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

#include "streamline/nn/kernel_walk.h"
#include "streamline/nn/kernels.h"

namespace streamline::kernels {
namespace {

using simd::Bf16;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// With s = 1 / sqrt(mean(x^2) + epsilon), w = offset + weight and g the gradient of x s w:
// of x it is  g w s - x s^3 mean(g w x),  of the weight  sum over rows of g x s,  which is added to weight_gradient.
// Either result may be null.
template <class T>
SL_INLINE void rms_norm_gradient_rows_body(const T* __restrict x, const T* __restrict weight,
                                           const T* __restrict gradient, T* __restrict x_gradient,
                                           float* __restrict weight_gradient, std::int64_t rows, std::int64_t width,
                                           float epsilon, float offset) {
  constexpr int kSums = 32;  // as in the kernel of the way there
  for (std::int64_t row = 0; row < rows; ++row, x += width, gradient += width) {
    float square_sums[kSums] = {}, product_sums[kSums] = {};
    float squares = 0, products = 0;
    std::int64_t i = 0;
    for (; i + kSums <= width; i += kSums)
      for (std::int64_t j = 0; j < kSums; ++j) {
        const float value = simd::load(x + i + j);
        square_sums[j] += value * value;
        product_sums[j] += value * simd::load(gradient + i + j) * (offset + simd::load(weight + i + j));
      }
    for (; i < width; ++i) {
      const float value = simd::load(x + i);
      squares += value * value;
      products += value * simd::load(gradient + i) * (offset + simd::load(weight + i));
    }
    squares += simd::sum(square_sums);
    products += simd::sum(product_sums);
    const float scale = 1.0f / std::sqrt(squares / static_cast<float>(width) + epsilon);
    const float pull = scale * scale * scale * (products / static_cast<float>(width));
    if (weight_gradient != nullptr)
      for (i = 0; i < width; ++i) weight_gradient[i] += simd::load(gradient + i) * simd::load(x + i) * scale;
    if (x_gradient == nullptr) continue;
    for (i = 0; i < width; ++i)
      simd::store(x_gradient + i,
                  simd::load(gradient + i) * (offset + simd::load(weight + i)) * scale - simd::load(x + i) * pull);
    x_gradient += width;
  }
}

// With s = sigmoid(gate): d silu(gate) = s + gate s (1 - s).
template <class T>
SL_INLINE void silu_gradient_range_body(const T* __restrict gate, const T* __restrict up, const T* __restrict gradient,
                                        T* __restrict gate_gradient, T* __restrict up_gradient, std::int64_t count) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float g = simd::load(gate + i), d = simd::load(gradient + i);
    const float share = 1.0f / (1.0f + simd::exp(-g)), silu = g * share;
    simd::store(gate_gradient + i, d * simd::load(up + i) * (share + silu * (1.0f - share)));
    simd::store(up_gradient + i, d * silu);
  }
}

#define SL_GRADIENTS(T)                                                                                              \
  SL_DISPATCH(rms_norm_gradient_rows,                                                                                \
              (const T* x, const T* weight, const T* gradient, T* x_gradient, float* weight_gradient,                \
               std::int64_t rows, std::int64_t width, float epsilon, float offset),                                  \
              (x, weight, gradient, x_gradient, weight_gradient, rows, width, epsilon, offset))                      \
  SL_DISPATCH(silu_gradient_range,                                                                                   \
              (const T* gate, const T* up, const T* gradient, T* gate_gradient, T* up_gradient, std::int64_t count), \
              (gate, up, gradient, gate_gradient, up_gradient, count))
SL_GRADIENTS(float)
SL_GRADIENTS(Bf16)
#undef SL_GRADIENTS

struct Wanted {
  bool x = true, weight = true;
};

// What a pass over rows gives; undefined where nobody wants it.
struct NormGradients {
  torch::Tensor x = {}, weight = {};
};

// The weight's gradient is summed block by block and then over the blocks, whatever the number of threads: equal runs
// give equal bits.
NormGradients rms_norm_gradients(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& gradient,
                                 float epsilon, float offset, Wanted wanted) {
  constexpr std::int64_t kLeastRows = 64;  // so that the blocks' sums are small beside what is read
  const auto in = x.contiguous(), factors = weight.contiguous(), back = gradient.contiguous();
  const std::int64_t width = x.size(-1), rows = x.numel() / width, block = std::max(kLeastRows, grain(width));
  const std::int64_t blocks = (rows + block - 1) / block;
  NormGradients result;
  torch::Tensor sums;  // [blocks, width]
  if (wanted.x) result.x = torch::empty_like(in);
  if (wanted.weight) sums = torch::zeros({blocks, width}, x.options().dtype(torch::kFloat));
  with_type(x, [&]<class T>(T*) {
    at::parallel_for(0, blocks, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t i = first; i < last; ++i) {
        const std::int64_t at = i * block * width;
        rms_norm_gradient_rows(data<T>(in) + at, data<T>(factors), data<T>(back) + at,
                               wanted.x ? data<T>(result.x) + at : nullptr,
                               wanted.weight ? data<float>(sums) + i * width : nullptr,
                               std::min(block, rows - i * block), width, epsilon, offset);
      }
    });
  });
  if (wanted.weight) result.weight = sums.sum(0).to(weight.scalar_type());
  return result;
}

struct SiluGradients {
  torch::Tensor gate, up;
};

SiluGradients silu_gradients(const torch::Tensor& gate, const torch::Tensor& up, const torch::Tensor& gradient) {
  const auto gates = gate.contiguous(), ups = up.contiguous(), back = gradient.contiguous();
  SiluGradients result{torch::empty_like(gates), torch::empty_like(gates)};
  with_type(gate, [&]<class T>(T*) {
    at::parallel_for(0, gates.numel(), kGrain, [&](std::int64_t first, std::int64_t last) {
      silu_gradient_range(data<T>(gates) + first, data<T>(ups) + first, data<T>(back) + first,
                          data<T>(result.gate) + first, data<T>(result.up) + first, last - first);
    });
  });
  return result;
}

// The identity in its first argument, whose gradient is refused. The others are what that was computed from: only what
// leads to a tensor that is asked for is visited on the way back.
struct Final : torch::autograd::Function<Final> {
  static torch::Tensor forward(AutogradContext*, const torch::Tensor& result, const torch::Tensor&,
                               const torch::Tensor&, const torch::Tensor&, const torch::Tensor&) {
    return result.clone();
  }
  static variable_list backward(AutogradContext*, const variable_list&) {
    fail(ErrorKind::unsupported,
         "fused kernels have no second derivatives; differentiate in float64, where none are used");
  }
};

// What a backward pass returns that makes `pass` of the saved tensors and the result's gradient; whatever was
// differentiated is among the first three saved. Autograd sees nothing of such a pass: where it records one
// (create_graph), the results would count as constants in a second derivative, so that is refused when it is taken.
template <class Pass>
variable_list unrecorded(AutogradContext* context, const torch::Tensor& gradient, Pass&& pass) {
  const auto saved = context->get_saved_variables();
  variable_list results;
  {
    const torch::NoGradGuard no_grad;
    results = pass(saved);
  }
  if (!torch::GradMode::is_enabled()) return results;
  for (torch::Tensor& result : results)
    if (result.defined()) result = Final::apply(result, gradient, saved[0], saved[1], saved[saved.size() > 2 ? 2 : 1]);
  return results;
}

struct RecordedRmsNorm : torch::autograd::Function<RecordedRmsNorm> {
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& x, const torch::Tensor& weight,
                               double epsilon, double offset) {
    context->save_for_backward({x, weight});
    context->saved_data["epsilon"] = epsilon;
    context->saved_data["offset"] = offset;
    return rms_norm(x, weight, epsilon, offset);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    return unrecorded(context, gradients[0], [&](const variable_list& saved) -> variable_list {
      const auto &x = saved[0], &weight = saved[1];
      const auto number = [&](const char* name) { return static_cast<float>(context->saved_data[name].toDouble()); };
      const NormGradients result =
          rms_norm_gradients(x, weight, gradients[0], number("epsilon"), number("offset"),
                             {.x = context->needs_input_grad(0), .weight = context->needs_input_grad(1)});
      return {result.x, result.weight, {}, {}};
    });
  }
};

struct RecordedSiluProduct : torch::autograd::Function<RecordedSiluProduct> {
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& gate, const torch::Tensor& up) {
    context->save_for_backward({gate, up});
    return silu_product(gate, up);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    return unrecorded(context, gradients[0], [&](const variable_list& saved) -> variable_list {
      const auto &gate = saved[0], &up = saved[1];
      const SiluGradients result = silu_gradients(gate, up, gradients[0]);
      return {result.gate, result.up};
    });
  }
};

// A rotation's transpose is the rotation back.
struct RecordedRotation : torch::autograd::Function<RecordedRotation> {
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& x, const torch::Tensor& cos,
                               const torch::Tensor& sin) {
    context->save_for_backward({cos, sin});
    return rotated(x, cos, sin, Turn::forth);
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    return unrecorded(context, gradients[0], [&](const variable_list& saved) -> variable_list {
      const auto &cos = saved[0], &sin = saved[1];
      return {rotated(gradients[0], cos, sin, Turn::back), {}, {}};
    });
  }
};

struct RecordedAttention : torch::autograd::Function<RecordedAttention> {
  static torch::Tensor forward(AutogradContext* context, const torch::Tensor& q, const torch::Tensor& k,
                               const torch::Tensor& v, const FlashOptions& options) {
    torch::Tensor log_sums;
    const auto out = flash_attention(q, k, v, options, &log_sums);
    context->save_for_backward({q, k, v, out, log_sums});
    context->saved_data["window"] = options.window;
    context->saved_data["scale"] = options.scale;
    context->saved_data["softcap"] = options.softcap;
    return out;
  }
  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    return unrecorded(context, gradients[0], [&](const variable_list& saved) -> variable_list {
      const FlashOptions options{.window = context->saved_data["window"].toOptional<std::int64_t>(),
                                 .scale = context->saved_data["scale"].toOptional<double>(),
                                 .softcap = context->saved_data["softcap"].toDouble()};
      const AttentionGradients result =
          flash_attention_gradients(saved[0], saved[1], saved[2], saved[3], saved[4], gradients[0], options);
      return {result.q, result.k, result.v, {}};
    });
  }
};

}  // namespace

torch::Tensor recorded_rms_norm(const torch::Tensor& x, const torch::Tensor& weight, double epsilon, double offset) {
  return RecordedRmsNorm::apply(x, weight, epsilon, offset);
}

torch::Tensor recorded_silu_product(const torch::Tensor& gate, const torch::Tensor& up) {
  return RecordedSiluProduct::apply(gate, up);
}

torch::Tensor recorded_rotation(const torch::Tensor& x, const torch::Tensor& cos, const torch::Tensor& sin) {
  return RecordedRotation::apply(x, cos, sin);
}

torch::Tensor recorded_attention(const torch::Tensor& q, const torch::Tensor& k, const torch::Tensor& v,
                                 const FlashOptions& options) {
  return RecordedAttention::apply(q, k, v, options);
}

}  // namespace streamline::kernels
