#include <algorithm>
#include <numeric>

#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/entry.hpp"
#include "workloads/routing/routers/gate.hpp"

namespace moesim {

namespace {

struct SoftOptions {
  template <class F>
  static void describe(F&) {}
};

/// Every expert computes every token: y = Σ_e softmax(s)_e · expert_e(x).
class SoftRouter final : public TokenRouter {
 public:
  SoftRouter(const SoftOptions&, const RouterContext&) {}

  void route(const RouterInput& input, RandomStream&, RoutedTokens& out) const override {
    out.reset(input, input.experts);
    out.choices = out.experts.size();
    for (std::size_t t = 0; t < input.tokens; ++t) {
      const std::span row(out.experts.data() + t * input.experts, input.experts);
      std::iota(row.begin(), row.end(), ExpertIndex{0});
      if (!out.weights.empty()) {
        softmax(input.scores.subspan(t * input.experts, input.experts),
                std::span(out.weights).subspan(t * input.experts, input.experts));
      }
    }
  }
};

}  // namespace

RouterEntry soft_router() {
  return router_entry<SoftOptions, SoftRouter>("soft", "", "every expert for every token, weighted by softmax: dense",
                                               "Jacobs, Jordan, Nowlan and Hinton 1991, Adaptive mixtures of local "
                                               "experts");
}

}  // namespace moesim
