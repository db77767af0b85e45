// SPDX-License-Identifier: Apache-2.0
#include "support/torch/reference.h"

#include <cmath>
#include <numbers>

#include "streamline/base/error.h"

namespace streamline::test {
namespace {

const Matrix& at(const ReferenceWeights& weights, Role role, Part part = Part::weight) {
  const auto found = weights.find({role, part});
  SL_ASSERT(found != weights.end());
  return found->second;
}

// y = W x + b
Row linear(const ReferenceWeights& weights, Role role, const Row& x) {
  Row y;
  for (const Row& row : at(weights, role)) {
    SL_ASSERT(row.size() == x.size());
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) sum += row[i] * x[i];
    y.push_back(sum);
  }
  if (weights.count({role, Part::bias}))
    for (std::size_t i = 0; i < y.size(); ++i) y[i] += at(weights, role, Part::bias)[0][i];
  return y;
}

Row rms_norm(const Row& x, const Row& weight, double epsilon) {
  double squares = 0;
  for (const double value : x) squares += value * value;
  const double rms = std::sqrt(squares / static_cast<double>(x.size()) + epsilon);
  Row y;
  for (std::size_t i = 0; i < x.size(); ++i) y.push_back(x[i] / rms * weight[i]);
  return y;
}

Row layer_norm(const Row& x, const Row& weight, const Row& bias, double epsilon) {
  const double size = static_cast<double>(x.size());
  double mean = 0, variance = 0;
  for (const double value : x) mean += value / size;
  for (const double value : x) variance += (value - mean) * (value - mean) / size;
  Row y;
  for (std::size_t i = 0; i < x.size(); ++i)
    y.push_back((x[i] - mean) / std::sqrt(variance + epsilon) * weight[i] + bias[i]);
  return y;
}

Row norm(const Config& config, const ReferenceWeights& weights, Role role, const Row& x) {
  const Row& weight = at(weights, role)[0];
  if (config.family->traits.norm == Norm::rms) return rms_norm(x, weight, config.norm_epsilon);
  return layer_norm(x, weight, at(weights, role, Part::bias)[0], config.norm_epsilon);
}

double activate(Activation activation, double x) {
  switch (activation) {
    case Activation::silu:
      return x / (1 + std::exp(-x));
    case Activation::relu:
      return x > 0 ? x : 0;
    case Activation::gelu:
      return 0.5 * x * (1 + std::erf(x / std::numbers::sqrt2));
    case Activation::gelu_tanh:
      return 0.5 * x * (1 + std::tanh(std::sqrt(2 / std::numbers::pi) * (x + 0.044715 * x * x * x)));
  }
  return 0;
}

// Angle by which pair `pair` of a head turns from one position to the next.
double frequency(const Config& config, std::size_t pair, std::size_t head_dim, std::size_t positions) {
  const RopeConfig& rope = config.rope;
  const double dim = static_cast<double>(head_dim), seq = static_cast<double>(positions);
  const double trained =
      static_cast<double>(rope.original_max_positions ? rope.original_max_positions : config.max_positions);
  double base = rope.theta;
  if (rope.scaling == RopeScaling::dynamic && seq > trained)
    base *= std::pow(rope.factor * seq / trained - rope.factor + 1, dim / (dim - 2));
  const double plain = 1 / std::pow(base, 2 * static_cast<double>(pair) / dim);
  if (rope.scaling == RopeScaling::linear) return plain / rope.factor;
  if (rope.scaling != RopeScaling::llama3) return plain;
  const double wavelength = 2 * std::numbers::pi / plain;
  if (wavelength < trained / rope.high_frequency_factor) return plain;
  if (wavelength > trained / rope.low_frequency_factor) return plain / rope.factor;
  const double smooth =
      (trained / wavelength - rope.low_frequency_factor) / (rope.high_frequency_factor - rope.low_frequency_factor);
  return (1 - smooth) * plain / rope.factor + smooth * plain;
}

// Heads of one token: normed (where there is a norm) and turned.
Matrix split_heads(const Config& config, const ReferenceWeights& weights, Role norm_role, const Row& row,
                   std::size_t head_dim, std::size_t position, std::size_t positions) {
  Matrix heads;
  for (std::size_t first = 0; first < row.size(); first += head_dim) {
    Row head(row.begin() + static_cast<std::ptrdiff_t>(first),
             row.begin() + static_cast<std::ptrdiff_t>(first + head_dim));
    if (weights.count({norm_role, Part::weight})) head = rms_norm(head, at(weights, norm_role)[0], config.norm_epsilon);
    if (config.family->traits.position == Position::rope) {
      for (std::size_t j = 0; j < head_dim / 2; ++j) {
        const double angle = static_cast<double>(position) * frequency(config, j, head_dim, positions);
        const double a = head[j], b = head[j + head_dim / 2];
        head[j] = a * std::cos(angle) - b * std::sin(angle);
        head[j + head_dim / 2] = b * std::cos(angle) + a * std::sin(angle);
      }
    }
    heads.push_back(head);
  }
  return heads;
}

// softmax(q k^T / sqrt(head_dim)) v over positions first … last.
Row attend_head(const Row& query, const std::vector<Matrix>& keys, const std::vector<Matrix>& values, std::size_t head,
                std::size_t first, std::size_t last) {
  Row scores;
  double largest = -INFINITY;
  for (std::size_t s = first; s <= last; ++s) {
    double score = 0;
    for (std::size_t i = 0; i < query.size(); ++i) score += query[i] * keys[s][head][i];
    scores.push_back(score / std::sqrt(static_cast<double>(query.size())));
    largest = std::max(largest, scores.back());
  }
  double sum = 0;
  for (double& score : scores) sum += score = std::exp(score - largest);
  Row out(query.size(), 0.0);
  for (std::size_t s = first; s <= last; ++s)
    for (std::size_t i = 0; i < out.size(); ++i) out[i] += scores[s - first] / sum * values[s][head][i];
  return out;
}

Matrix attention(const Config& config, const AttentionConfig& a, const ReferenceWeights& weights, const Matrix& x) {
  const auto head_dim = static_cast<std::size_t>(a.head_dim);
  const auto group = static_cast<std::size_t>(a.heads / a.kv_heads);
  std::vector<Matrix> queries, keys, values;  // [token][head][head_dim]
  for (std::size_t t = 0; t < x.size(); ++t) {
    const Row normed = norm(config, weights, Role::attention_norm, x[t]);
    const auto heads = [&](Role role, Role norm_role) {
      return split_heads(config, weights, norm_role, linear(weights, role, normed), head_dim, t, x.size());
    };
    queries.push_back(heads(Role::q, Role::q_norm));
    keys.push_back(heads(Role::k, Role::k_norm));
    Matrix value;
    const Row flat = linear(weights, Role::v, normed);
    for (std::size_t first = 0; first < flat.size(); first += head_dim)
      value.emplace_back(flat.begin() + static_cast<std::ptrdiff_t>(first),
                         flat.begin() + static_cast<std::ptrdiff_t>(first + head_dim));
    values.push_back(value);
  }
  Matrix out;
  for (std::size_t t = 0; t < x.size(); ++t) {
    const std::size_t window = a.window ? static_cast<std::size_t>(*a.window) : t + 1;
    const std::size_t first = t + 1 > window ? t + 1 - window : 0;
    Row joined;
    for (std::size_t head = 0; head < queries[t].size(); ++head) {
      const Row part = attend_head(queries[t][head], keys, values, head / group, first, t);
      joined.insert(joined.end(), part.begin(), part.end());
    }
    out.push_back(linear(weights, Role::o, joined));
  }
  return out;
}

Row mlp(const Config& config, const MlpConfig& m, const ReferenceWeights& weights, const Row& x) {
  const Row input = m.norm ? norm(config, weights, Role::mlp_norm, x) : x;
  Row inner = linear(weights, Role::up, input);
  if (m.gated) {
    const Row gate = linear(weights, Role::gate, input);
    for (std::size_t i = 0; i < inner.size(); ++i) inner[i] *= activate(m.activation, gate[i]);
  } else {
    for (double& value : inner) value = activate(m.activation, value);
  }
  return linear(weights, Role::down, inner);
}

void add(Row& x, const Row& y) {
  for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
}

Matrix stored_matrix(const Checkpoint& checkpoint, const TensorInfo& info) {
  const auto width = static_cast<std::size_t>(info.shape.back());
  const auto bytes = checkpoint.bytes(info);
  const std::size_t element = dtype_size(info.dtype), count = bytes.size() / element;
  Matrix matrix(count / width, Row(width));
  for (std::size_t i = 0; i < count; ++i)
    matrix[i / width][i % width] = load_float(info.dtype, bytes.data() + i * element);
  return matrix;
}

}  // namespace

