#include "models/kernels/surface.hpp"

#include <catch2/catch.hpp>
#include <vector>

#include "models/kernels/fit_query.hpp"
#include "sim/core/random.hpp"

namespace moesim {
namespace {

/// Of two features: knots at 2 and 3 of feature 1, at 0, 2 and 4 of feature 0.
Surface small() {
  return {{{.feature = 1, .step = 1.0, .first = 2, .knots = 2}, {.feature = 0, .step = 2.0, .first = 0, .knots = 3}},
          {0.0, 0.1, 0.2, 0.4, 0.6, 1.0}};
}

TEST_CASE("a surface is linear between its knots along each axis and constant beyond them") {
  const Surface surface = small();
  const auto at = [&](double first, double second) { return surface.at(std::vector<double>{first, second}); };
  CHECK(at(0.0, 2.0) == Approx(0.0).margin(1e-9));
  CHECK(at(2.0, 3.0) == Approx(0.6).margin(1e-3));
  CHECK(at(3.0, 2.0) == Approx(0.15).margin(1e-3));  // half-way from 0.1 to 0.2
  // A quarter on from 2 to 3, half-way from 0 to 2: 3/4·(0 + 0.1)/2 + 1/4·(0.4 + 0.6)/2 = 0.1625.
  CHECK(at(1.0, 2.25) == Approx(0.1625).margin(1e-3));
  CHECK(at(9.0, 9.0) == Approx(1.0).margin(1e-3));
  CHECK(at(-9.0, -9.0) == Approx(0.0).margin(1e-9));
}

TEST_CASE("the shares of the knots around a place sum to one") {
  const std::vector<Surface::Axis> axes{{0, 1.0, 0, 5}, {1, 0.5, 3, 7}, {2, 2.0, 1, 1}, {3, 1.0, 0, 2}};
  RandomStream random(3, "surface");
  for (int i = 0; i < 200; ++i) {
    const std::vector<double> place{8.0 * random.uniform() - 1.0, 6.0 * random.uniform(), 9.0 * random.uniform(),
                                    random.uniform()};
    const Surface::Corners around = Surface::corners(axes, place);
    double sum = 0.0;
    for (std::size_t c = 0; c < around.count; ++c) {
      CHECK(around.share[c] >= 0.0);
      CHECK(around.knot[c] < 5 * 7 * 1 * 2);
      sum += around.share[c];
    }
    CHECK(sum == Approx(1.0));
  }
}

TEST_CASE("a surface survives its text, and half a text is refused") {
  constexpr FitFamily kFamily = FitFamily::kLatentGenerationAttention;
  std::vector<Surface::Axis> axes;
  std::size_t knots = 1;
  for (const SurfaceAxis& axis : surface_axes(kFamily)) {
    axes.push_back({axis.feature, axis.step, 1, 3});
    knots *= 3;
  }
  RandomStream random(5, "surface text");
  std::vector<double> values;
  for (std::size_t i = 0; i < knots; ++i) {
    values.push_back(4.0 * random.uniform() - 2.0);
  }
  const Surface surface(axes, values);
  const std::string text = surface.text();
  CHECK(text.size() == 2 * axes.size() + 3 * knots);  // two digits an axis, three a value
  Surface read;
  REQUIRE(Surface::parse(text, kFamily, read));
  for (int i = 0; i < 100; ++i) {
    std::vector<double> place(feature_names(kFamily).size());
    for (double& value : place) {
      value = 5.0 * random.uniform();
    }
    CHECK(read.at(place) == surface.at(place));
  }
  CHECK_FALSE(Surface::parse(text.substr(0, text.size() - 1), kFamily, read));
  CHECK_FALSE(Surface::parse(text + "0", kFamily, read));
  CHECK_FALSE(Surface::parse("1", kFamily, read));
  CHECK_FALSE(Surface::parse(text, FitFamily::kGemm, read));  // has no axes
  CHECK(Surface::parse("", FitFamily::kGemm, read));
  CHECK(read.at(std::vector<double>(16, 1.0)) == 0.0);
}

TEST_CASE("latent attention over prompts expects whole tiles and what each token costs") {
  const Accelerator h200 = find_accelerator("h200-sxm", {});
  const auto of = [&](ContextAttention attention) { return fit_query(attention, h200); };
  const ContextAttention one{.sequences = 8,
                             .query = 1024,
                             .keys = 1024,
                             .heads = 128,
                             .kv_heads = 128,
                             .qk_head_dim = 192,
                             .v_head_dim = 128};
  // 8 rows of tiles and 8·9/2 = 36 tiles of 128² pairs for each of 1024 heads: 2·320 FLOP a pair; 8192 tokens of
  // 576·6 B.
  const double work = 1024.0 * 36.0 * 128.0 * 128.0 * 640.0 / h200.peak.at(DataType::kBf16).base();
  const double tokens = 8192.0 * 576.0 * 6.0 / h200.memory_bandwidth.base();
  CHECK(of(one).expected.base() == Approx(work + tokens).epsilon(1e-9));

  // One head: the last row's eight tiles bind, one compute unit of all.
  ContextAttention single = one;
  single.sequences = single.heads = single.kv_heads = 1;
  const double last = h200.compute_units * 8.0 * 128.0 * 128.0 * 640.0 / h200.peak.at(DataType::kBf16).base();
  CHECK(of(single).expected.base() == Approx(last + tokens / 8.0).epsilon(1e-9));

  // Absorbed: 2·1088 FLOP for each of q·(q + 1)/2 pairs, and 4 ns for each token.
  ContextAttention absorbed = one;
  absorbed.kv_heads = 1;
  absorbed.qk_head_dim = 576;
  absorbed.v_head_dim = 512;
  const double latent = 1024.0 * 1024.0 * 1025.0 / 2.0 * 2176.0 / h200.peak.at(DataType::kBf16).base();
  CHECK(of(absorbed).expected.base() == Approx(latent + 8192.0 * 4e-9).epsilon(1e-9));
}

}  // namespace
}  // namespace moesim
