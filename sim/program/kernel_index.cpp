#include "sim/program/kernel_index.hpp"

#include <functional>
#include <utility>
#include <variant>

namespace moesim {

namespace {

/// Of what tells the kernels of a step apart; the rest of their fields is compared.
class Hash {
 public:
  void operator()(const Gemm& k) { add(k.m, k.n, k.k, k.batch); }
  void operator()(const GroupedGemm& k) { add(k.rows, k.n, k.k); }
  void operator()(const ContextAttention& k) { add(k.sequences, k.query, k.keys, k.heads); }
  void operator()(const ContextAttentionBackward& k) { (*this)(k.forward); }
  void operator()(const GenerationAttention& k) { add(k.sequences, k.query, k.keys, k.heads); }
  void operator()(const LatentGenerationAttention& k) { add(k.sequences, k.query, k.keys, k.heads); }
  void operator()(const Streaming& k) { add(k.read.base(), k.written.base()); }
  void operator()(const IndexScores& k) { add(k.sequences, k.query, k.keys, k.heads); }
  void operator()(const Experts& k) { add(k.rows, k.tokens); }

  [[nodiscard]] std::size_t value() const { return value_; }

 private:
  template <class... T>
  void add(const T&... values) {
    (mix(values), ...);
  }
  template <class T>
  void mix(const T& value) {  // boost::hash_combine, for 64 bits
    value_ ^= std::hash<T>{}(value) + 0x9e3779b97f4a7c15ULL + (value_ << 12) + (value_ >> 4);
  }
  void mix(const std::vector<std::int64_t>& values) {
    for (const std::int64_t value : values) {
      mix(value);
    }
  }

  std::size_t value_ = 0;
};

}  // namespace

std::uint32_t KernelIndex::place(Kernel kernel) {
  Hash hash;
  std::visit(hash, kernel);
  const auto [first, last] = places_.equal_range(hash.value());
  for (auto known = first; known != last; ++known) {
    if (kernels_[known->second] == kernel) {
      return known->second;
    }
  }
  const auto place = static_cast<std::uint32_t>(kernels_.size());
  kernels_.push_back(std::move(kernel));
  places_.emplace(hash.value(), place);
  return place;
}

}  // namespace moesim