ReferenceWeights reference_weights(const Checkpoint& checkpoint, const Config& config, std::int64_t layer) {
  ReferenceWeights result;
  for (int role = 0; role <= static_cast<int>(Role::down); ++role)
    for (const Part part : {Part::weight, Part::bias}) {
      if ((layer < 0) == is_layer_role(static_cast<Role>(role))) continue;
      const TensorInfo* info = find_tensor(checkpoint, config, layer, static_cast<Role>(role), part);
      if (info) result[{static_cast<Role>(role), part}] = stored_matrix(checkpoint, *info);
    }
  return result;
}

ReferenceWeights reference_weights(const LayerWeights& weights) {
  ReferenceWeights result;
  for (const auto& [role, pair] : weights.tensors) {
    if (pair.weight.defined()) result[{role, Part::weight}] = to_matrix(pair.weight);
    if (pair.bias.defined()) result[{role, Part::bias}] = to_matrix(pair.bias);
  }
  return result;
}

Matrix reference_layer(const Config& config, const LayerConfig& layer, const ReferenceWeights& weights,
                       const Matrix& x) {
  Matrix h = x;
  if (layer.attention) {
    const Matrix out = attention(config, *layer.attention, weights, x);
    for (std::size_t t = 0; t < h.size(); ++t) add(h[t], out[t]);
  }
  if (!layer.mlp) return h;
  for (Row& row : h) {
    const Row out = mlp(config, *layer.mlp, weights, row);
    if (layer.mlp->residual) {
      add(row, out);
    } else {
      row = out;
    }
  }
  return h;
}

