#include "sim/fluid/dense_levels.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sim/fluid/noise.hpp"

namespace moesim::fluid {
namespace {

/// By how much of its capacity a link may be over or under when the sweeps end.
constexpr double kTolerance = 1e-3;
constexpr int kMaxSweeps = 40;

constexpr double kBindsNobody = kInfinity;  ///< the level of a link that binds nobody
constexpr float kSame = 1e-6F;              ///< so much of an amount, or of a level, is noise
constexpr int kMaxSteps = 20;               ///< of a row's own level; two or three do
constexpr double kMostOwed = 0.01;          ///< of a capacity, that a window makes up for the one before it
constexpr double kTangent = 0.7;            ///< between the tangent and a level that is certainly above the root
constexpr double kHoldsMost = 2.0;          ///< of what each would have if all had the same
/// Links that are further off may have this part of the live flows, as long as they are near, or many sweeps did not
/// bring them there.
constexpr double kWrong = 3e-3;
constexpr double kNear = 0.005;
constexpr int kManySweeps = 12;
constexpr double kSparse = 0.8;                                ///< of the flows of before left: empty packs are dropped
constexpr float kInstant = std::numeric_limits<float>::max();  ///< times what is left: no limit, but where nothing is

}  // namespace

DenseLevels::DenseLevels(const Component& component)
    : component_(component),
      kernels_(lane_kernels()),
      packed_(component),
      target_(component.capacity),
      owed_(target_.size(), 0.0),
      owing_(target_.size(), 0.0),
      level_(target_.size(), kBindsNobody),
      before_(level_),
      elsewhere_(target_.size(), 0.0),
      here_(target_.size(), 0.0),
      users_(target_.size(), 0),
      alone_(target_.size(), 0),
      tail_level_(packed_.tails(), kNoLevel),
      tail_elsewhere_(packed_.tails(), 0.0F),
      tail_here_(packed_.tails(), 0.0F),
      head_level_(packed_.head_count(), kNoLevel) {
  for (const Row& row : packed_.rows()) {
    alone_[row.link] = static_cast<char>(row.alone);
  }
}

void DenseLevels::begin(std::uint32_t flow) {
  packed_.begin(flow, component_.amount[flow]);
  ++live_;
  for (const std::uint32_t link : component_.links_of(flow)) {
    ++users_[link];
  }
}

float DenseLevels::least_level(std::span<const std::uint32_t> links) const {
  double least = kBindsNobody;
  for (const std::uint32_t link : links) {
    least = std::min(least, level_[link]);
  }
  return static_cast<float>(least);
}

void DenseLevels::take_levels() {
  for (std::size_t tail = 0; tail < tail_level_.size(); ++tail) {
    tail_level_[tail] = least_level(packed_.tail(tail));
  }
  for (const Row& row : packed_.rows()) {
    for (std::size_t head = row.first_head; head < row.first_head + row.heads; ++head) {
      head_level_[head] = least_level(packed_.heads(row)[head - row.first_head].links.subspan(1));
    }
  }
}

/// The sums of flows that are held at `level` by the lowest of these links, if by one of these.
void DenseLevels::add_sums(std::span<const std::uint32_t> links, float level, const Sums& sums) {
  for (const std::uint32_t link : links) {
    const bool lowest = static_cast<float>(level_[link]) == level;
    elsewhere_[link] += sums.held_elsewhere;
    (lowest ? here_ : elsewhere_)[link] += lowest ? sums.held_here : sums.held_here * static_cast<double>(level);
  }
}

/// A row's own level, if all flows of its link are in it, and the row's part of all sums.
void DenseLevels::solve_row(const Row& row, float inverse_length) {
  const std::span<const Head> heads = packed_.heads(row);
  double& level = level_[row.link];
  const double capacity = target_[row.link];
  const double least = capacity / users_[row.link];
  if (row.alone && level == kBindsNobody) {
    level = least;
  }
  Sums own;
  std::size_t packs = 0;
  for (std::size_t i = 0; i < heads.size(); ++i) {
    const Sums sums = kernels_.limits(packed_.packs(heads[i], packs), tail_level_.data(), inverse_length,
                                      head_level_[row.first_head + i], static_cast<float>(level));
    own.held_elsewhere += sums.held_elsewhere;
    own.held_here += sums.held_here;
    packs += heads[i].packs;
  }
  for (int i = 0; row.alone && i < kMaxSteps; ++i) {
    if (own.held_here == 0.0 && own.held_elsewhere <= capacity) {
      break;
    }
    const double next = own.held_here == 0.0 ? least : std::max(least, (capacity - own.held_elsewhere) / own.held_here);
    if (std::abs(next - level) <= kSame * level) {
      break;
    }
    level = next;
    own = kernels_.sums(packed_.limits(), packs, static_cast<float>(level));
  }
  elsewhere_[row.link] += own.held_elsewhere;
  here_[row.link] += own.held_here;
  const Tails tails{tail_level_.data(), tail_elsewhere_.data(), tail_here_.data()};
  packs = 0;
  for (std::size_t i = 0; i < heads.size(); ++i) {
    const float between = head_level_[row.first_head + i];
    const Sums sums = kernels_.scatter(packed_.packs(heads[i], packs), tails, between, static_cast<float>(level));
    add_sums(heads[i].links.subspan(1), between, sums);
    packs += heads[i].packs;
  }
}

/// One step for a link that is not first for all its flows. Returns by what part of its capacity it is off at the
/// present level. The tangent ends below the root, by much where few are held; from above it, u·C/F(u) is above the
/// root, since F is concave: something between them keeps the sweeps from swinging. Far above what it could hold back,
/// a link that has too much goes where it would hold back most.
double DenseLevels::step(std::size_t link) {
  const auto [elsewhere, here] = sums(static_cast<std::uint32_t>(link));
  double& level = level_[link];
  const double capacity = target_[link];
  const double load = here > 0.0 ? elsewhere + here * level : elsewhere;
  const double least = capacity / users_[link];  // all alike: never above the root
  if (here == 0.0 && load <= capacity) {
    return 0.0;  // holds nobody back
  }
  const double tangent = here > 0.0 ? std::max((capacity - elsewhere) / here, least) : least;
  if (load <= capacity) {
    level = tangent;
  } else if (level == kBindsNobody) {
    level = least;
  } else {
    level = kTangent * tangent + (1.0 - kTangent) * level * (capacity / load);
    if (here == 0.0) {
      level = std::min(level, kHoldsMost * least);
    }
  }
  return std::abs(load / capacity - 1.0);
}

void DenseLevels::sweep(float inverse_length) {
  take_levels();
  std::fill(elsewhere_.begin(), elsewhere_.end(), 0.0);
  std::fill(here_.begin(), here_.end(), 0.0);
  std::fill(tail_elsewhere_.begin(), tail_elsewhere_.end(), 0.0F);
  std::fill(tail_here_.begin(), tail_here_.end(), 0.0F);
  for (const Row& row : packed_.rows()) {
    if (row.live > 0) {
      solve_row(row, inverse_length);
    }
  }
  for (std::size_t tail = 0; tail < tail_level_.size(); ++tail) {
    add_sums(packed_.tail(tail), tail_level_[tail], {tail_elsewhere_[tail], tail_here_[tail]});
  }
}

/// Steps for all links that are not first for all their flows.
DenseLevels::Wrong DenseLevels::step_all() {
  Wrong wrong;
  for (std::size_t link = 0; link < target_.size(); ++link) {
    if (alone_[link] != 0 || users_[link] == 0) {
      continue;
    }
    const bool unbound = level_[link] == kBindsNobody;
    const double off = step(link);
    if (off > kTolerance) {
      wrong.flows += users_[link];
      wrong.worst = std::max(wrong.worst, unbound ? kBindsNobody : off);  // its flows would be through at once
    }
  }
  return wrong;
}

void DenseLevels::solve(double length) {
  const double inverse_length = length > 0.0 ? 1.0 / length : 0.0;
  for (std::size_t link = 0; link < target_.size(); ++link) {
    const double most = kMostOwed * component_.capacity[link];
    target_[link] = component_.capacity[link] + std::clamp(owed_[link] * inverse_length, -most, most);
  }
  for (int i = 1;; ++i) {
    before_ = level_;
    sweep(length > 0.0 ? static_cast<float>(inverse_length) : kInstant);
    const Wrong wrong = step_all();
    const bool near = wrong.worst <= kNear || (i >= kManySweeps && wrong.worst < kBindsNobody);
    if ((near && wrong.flows <= kWrong * static_cast<double>(live_)) || i == kMaxSweeps) {
      break;
    }
  }
  // The levels that the sums are for.
  for (std::size_t link = 0; link < target_.size(); ++link) {
    if (alone_[link] == 0) {
      level_[link] = before_[link];
    }
    const double load = here_[link] > 0.0 ? elsewhere_[link] + here_[link] * level_[link] : elsewhere_[link];
    const bool binds = here_[link] > 0.0 || load > target_[link];
    owing_[link] = binds ? (target_[link] - load) * length : 0.0;
  }
}

double DenseLevels::least_time() {
  double least = kBindsNobody;
  for (const Row& row : packed_.rows()) {
    const auto own = static_cast<float>(level_[row.link]);
    for (std::size_t i = 0; i < row.heads; ++i) {
      const Head& head = packed_.heads(row)[i];
      const Packs packs = packed_.packs(head);
      const float most = std::min(own, head_level_[row.first_head + i]);
      for (std::size_t place = 0; place < kLanes * packs.count; ++place) {
        if (packs.left[place] > 0.0F) {
          const float rate = std::min(most, tail_level_[kLanes * packs.tails[place / kLanes] + place % kLanes]);
          least = std::min(least, static_cast<double>(packs.left[place] / rate));
        }
      }
    }
  }
  return least;
}

std::size_t DenseLevels::ends(double length) {
  std::size_t count = 0;
  for (const Row& row : packed_.rows()) {
    const auto own = static_cast<float>(level_[row.link]);
    for (std::size_t i = 0; row.live > 0 && i < row.heads; ++i) {
      count += kernels_.ends(packed_.packs(packed_.heads(row)[i]), tail_level_.data(),
                             std::min(own, head_level_[row.first_head + i]), static_cast<float>(length));
    }
  }
  return count;
}

void DenseLevels::advance(double length, std::vector<Ending>& endings) {
  owed_ = owing_;
  const std::size_t before = endings.size();
  for (Row& row : packed_.rows()) {
    const auto own = static_cast<float>(level_[row.link]);
    for (std::size_t i = 0; row.live > 0 && i < row.heads; ++i) {
      const Head& head = packed_.heads(row)[i];
      places_.resize(std::max(places_.size(), kLanes * head.packs));
      had_.resize(places_.size());
      const std::size_t through =
          kernels_.advance(packed_.packs(head), tail_level_.data(), std::min(own, head_level_[row.first_head + i]),
                           static_cast<float>(length), kSame, places_.data(), had_.data());
      for (std::size_t k = 0; k < through; ++k) {
        endings.push_back({packed_.flow(head, places_[k]), static_cast<std::uint32_t>(row.first_head + i),
                           packed_.tail_of(head, places_[k]), had_[k]});
      }
      row.live -= through;
    }
  }
  live_ -= endings.size() - before;
  if (packed_.to_begin() == 0 && static_cast<double>(live_) < kSparse * static_cast<double>(at_compaction_)) {
    packed_.compact();
    at_compaction_ = live_;
  }
}

}  // namespace moesim::fluid
