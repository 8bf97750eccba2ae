#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/drawn.hpp"
#include "workloads/routing/routers/entry.hpp"

namespace moesim {

namespace {

struct UniformOptions {
  template <class F>
  static void describe(F&) {}
};

class UniformRouter final : public DrawnRouter {
 public:
  UniformRouter(const UniformOptions&, const RouterContext& context) : DrawnRouter(context.k, context) {
    add_layer(
        std::vector<double>(context.experts, static_cast<double>(context.k) / static_cast<double>(context.experts)));
  }
};

}  // namespace

RouterEntry uniform_router() {
  return router_entry<UniformOptions, UniformRouter>("uniform", "", "every expert as likely, scores do not matter",
                                                     "baseline");
}

}  // namespace moesim
