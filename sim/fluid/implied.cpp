#include "sim/fluid/implied.hpp"

#include "sim/fluid/cover.hpp"

namespace moesim::fluid {
namespace {

/// Of the uses on one side of another, the one that lets a flow have least: least C/w.
struct Narrowest {
  std::uint32_t link = 0;
  double rate = 0.0;  ///< C/w
};

/// The covers of every resource: by the narrowest before it on each route, and by the narrowest behind it.
class Covers {
 public:
  explicit Covers(std::span<const double> capacities)
      : capacities_(capacities), before_(capacities.size()), behind_(capacities.size()) {}

  void add(std::span<const Use> uses) {
    pass(uses, before_, 0, 1);
    pass(uses, behind_, uses.size() - 1, -1);
  }

  /// In the order of resources: one goes if all that cover it are to stay.
  std::vector<char> binding(std::span<const char> used) const {
    std::vector<char> stays(used.begin(), used.end());
    std::vector<char> needed(used.size(), 0);
    for (std::size_t link = 0; link < stays.size(); ++link) {
      for (const Cover* cover : {&before_[link].cover, &behind_[link].cover}) {
        if (stays[link] != 0 && needed[link] == 0 && holds(*cover, stays)) {
          stays[link] = 0;
          for (const Cover::Member& member : cover->members()) {
            needed[member.link] = 1;
          }
        }
      }
    }
    return stays;
  }

 private:
  struct Side {
    Cover cover;
    std::uint32_t last = UINT32_MAX;  ///< the member seen last, and with which rate: routes come in runs
    double allowed = 0.0;
  };

  static bool holds(const Cover& cover, std::span<const char> stays) {
    return !cover.failed() && std::all_of(cover.members().begin(), cover.members().end(),
                                          [&](const Cover::Member& member) { return stays[member.link] != 0; });
  }

  void pass(std::span<const Use> uses, std::vector<Side>& sides, std::size_t from, int step) {
    const auto rate = [&](const Use& use) { return capacities_[use.resource.index()] / use.weight; };
    sides[uses[from].resource.index()].cover.fail();
    Narrowest narrowest{static_cast<std::uint32_t>(uses[from].resource.index()), rate(uses[from])};
    for (std::size_t i = 1; i < uses.size(); ++i) {
      from += step;
      const Use& use = uses[from];
      const auto link = static_cast<std::uint32_t>(use.resource.index());
      Side& side = sides[link];
      const double allowed = narrowest.rate * use.weight;
      if (!side.cover.failed() && (side.last != narrowest.link || allowed > side.allowed)) {
        side.cover.extend(narrowest.link, allowed, capacities_[link]);
        side.last = narrowest.link;
        side.allowed = allowed;
      }
      if (rate(use) < narrowest.rate) {
        narrowest = {link, rate(use)};
      }
    }
  }

  std::span<const double> capacities_;
  std::vector<Side> before_, behind_;
};

}  // namespace

std::vector<char> binding_resources(std::span<const double> capacities, std::span<const KnownFlow> flows) {
  Covers covers(capacities);
  std::vector<char> used(capacities.size(), 0);
  for (const KnownFlow& flow : flows) {
    covers.add(flow.uses);
    for (const Use& use : flow.uses) {
      used[use.resource.index()] = 1;
    }
  }
  return covers.binding(used);
}

}  // namespace moesim::fluid
