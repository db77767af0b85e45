// SPDX-License-Identifier: Apache-2.0
#include "support/torch/reference.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "streamline/base/error.h"

namespace streamline::test {
namespace {

using Expert = std::int64_t;

const Matrix& at(const ReferenceWeights& weights, Role role, Part part = Part::weight, Expert expert = -1) {
  const auto found = weights.find({role, part, expert});
  SL_ASSERT(found != weights.end());
  return found->second;
}

bool has(const ReferenceWeights& weights, Role role, Part part = Part::weight, Expert expert = -1) {
  return weights.count({role, part, expert}) != 0;
}

// y = W x + b
Row linear(const ReferenceWeights& weights, Role role, const Row& x, Expert expert = -1) {
  Row y;
  for (const Row& row : at(weights, role, Part::weight, expert)) {
    SL_ASSERT(row.size() == x.size());
    double sum = 0;
    for (std::size_t i = 0; i < x.size(); ++i) sum += row[i] * x[i];
    y.push_back(sum);
  }
  if (has(weights, role, Part::bias, expert))
    for (std::size_t i = 0; i < y.size(); ++i) y[i] += at(weights, role, Part::bias, expert)[0][i];
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

Row plus(Row x, double value) {
  for (double& element : x) element += value;
  return x;
}

Row norm(const Config& config, const ReferenceWeights& weights, Role role, const Row& x) {
  const Row weight = plus(at(weights, role)[0], config.family->traits.norm_offset);
  if (config.family->traits.norm == Norm::rms) return rms_norm(x, weight, config.norm_epsilon);
  const Row none(x.size(), 0.0);
  return layer_norm(x, weight, has(weights, role, Part::bias) ? at(weights, role, Part::bias)[0] : none,
                    config.norm_epsilon);
}

// The norm where the layer has it.
Row optional_norm(const Config& config, const ReferenceWeights& weights, Role role, const Row& x) {
  return has(weights, role) ? norm(config, weights, role, x) : x;
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

// YaRN, arXiv 2309.00071, section 3.2 as its authors compute it: pairs below `low` stay, those above `high` are
// stretched.
double yarn(const RopeConfig& rope, double pair, double dim, double plain) {
  const double length = static_cast<double>(rope.original_max_positions);
  const auto pair_of = [&](double turns) {
    return dim * std::log(length / (2 * std::numbers::pi * turns)) / (2 * std::log(rope.theta));
  };
  double low = pair_of(rope.beta_fast), high = pair_of(rope.beta_slow);
  if (rope.truncate) low = std::floor(low), high = std::ceil(high);
  low = std::max(low, 0.0), high = std::min(high, dim - 1);
  if (low == high) high += 0.001;
  const double keep = 1 - std::min(std::max((pair - low) / (high - low), 0.0), 1.0);
  return plain / rope.factor * (1 - keep) + plain * keep;
}

// Angle by which pair `pair` of a head turns from one position to the next.
double frequency(const Config& config, const RopeConfig& rope, std::size_t pair, std::size_t turning,
                 std::size_t positions) {
  const double dim = static_cast<double>(turning), seq = static_cast<double>(positions);
  const double trained =
      static_cast<double>(rope.original_max_positions ? rope.original_max_positions : config.max_positions);
  double base = rope.theta;
  if (rope.scaling == RopeScaling::dynamic && seq > trained)
    base *= std::pow(rope.factor * seq / trained - rope.factor + 1, dim / (dim - 2));
  const double plain = 1 / std::pow(base, 2 * static_cast<double>(pair) / dim);
  if (rope.scaling == RopeScaling::linear) return plain / rope.factor;
  if (rope.scaling == RopeScaling::longrope)
    return plain / (positions > static_cast<std::size_t>(rope.original_max_positions) ? rope.long_factors[pair]
                                                                                      : rope.short_factors[pair]);
  if (rope.scaling == RopeScaling::yarn) return yarn(rope, static_cast<double>(pair), dim, plain);
  if (rope.scaling != RopeScaling::llama3) return plain;
  const double wavelength = 2 * std::numbers::pi / plain;
  if (wavelength < trained / rope.high_frequency_factor) return plain;
  if (wavelength > trained / rope.low_frequency_factor) return plain / rope.factor;
  const double smooth =
      (trained / wavelength - rope.low_frequency_factor) / (rope.high_frequency_factor - rope.low_frequency_factor);
  return (1 - smooth) * plain / rope.factor + smooth * plain;
}

void turn(const Config& config, const RopeConfig& rope, Row& head, std::size_t position, std::size_t positions) {
  const auto turning = static_cast<std::size_t>(std::floor(static_cast<double>(head.size()) * rope.rotated_share));
  for (std::size_t j = 0; j < turning / 2; ++j) {
    const bool neighbours = config.family->traits.neighbours_rotate;
    const std::size_t first = neighbours ? 2 * j : j, second = neighbours ? 2 * j + 1 : j + turning / 2;
    const double angle = static_cast<double>(position) * frequency(config, rope, j, turning, positions);
    const double a = head[first], b = head[second];
    head[first] = rope.attention_factor * (a * std::cos(angle) - b * std::sin(angle));
    head[second] = rope.attention_factor * (b * std::cos(angle) + a * std::sin(angle));
  }
}

Matrix cut(const Row& row, std::size_t width) {
  Matrix parts;
  for (std::size_t first = 0; first < row.size(); first += width)
    parts.emplace_back(row.begin() + static_cast<std::ptrdiff_t>(first),
                       row.begin() + static_cast<std::ptrdiff_t>(first + width));
  return parts;
}

// Heads of one token: normed (where there is a norm) and turned.
Matrix split_heads(const Config& config, const AttentionConfig& a, const ReferenceWeights& weights, Role norm_role,
                   Row row, std::size_t position, std::size_t positions) {
  const Row weight =
      has(weights, norm_role) ? plus(at(weights, norm_role)[0], config.family->traits.norm_offset) : Row();
  if (a.qk_norm == QkNorm::whole) row = rms_norm(row, weight, config.norm_epsilon);
  Matrix heads = cut(row, static_cast<std::size_t>(a.head_dim));
  for (Row& head : heads) {
    if (a.qk_norm == QkNorm::head) head = rms_norm(head, weight, config.norm_epsilon);
    if (config.family->traits.position != Position::rope || a.rope == RopeUse::none) continue;
    // What follows is a rotation, so that the norm may stand behind it, as in Llama 4.
    if (a.qk_norm == QkNorm::unit) head = rms_norm(head, Row(head.size(), 1), config.norm_epsilon);
    turn(config, a.rope == RopeUse::local ? *config.local_rope : config.rope, head, position, positions);
  }
  return heads;
}

// softmax(q k^T / sqrt(head_dim)) v over positions first … last; with the scale and the cap of the layer.
Row attend_head(const AttentionConfig& a, const Row& query, const std::vector<Matrix>& keys,
                const std::vector<Matrix>& values, std::size_t head, std::size_t first, std::size_t last) {
  Row scores;
  double largest = -INFINITY;
  for (std::size_t s = first; s <= last; ++s) {
    double score = 0;
    for (std::size_t i = 0; i < query.size(); ++i) score += query[i] * keys[s][head][i];
    score *= a.scale.value_or(1 / std::sqrt(static_cast<double>(query.size())));
    scores.push_back(a.softcap != 0 ? a.softcap * std::tanh(score / a.softcap) : score);
    largest = std::max(largest, scores.back());
  }
  double sum = 0;
  for (double& score : scores) sum += score = std::exp(score - largest);
  Row out(query.size(), 0.0);
  for (std::size_t s = first; s <= last; ++s)
    for (std::size_t i = 0; i < out.size(); ++i) out[i] += scores[s - first] / sum * values[s][head][i];
  return out;
}

// x: what the projections read, a row a token.
Matrix attention(const Config& config, const AttentionConfig& a, const ReferenceWeights& weights, const Matrix& x) {
  const auto group = static_cast<std::size_t>(a.heads / a.kv_heads);
  std::vector<Matrix> queries, keys, values;  // [token][head][head_dim]
  for (std::size_t t = 0; t < x.size(); ++t) {
    const auto heads = [&](Role role, Role norm_role) {
      return split_heads(config, a, weights, norm_role, linear(weights, role, x[t]), t, x.size());
    };
    queries.push_back(heads(Role::q, Role::q_norm));
    if (a.temperature)
      for (Row& head : queries.back())
        for (double& value : head)
          value *=
              1 + a.temperature->scale * std::log(1 + std::floor((static_cast<double>(t) + 1) / a.temperature->floor));
    keys.push_back(heads(Role::k, Role::k_norm));
    values.push_back(cut(linear(weights, Role::v, x[t]), static_cast<std::size_t>(a.head_dim)));
  }
  Matrix out;
  for (std::size_t t = 0; t < x.size(); ++t) {
    const std::size_t window = a.window ? static_cast<std::size_t>(*a.window) : t + 1;
    std::size_t first = t + 1 > window ? t + 1 - window : 0;
    if (a.chunk) first = t - t % static_cast<std::size_t>(*a.chunk);
    Row joined;
    for (std::size_t head = 0; head < queries[t].size(); ++head) {
      const Row part = attend_head(a, queries[t][head], keys, values, head / group, first, t);
      joined.insert(joined.end(), part.begin(), part.end());
    }
    out.push_back(linear(weights, Role::o, joined));
  }
  return out;
}

Row network(const MlpConfig& m, const ReferenceWeights& weights, const Row& x, Role gate_role, Role up_role,
            Role down_role, Expert expert = -1) {
  Row inner = linear(weights, up_role, x, expert);
  if (m.gated) {
    const Row gate = linear(weights, gate_role, x, expert);
    for (std::size_t i = 0; i < inner.size(); ++i) inner[i] *= activate(m.activation, gate[i]);
  } else {
    for (double& value : inner) value = activate(m.activation, value);
  }
  return linear(weights, down_role, inner, expert);
}

void add_times(Row& sum, double factor, const Row& x) {
  for (std::size_t i = 0; i < x.size(); ++i) sum[i] += factor * x[i];
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// Llama 4: what an expert reads is times the sigmoid of its logit; one that all share is added as it is.
Row sparse_of_scaled(const MlpConfig& m, const ReferenceWeights& weights, const Row& x) {
  const Row logits = linear(weights, Role::router, x);
  Row sorted = logits;
  std::sort(sorted.rbegin(), sorted.rend());
  Row y = network(m, weights, x, Role::shared_gate, Role::shared_up, Role::shared_down);
  for (std::size_t e = 0; e < logits.size(); ++e) {
    if (logits[e] < sorted[static_cast<std::size_t>(m.experts->active - 1)]) continue;
    Row read(x.size(), 0.0);
    add_times(read, sigmoid(logits[e]), x);
    add_times(y, 1, network(m, weights, read, Role::gate, Role::up, Role::down, static_cast<Expert>(e)));
  }
  return y;
}

// Every expert computes; those outside the best `active` have no share.
Row sparse(const MlpConfig& m, const ReferenceWeights& weights, const Row& x) {
  Row shares = linear(weights, Role::router, x);
  double sum = 0;
  for (double& share : shares) sum += share = std::exp(share);
  for (double& share : shares) share /= sum;
  Row sorted = shares;
  std::sort(sorted.rbegin(), sorted.rend());
  double chosen = 0;
  for (std::int64_t i = 0; i < m.experts->active; ++i) chosen += sorted[static_cast<std::size_t>(i)];
  Row y(x.size(), 0.0);
  for (std::size_t e = 0; e < shares.size(); ++e) {
    if (shares[e] < sorted[static_cast<std::size_t>(m.experts->active - 1)]) continue;
    add_times(y, m.experts->renormalised ? shares[e] / chosen : shares[e],
              network(m, weights, x, Role::gate, Role::up, Role::down, static_cast<Expert>(e)));
  }
  if (m.experts->shared > 0)
    add_times(y, sigmoid(linear(weights, Role::shared_router, x)[0]),
              network(m, weights, x, Role::shared_gate, Role::shared_up, Role::shared_down));
  return y;
}

// x: what the matrices read.
Row mlp(const MlpConfig& m, const ReferenceWeights& weights, const Row& x) {
  if (m.experts && m.experts->scales_input) return sparse_of_scaled(m, weights, x);
  return m.experts ? sparse(m, weights, x) : network(m, weights, x, Role::gate, Role::up, Role::down);
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

Matrix transposed(const Matrix& matrix) {
  Matrix result(matrix[0].size(), Row(matrix.size()));
  for (std::size_t i = 0; i < matrix.size(); ++i)
    for (std::size_t j = 0; j < matrix[i].size(); ++j) result[j][i] = matrix[i][j];
  return result;
}

// Which of q, k and v row `row` of the tensor that holds them belongs to.
Role fused_role(const AttentionConfig& a, std::int64_t row) {
  const std::int64_t head = row / a.head_dim, group = a.heads / a.kv_heads;
  if (a.layout == QkvLayout::stacked) return head < a.heads ? Role::q : head < a.heads + a.kv_heads ? Role::k : Role::v;
  const std::int64_t place = head % (group + 2);
  return place < group ? Role::q : place == group ? Role::k : Role::v;
}

// Appends row (or, of a bias, element) `from` of a tensor to that of another role.
void move_row(ReferenceWeights& weights, Role from, Role to, Part part, std::size_t row) {
  const Matrix& source = at(weights, from, part);
  Matrix& target = weights[{to, part, -1}];
  if (part == Part::weight) {
    target.push_back(source[row]);
  } else {
    target.resize(1);
    target[0].push_back(source[0][row]);
  }
}

// Gives q, k and v, and gate and up, matrices of their own.
void part_fused(const LayerConfig& layer, ReferenceWeights& weights) {
  for (const Role fused : {Role::qkv, Role::gate_up})
    for (const Part part : {Part::weight, Part::bias}) {
      if (!has(weights, fused, part)) continue;
      const std::size_t count =
          part == Part::weight ? at(weights, fused, part).size() : at(weights, fused, part)[0].size();
      for (std::size_t row = 0; row < count; ++row)
        move_row(weights, fused,
                 fused == Role::qkv ? fused_role(*layer.attention, static_cast<std::int64_t>(row))
                                    : (row < count / 2 ? Role::gate : Role::up),
                 part, row);
    }
}

// Gives every expert matrices of its own, [out, in], of stacks of [in, out].
void part_stacks(const LayerConfig& layer, ReferenceWeights& weights) {
  if (!layer.mlp || !layer.mlp->experts || !layer.mlp->experts->stacked) return;
  const auto experts = static_cast<std::size_t>(layer.mlp->experts->count);
  const Matrix gates = at(weights, Role::stacked_gate_up), downs = at(weights, Role::stacked_down);
  const auto own = [&](const Matrix& stack, std::size_t expert) {
    const auto rows = static_cast<std::ptrdiff_t>(stack.size() / experts);
    const auto first = stack.begin() + rows * static_cast<std::ptrdiff_t>(expert);
    return transposed(Matrix(first, first + rows));
  };
  for (std::size_t e = 0; e < experts; ++e) {
    const auto expert = static_cast<Expert>(e);
    const Matrix both = own(gates, e);
    const auto middle = both.begin() + static_cast<std::ptrdiff_t>(both.size() / 2);
    weights[{Role::gate, Part::weight, expert}] = Matrix(both.begin(), middle);
    weights[{Role::up, Part::weight, expert}] = Matrix(middle, both.end());
    weights[{Role::down, Part::weight, expert}] = own(downs, e);
  }
}

void scale_rows(Matrix& rows, double factor) {
  for (Row& row : rows)
    for (double& value : row) value *= factor;
}

}  // namespace

ReferenceWeights reference_weights(const Checkpoint& checkpoint, const Config& config, std::int64_t layer) {
  ReferenceWeights result;
  const LayerConfig shape = layer < 0 ? LayerConfig() : config.layers[static_cast<std::size_t>(layer)];
  const std::int64_t experts = shape.mlp && shape.mlp->experts ? shape.mlp->experts->count : 0;
  for (int i = 0; i <= static_cast<int>(kLastRole); ++i)
    for (const Part part : {Part::weight, Part::bias})
      for (Expert expert = -1; expert < experts; ++expert) {
        const Role role = static_cast<Role>(i);
        if ((layer < 0) == is_layer_role(role)) continue;
        const TensorInfo* info = find_tensor(checkpoint, config, layer, role, part, expert);
        if (!info) continue;
        const Matrix matrix = stored_matrix(checkpoint, *info);
        result[{role, part, expert}] = is_transposed(config, layer, role, part) ? transposed(matrix) : matrix;
      }
  part_fused(shape, result);
  part_stacks(shape, result);
  return result;
}

ReferenceWeights reference_weights(const LayerWeights& weights) {
  ReferenceWeights result;
  for (const PlacedTensor& tensor : placed_tensors(weights))
    result[{tensor.role, tensor.part, tensor.expert}] = to_matrix(tensor.value);
  part_fused(weights.config, result);
  part_stacks(weights.config, result);
  return result;
}

// OPT-350M: x = norm(x + f(x)), twice.
static Matrix reference_normed_sums(const Config& config, const LayerConfig& layer, const ReferenceWeights& weights,
                                    Matrix x) {
  const Matrix out = attention(config, *layer.attention, weights, x);
  for (std::size_t t = 0; t < x.size(); ++t) {
    add(x[t], out[t]);
    x[t] = norm(config, weights, Role::attention_norm, x[t]);
    add(x[t], mlp(*layer.mlp, weights, x[t]));
    x[t] = norm(config, weights, Role::mlp_norm, x[t]);
  }
  return x;
}

Matrix reference_layer(const Config& config, const LayerConfig& layer, const ReferenceWeights& weights,
                       const Matrix& x) {
  if (layer.residual == Residual::norm_after_sum) return reference_normed_sums(config, layer, weights, x);
  Matrix h = x;
  if (layer.attention) {
    Matrix input;
    for (const Row& row : x) input.push_back(optional_norm(config, weights, Role::attention_norm, row));
    const Matrix out = attention(config, *layer.attention, weights, input);
    for (std::size_t t = 0; t < h.size(); ++t)
      add_times(h[t], config.scale.residual, optional_norm(config, weights, Role::attention_post_norm, out[t]));
  }
  if (!layer.mlp) return h;
  for (std::size_t t = 0; t < h.size(); ++t) {
    const Row& read = layer.residual == Residual::parallel ? x[t] : h[t];
    const Role norm_role = layer.mlp->shared_norm ? Role::attention_norm : Role::mlp_norm;
    const Row out = optional_norm(config, weights, Role::mlp_post_norm,
                                  mlp(*layer.mlp, weights, optional_norm(config, weights, norm_role, read)));
    if (layer.mlp->residual) {
      add_times(h[t], config.scale.residual, out);
    } else {
      h[t] = out;
    }
  }
  return h;
}

std::vector<Matrix> reference_hidden_states(const Checkpoint& checkpoint, const Config& config,
                                            const std::vector<std::int64_t>& ids) {
  const ReferenceWeights ends = reference_weights(checkpoint, config, -1);
  Matrix x;
  for (std::size_t t = 0; t < ids.size(); ++t) {
    Row row = at(ends, Role::token_embedding)[static_cast<std::size_t>(ids[t])];
    for (double& value : row) value *= config.scale.embedding;
    x.push_back(has(ends, Role::project_in) ? linear(ends, Role::project_in, row) : row);
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
  ReferenceWeights ends = reference_weights(checkpoint, config, -1);
  if (config.normalised_head)
    for (Row& row : ends[{Role::head, Part::weight, -1}]) {
      double squares = 0;
      for (const double value : row) squares += value * value;
      for (double& value : row) value /= std::sqrt(squares);
    }
  Matrix logits;
  for (const Row& row : last) {
    Row x = config.final_norm ? norm(config, ends, Role::final_norm, row) : row;
    if (has(ends, Role::project_out)) x = linear(ends, Role::project_out, x);
    logits.push_back(linear(ends, Role::head, x));
  }
  scale_rows(logits, config.scale.logits);
  const double cap = config.scale.logit_softcap;
  for (Row& row : logits)
    for (double& value : row) value = cap != 0 ? cap * std::tanh(value / cap) : value;
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
