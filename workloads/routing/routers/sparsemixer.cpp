#include <algorithm>
#include <cmath>
#include <limits>

#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/entry.hpp"
#include "workloads/routing/routers/gate.hpp"

namespace moesim {

namespace {

struct SparseMixerOptions {
  double jitter = 0.01;

  template <class F>
  static void describe(F& f) {
    f.optional("jitter", &SparseMixerOptions::jitter, "Half of the relative distance within which experts compete",
               Rules::between(0, 1));
  }
};

/// Two experts one after the other. Among the experts left, those with (max − s)/max(|s|, |max|) > 2·jitter are out of
/// the race; the expert is the best (inference) or drawn by Gumbel noise among the rest (training), its weight the
/// softmax over the rest. Then that expert is struck out and the second found likewise.
class SparseMixer final : public TokenRouter {
 public:
  SparseMixer(const SparseMixerOptions& options, const RouterContext&) : options_(options) {}

  void route(const RouterInput& input, RandomStream& random, RoutedTokens& out) const override {
    out.reset(input, std::min<std::size_t>(2, input.experts));
    out.choices = out.experts.size();
    std::vector<float> left(input.experts);
    std::vector<float> racing(input.experts);
    for (std::size_t t = 0; t < input.tokens; ++t) {
      const auto row = input.scores.subspan(t * input.experts, input.experts);
      std::copy(row.begin(), row.end(), left.begin());
      for (std::size_t slot = 0; slot < out.slots; ++slot) {
        race(row, left, racing);
        std::size_t winner = best_expert(left);
        if (input.phase == RouterPhase::kTraining) {
          std::vector<float> noisy(racing);
          for (float& logit : noisy) {
            logit -= static_cast<float>(std::log(random.exponential() + 1e-300));  // a Gumbel variate
          }
          winner = best_expert(noisy);
        }
        out.experts[t * out.slots + slot] = static_cast<ExpertIndex>(winner);
        if (!out.weights.empty()) {
          softmax(racing, racing);
          out.weights[t * out.slots + slot] = racing[winner];
        }
        left[winner] = -std::numeric_limits<float>::infinity();
      }
    }
  }

 private:
  void race(std::span<const float> scores, std::span<const float> left, std::span<float> racing) const {
    const float best = left[best_expert(left)];
    for (std::size_t e = 0; e < scores.size(); ++e) {
      const float scale = std::max(std::abs(scores[e]), std::abs(best));
      const bool out = left[e] < best && (best - left[e]) > 2.0 * options_.jitter * scale;
      racing[e] = out ? -std::numeric_limits<float>::infinity() : left[e];
    }
  }

  SparseMixerOptions options_;
};

}  // namespace

RouterEntry sparsemixer_router() {
  return router_entry<SparseMixerOptions, SparseMixer>(
      "sparsemixer", "phi-3.5", "two experts one after the other, each with the softmax among close rivals",
      "SparseMixer-v2, GRIN, arXiv 2409.12136; transformers, modeling_phimoe");
}

}  // namespace moesim
