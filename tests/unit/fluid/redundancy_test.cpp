// Which constraints the others imply.
#include "sim/fluid/redundancy.hpp"

#include <catch2/catch.hpp>
#include <limits>
#include <vector>

namespace moesim::fluid {
namespace {

constexpr double kNone = std::numeric_limits<double>::infinity();

UseTable make_table(const std::vector<double>& capacities, const std::vector<double>& caps,
                    const std::vector<std::vector<UseTable::Use>>& flows) {
  UseTable table;
  table.capacity = capacities;
  table.cap = caps;
  table.first_use.push_back(0);
  for (const auto& uses : flows) {
    table.uses.insert(table.uses.end(), uses.begin(), uses.end());
    table.first_use.push_back(static_cast<std::uint32_t>(table.uses.size()));
  }
  table.index_users();
  return table;
}

TEST_CASE("A trunk as wide as its ports together cannot bind, a narrower one can", "[fluid]") {
  // Ports 0 and 1 (C = 50), trunk 2; two flows a port, all over the trunk: Σ x ≤ 50 + 50.
  const std::vector<std::vector<UseTable::Use>> flows{
      {{0, 1.0}, {2, 1.0}}, {{0, 1.0}, {2, 1.0}}, {{1, 1.0}, {2, 1.0}}, {{1, 1.0}, {2, 1.0}}};
  UseTable wide = make_table({50.0, 50.0, 100.0}, {kNone, kNone, kNone, kNone}, flows);
  drop_redundant(wide);
  CHECK(wide.capacity == std::vector{50.0, 50.0});
  UseTable narrow = make_table({50.0, 50.0, 99.0}, {kNone, kNone, kNone, kNone}, flows);
  drop_redundant(narrow);
  CHECK(narrow.capacity == std::vector{50.0, 50.0, 99.0});
}

TEST_CASE("Of two constraints that imply each other one stays", "[fluid]") {
  UseTable table = make_table({50.0, 50.0}, {kNone, kNone}, {{{0, 1.0}, {1, 1.0}}, {{0, 1.0}, {1, 1.0}}});
  drop_redundant(table);
  CHECK(table.capacity == std::vector{50.0});
  CHECK(table.uses_of(0).size() == 1);
  CHECK(table.users_of(0).size() == 2);
}

TEST_CASE("Weights scale what a cover allows", "[fluid]") {
  // x ≤ 10 by resource 0; resource 1 takes 3·x ≤ 30: implied by C = 30, not by C = 29.
  UseTable loose = make_table({10.0, 30.0}, {kNone, kNone}, {{{0, 1.0}, {1, 3.0}}, {{0, 1.0}, {1, 3.0}}});
  drop_redundant(loose);
  CHECK(loose.capacity.size() == 1);
  UseTable tight = make_table({10.0, 29.0}, {kNone, kNone}, {{{0, 1.0}, {1, 3.0}}, {{0, 1.0}, {1, 2.0}}});
  drop_redundant(tight);
  CHECK(tight.capacity.size() == 2);
}

TEST_CASE("Caps imply a resource, and a resource a cap", "[fluid]") {
  // Caps 4 and 5 keep C = 9 from binding.
  UseTable capped = make_table({9.0}, {4.0, 5.0}, {{{0, 1.0}}, {{0, 1.0}}});
  drop_redundant(capped);
  CHECK(capped.capacity.empty());
  CHECK(capped.cap == std::vector{4.0, 5.0});
  // 2·x ≤ 9 leaves a cap of 5 nothing to do.
  UseTable cap = make_table({9.0}, {5.0, 4.0}, {{{0, 2.0}}, {{0, 2.0}}});
  drop_redundant(cap);
  CHECK(cap.capacity.size() == 1);
  CHECK(cap.cap == std::vector{kNone, 4.0});
}

TEST_CASE("The one constraint of an activity stays, whichever way it is stated", "[fluid]") {
  // The cap of 9 is dropped for the resource of 9; the resource may then not lean on it.
  UseTable table = make_table({9.0}, {9.0}, {{{0, 1.0}}});
  drop_redundant(table);
  CHECK((table.capacity.size() == 1 || table.cap[0] == 9.0));
}

}  // namespace
}  // namespace moesim::fluid
