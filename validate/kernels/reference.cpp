#include "validate/kernels/reference.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "sim/core/error.hpp"

namespace moesim::bench {

double relative_error(std::span<const double> out, std::span<const double> reference) {
  ensure(out.size() == reference.size(), "an output of another size than its reference");
  double difference = 0.0;
  double size = 0.0;
  for (std::size_t i = 0; i < out.size(); ++i) {
    difference += (out[i] - reference[i]) * (out[i] - reference[i]);
    size += reference[i] * reference[i];
  }
  if (std::isnan(difference) || std::isnan(size) || (size == 0.0 && difference > 0.0)) {
    return std::numeric_limits<double>::infinity();
  }
  return size == 0.0 ? 0.0 : std::sqrt(difference / size);
}

double swiglu(double gate, double up) { return gate / (1.0 + std::exp(-gate)) * up; }

void detail::softmax(std::vector<double>& scores) {
  const double most = *std::max_element(scores.begin(), scores.end());
  double sum = 0.0;
  for (double& score : scores) {
    score = std::exp(score - most);
    sum += score;
  }
  for (double& score : scores) {
    score /= sum;
  }
}

Choice choose(std::span<const float> logits, std::span<const float> bias, RouterScore score, int k, int groups,
              int groups_kept, double weight_scale) {
  const std::size_t experts = logits.size();
  const bool sigmoid = score == RouterScore::kSigmoid;
  std::vector<double> share(experts);
  std::vector<double> value(experts);  // what experts are chosen by
  const double most = *std::max_element(logits.begin(), logits.end());
  for (std::size_t e = 0; e < experts; ++e) {
    const double x = logits[e];
    share[e] = sigmoid ? 1.0 / (1.0 + std::exp(-x)) : std::exp(x - most);
    value[e] = sigmoid ? share[e] + static_cast<double>(bias[e]) : x;
  }
  Choice out;
  out.margin = std::numeric_limits<double>::infinity();
  const auto greater = [](const std::vector<double>& of) {
    return [&of](int a, int b) {
      const auto i = static_cast<std::size_t>(a);
      const auto j = static_cast<std::size_t>(b);
      return of[i] > of[j] || (of[i] == of[j] && a < b);
    };
  };
  const auto each = static_cast<std::size_t>(groups);
  if (groups > 1) {
    std::vector<double> strength(each);
    const std::size_t size = experts / each;
    for (std::size_t g = 0; g < each; ++g) {
      std::vector<double> members(value.begin() + static_cast<std::ptrdiff_t>(g * size),
                                  value.begin() + static_cast<std::ptrdiff_t>((g + 1) * size));
      std::partial_sort(members.begin(), members.begin() + 2, members.end(), std::greater<>());
      strength[g] = members[0] + members[1];
    }
    std::vector<int> by_strength(each);
    std::iota(by_strength.begin(), by_strength.end(), 0);
    std::sort(by_strength.begin(), by_strength.end(), greater(strength));
    for (std::size_t place = static_cast<std::size_t>(groups_kept); place < each; ++place) {
      const auto left_out = static_cast<std::size_t>(by_strength[place]);
      std::fill_n(value.begin() + static_cast<std::ptrdiff_t>(left_out * size), size,
                  -std::numeric_limits<double>::infinity());
    }
    if (groups_kept < groups) {
      const auto last = static_cast<std::size_t>(by_strength[static_cast<std::size_t>(groups_kept) - 1]);
      const auto next = static_cast<std::size_t>(by_strength[static_cast<std::size_t>(groups_kept)]);
      out.margin = strength[last] - strength[next];
    }
  }
  std::vector<int> order(experts);
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), greater(value));
  double sum = 0.0;
  for (int j = 0; j < k; ++j) {
    const int expert = order[static_cast<std::size_t>(j)];
    out.experts.push_back(expert);
    out.weights.push_back(share[static_cast<std::size_t>(expert)]);
    sum += out.weights.back();
    if (static_cast<std::size_t>(j) + 1 < experts) {  // the order of those chosen counts too
      const auto here = static_cast<std::size_t>(expert);
      const auto next = static_cast<std::size_t>(order[static_cast<std::size_t>(j) + 1]);
      out.margin = std::min(out.margin, value[here] - value[next]);
    }
  }
  for (double& weight : out.weights) {
    weight = weight / sum * weight_scale;
  }
  return out;
}

std::vector<double> rms_norm(std::span<const double> x, std::span<const double> weight, double epsilon) {
  double sum = 0.0;
  for (const double value : x) {
    sum += value * value;
  }
  const double root = std::sqrt(sum / static_cast<double>(x.size()) + epsilon);
  std::vector<double> out(x.size());
  for (std::size_t i = 0; i < x.size(); ++i) {
    out[i] = x[i] / root * weight[i];
  }
  return out;
}

std::vector<int> stable_order(std::span<const int> chosen) {
  std::vector<int> order(chosen.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
    return chosen[static_cast<std::size_t>(a)] < chosen[static_cast<std::size_t>(b)];
  });
  return order;
}

}  // namespace moesim::bench
