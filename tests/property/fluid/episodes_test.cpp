// Episodes that are remembered take, to the tick, the times that solving them again gives.
#include "sim/fluid/episodes.hpp"

#include <catch2/catch.hpp>
#include <memory>
#include <optional>
#include <vector>

#include "sim/core/random.hpp"

namespace moesim {
namespace {

struct PlannedStart {
  std::int64_t after = 0;  ///< the begin, in ticks
  double amount = 0.0;
  double fairness = 1.0;
  std::vector<Use> uses = {};
};
using Script = std::vector<PlannedStart>;  // by time

/// Every episode solved, with a clock of its own.
class Solved {
 public:
  explicit Solved(std::vector<double> capacities) : capacities_(std::move(capacities)) {}

  ActivityId start(SimTime now, double amount, std::span<const Use> uses, double fairness) {
    if (!system_) {
      system_.emplace();
      for (const double capacity : capacities_) {
        system_->add_resource(capacity);
      }
      begin_ = now;
    }
    return system_->start(now - begin_, {.amount = amount, .uses = uses, .fairness = fairness});
  }
  std::optional<SimTime> next_completion() {
    return system_ ? std::optional(begin_ + *system_->next_completion()) : std::nullopt;
  }
  void advance(SimTime to, std::vector<ActivityId>& completed) {
    if (system_) {
      system_->advance(to - begin_, completed);
      if (system_->live_count() == 0) {
        system_.reset();
      }
    }
  }

 private:
  std::vector<double> capacities_;
  std::optional<FluidSystem> system_;
  SimTime begin_;
};

struct Ended {
  SimTime at;
  ActivityId activity;
  bool operator==(const Ended&) const = default;
};

/// Plays the script from `begin` on, until everything has completed.
template <typename System>
std::vector<Ended> play(System& system, const Script& script, SimTime begin) {
  std::vector<Ended> ended;
  std::vector<ActivityId> completed;
  for (std::size_t next_start = 0;;) {
    const SimTime start_at =
        next_start < script.size() ? begin + SimTime::from_ticks(script[next_start].after) : SimTime::never();
    const SimTime now = std::min(start_at, system.next_completion().value_or(SimTime::never()));
    if (now == SimTime::never()) {
      return ended;
    }
    completed.clear();
    system.advance(now, completed);
    for (const ActivityId activity : completed) {
      ended.push_back({now, activity});
    }
    for (; now == start_at && next_start < script.size() && script[next_start].after == (now - begin).ticks();
         ++next_start) {
      const PlannedStart& start = script[next_start];
      system.start(now, start.amount, start.uses, start.fairness);
    }
  }
}

constexpr std::size_t kResources = 6;

Script random_script(RandomStream& random) {
  Script script;
  std::int64_t after = 0;
  const std::size_t starts = 2 + random.below(12);
  for (std::size_t i = 0; i < starts; ++i) {
    after += random.below(2) == 0 ? 0 : static_cast<std::int64_t>(random.below(400'000'000'000));
    PlannedStart start{.after = after, .amount = 1.0 + static_cast<double>(random.below(4))};
    start.fairness = 1.0 + static_cast<double>(random.below(2));
    const std::size_t from = random.below(kResources / 2);
    const std::size_t to = kResources / 2 + random.below(kResources / 2);
    start.uses = {{ResourceId(from), 1.0}, {ResourceId(to), random.below(3) == 0 ? 0.5 : 1.0}};
    script.push_back(start);
  }
  return script;
}

/// The script, or one that leaves it somewhere.
Script like(Script script, RandomStream& random) {
  const std::size_t place = random.below(script.size());
  switch (random.below(10)) {
    case 0:
      script[place].amount *= 1.5;
      break;
    case 1:
      script[place].uses[1].weight *= 2.0;
      break;
    case 2:
      script.resize(place + 1);
      break;
    case 3:
      script.erase(script.begin() + static_cast<std::ptrdiff_t>(place));
      break;
    case 4:
      script[place].fairness *= 3.0;
      break;
    case 5:
      script[place].uses[1].resource = ResourceId(random.below(kResources));
      break;
    case 6:  // from there on later
      for (std::size_t i = place; i < script.size(); ++i) {
        script[i].after += 1'000'000;
      }
      break;
    default:
      break;
  }
  return script;
}

TEST_CASE("What is remembered is what solving gives", "[fluid]") {
  std::uint64_t remembered = 0;
  std::uint64_t all = 0;
  for (std::uint64_t number = 0; number < 200; ++number) {
    CAPTURE(number);
    RandomStream random(29, "episodes", number);
    std::vector<double> capacities;
    for (std::size_t r = 0; r < kResources; ++r) {
      capacities.push_back(4.0 + static_cast<double>(random.below(8)));
    }
    FluidEpisodes episodes(capacities);
    Solved solved(capacities);
    const std::vector<Script> scripts{random_script(random), random_script(random)};
    SimTime begin;
    for (std::size_t round = 0; round < 20; ++round) {
      const Script script = like(scripts[random.below(scripts.size())], random);
      if (script.empty()) {
        continue;
      }
      const std::vector<Ended> expected = play(solved, script, begin);
      REQUIRE(expected.size() == script.size());
      REQUIRE(play(episodes, script, begin) == expected);
      all += script.size();
      begin = expected.back().at + SimTime::from_ticks(static_cast<std::int64_t>(random.below(1'000'000)));
    }
    remembered += episodes.remembered_count();
  }
  CHECK(remembered > all / 5);
  CHECK(remembered < all);
}

TEST_CASE("The third time an episode is not solved", "[fluid]") {
  FluidEpisodes episodes({10.0, 5.0});
  const Script script{{.after = 0, .amount = 10.0, .uses = {{ResourceId(0), 1.0}, {ResourceId(1), 1.0}}},
                      {.after = 0, .amount = 5.0, .uses = {{ResourceId(0), 1.0}}}};
  for (const std::uint64_t times : {0U, 0U, 1U, 2U}) {
    const std::vector<Ended> ended = play(episodes, script, SimTime::from_ticks(7));
    CHECK(ended.back().at == SimTime::from_ticks(7 + 2'000'000'000'000));
    CHECK(episodes.remembered_count() == times * script.size());
  }
}

}  // namespace
}  // namespace moesim
