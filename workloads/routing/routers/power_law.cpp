#include <algorithm>

#include "workloads/routing/drawn_source.hpp"
#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/drawn.hpp"
#include "workloads/routing/routers/entry.hpp"

namespace moesim {

namespace {

struct PowerLawOptions {
  double alpha = 1.01;
  double smallest = 1.0;
  double largest = 3277.0;

  template <class F>
  static void describe(F& f) {
    f.optional("alpha", &PowerLawOptions::alpha, "Exponent; 0: balanced loads", Rules::between(0, 10));
    f.optional("smallest", &PowerLawOptions::smallest, "Smallest load of an expert", Rules::above_zero());
    f.optional("largest", &PowerLawOptions::largest, "Largest load (0.8 times 4,096 tokens)", Rules::above_zero());
  }
};

/// Each layer's loads are drawn once, x = [(b^(1−α) − a^(1−α))·u + a^(1−α)]^(1/(1−α)) between a and b; tokens draw k
/// experts in proportion.
class PowerLawRouter final : public DrawnRouter {
 public:
  PowerLawRouter(const PowerLawOptions& options, const RouterContext& context) : DrawnRouter(context.k, context) {
    expect_router(options.smallest <= options.largest, context, "expected smallest up to largest, found it above");
    for (std::size_t layer = 0; layer < std::max<std::size_t>(context.layers, 1); ++layer) {
      RandomStream random(context.seed, "router.power-law", layer);
      add_layer(inclusion_from_loads(
          power_law_loads(options.alpha, options.smallest, options.largest, context.experts, random), context.k));
    }
  }
};

}  // namespace

RouterEntry power_law_router() {
  return router_entry<PowerLawOptions, PowerLawRouter>("power-law", "",
                                                       "experts' loads by a power law, scores do not matter",
                                                       "ai-dynamo/aiconfigurator, collector's power-law logits");
}

}  // namespace moesim