std::vector<Matrix> reference_hidden_states(const Checkpoint& checkpoint, const Config& config,
                                            const std::vector<std::int64_t>& ids) {
  const ReferenceWeights ends = reference_weights(checkpoint, config, -1);
  Matrix x;
  for (std::size_t t = 0; t < ids.size(); ++t) {
    x.push_back(at(ends, Role::token_embedding)[static_cast<std::size_t>(ids[t])]);
    if (config.family->traits.position == Position::learned)
      add(x[t],
          at(ends, Role::position_embedding)[t + static_cast<std::size_t>(config.family->traits.position_offset)]);
  }
  std::vector<Matrix> states = {x};
  for (std::int64_t i = 0; i < config.layer_count(); ++i)
    states.push_back(reference_layer(config, config.layers[static_cast<std::size_t>(i)],
                                     reference_weights(checkpoint, config, i), states.back()));
  return states;
}

Matrix reference_logits(const Checkpoint& checkpoint, const Config& config, const Matrix& last) {
  const ReferenceWeights ends = reference_weights(checkpoint, config, -1);
  Matrix logits;
  for (const Row& row : last) logits.push_back(linear(ends, Role::head, norm(config, ends, Role::final_norm, row)));
  return logits;
}

Matrix to_matrix(const torch::Tensor& tensor) {
  const auto values = tensor.detach().to(torch::kCPU, torch::kDouble).contiguous();
  const std::int64_t width = tensor.size(-1);
  const auto* data = values.const_data_ptr<double>();
  Matrix matrix;
  for (std::int64_t row = 0; row < values.numel() / width; ++row)
    matrix.emplace_back(data + row * width, data + (row + 1) * width);
  return matrix;
}

torch::Tensor to_torch(const std::vector<Matrix>& batch) {
  std::vector<double> flat;
  for (const Matrix& matrix : batch)
    for (const Row& row : matrix) flat.insert(flat.end(), row.begin(), row.end());
  return torch::tensor(flat, torch::kDouble)
      .view({static_cast<std::int64_t>(batch.size()), static_cast<std::int64_t>(batch[0].size()), -1});
}

double relative_difference(const torch::Tensor& a, const torch::Tensor& b) {
  const auto x = a.detach().to(torch::kCPU, torch::kDouble), y = b.detach().to(torch::kCPU, torch::kDouble);
  SL_ASSERT(x.sizes() == y.sizes());
  return ((x - y).abs().max() / y.abs().max()).item<double>();
}

}  // namespace streamline::test
