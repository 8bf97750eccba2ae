#include "sim/fluid/dense_levels.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace moesim::fluid {
namespace {

constexpr std::uint32_t kNoRow = UINT32_MAX;
/// By how much of its capacity a link may be over or under when the sweeps end.
constexpr double kTolerance = 1e-3;
constexpr int kMaxSweeps = 40;

constexpr double kSame = 1e-12;          ///< so much of an amount is noise
constexpr int kMaxSteps = 20;            ///< of a row's own level; two or three do
constexpr double kMostOwed = 0.01;       ///< of a capacity, that a window makes up for the one before it
constexpr std::size_t kShortestRun = 6;  ///< on the average; below, flow by flow is as fast
constexpr double kCompact = 0.9;
/// Links that are further off may have this part of the live flows: those are few, of links that are nearly through.
constexpr double kWrong = 3e-3;
constexpr double kSparse = 0.15;  ///< of the places live: gathering them is faster than to look at all

}  // namespace

DenseLevels::DenseLevels(std::vector<double> capacities)
    : kernels_(run_kernels()),
      capacity_(std::move(capacities)),
      target_(capacity_),
      owed_(capacity_.size(), 0.0),
      owing_(capacity_.size(), 0.0),
      level_(capacity_.size() + 1, kNoLimit),
      elsewhere_(capacity_.size() + 1, 0.0),
      here_(capacity_.size() + 1, 0.0),
      users_(capacity_.size() + 1, 0),
      only_first_(capacity_.size(), 1),
      row_of_(capacity_.size(), kNoRow) {}

void DenseLevels::count(std::span<const std::uint32_t> links) {
  std::uint32_t& row = row_of_[links[0]];
  if (row == kNoRow) {
    row = static_cast<std::uint32_t>(rows_.size());
    rows_.push_back({.link = links[0]});
  }
  ++rows_[row].places;
  rows_[row].others = std::max(rows_[row].others, static_cast<std::uint32_t>(links.size() - 1));
  for (const std::uint32_t link : links.subspan(1)) {
    only_first_[link] = 0;
  }
}

void DenseLevels::counted() {
  std::size_t others = 0;
  std::size_t longest = 0;
  for (Row& row : rows_) {
    row.begin = places_;
    row.begin_other = others;
    places_ += row.places;
    others += row.places * row.others;
    longest = std::max(longest, row.places);
    row.places = 0;
  }
  left_.assign(places_, 0.0);
  flow_.resize(places_);
  place_.resize(places_);
  other_.resize(others);
  limit_.resize(longest);
  to_begin_ = places_;
}

void DenseLevels::place(std::uint32_t flow, std::span<const std::uint32_t> links) {
  Row& row = rows_[row_of_[links[0]]];
  const std::size_t at = row.begin + row.places;
  flow_[at] = flow;
  place_[flow] = static_cast<std::uint32_t>(at);
  std::uint32_t* others = other_.data() + row.begin_other + row.places * row.others;
  for (std::size_t i = 0; i < row.others; ++i) {
    others[i] = i + 1 < links.size() ? links[i + 1] : static_cast<std::uint32_t>(capacity_.size());
  }
  ++row.places;
}

/// Finds the runs.
void DenseLevels::placed() {
  for (Row& row : rows_) {
    row.first_run = runs_.size();
    const std::uint32_t* const other = other_.data() + row.begin_other;
    for (std::size_t i = 0; i < row.places; ++i) {
      const std::uint32_t* const links = other + i * row.others;
      const bool first = i == 0;
      Run* const run = first ? nullptr : &runs_.back();
      RunLink* const run_links = first ? nullptr : run_links_.data() + run->first_link;
      const auto follows = [&] {
        for (std::size_t k = 0; k < row.others; ++k) {
          const std::uint32_t stride = run->count == 1 ? links[k] - run_links[k].link : run_links[k].stride;
          if (stride > 1 || links[k] != run_links[k].link + stride * run->count) {
            return false;
          }
        }
        return true;
      };
      if (!first && follows()) {
        for (std::size_t k = 0; k < row.others; ++k) {
          run_links[k].stride = links[k] == run_links[k].link ? 0 : 1;
        }
        ++run->count;
        continue;
      }
      runs_.push_back({static_cast<std::uint32_t>(i), 1, static_cast<std::uint32_t>(run_links_.size())});
      for (std::size_t k = 0; k < row.others; ++k) {
        run_links_.push_back({links[k], 0});
      }
    }
    row.runs = runs_.size() - row.first_run;
  }
  layout_ = kShortestRun * runs_.size() <= places_ ? Layout::kRuns : Layout::kGather;
}

void DenseLevels::begin(std::uint32_t flow, double amount, std::span<const std::uint32_t> links) {
  left_[place_[flow]] = amount;
  ++rows_[row_of_[links[0]]].live;
  ++live_;
  --to_begin_;
  for (const std::uint32_t link : links) {
    ++users_[link];
  }
}

RunRow DenseLevels::runs_of(const Row& row) {
  return {.runs = std::span(runs_).subspan(row.first_run, row.runs),
          .links = run_links_.data(),
          .others = row.others,
          .left = left_.data() + row.begin,
          .flows = row.places,
          .level = level_.data(),
          .limit = limit_.data(),
          .elsewhere = elsewhere_.data(),
          .here = here_.data()};
}

/// m_f of a row's flows, without the row's own level.
void DenseLevels::limits(const Row& row, double inverse_length) {
  if (layout_ == Layout::kRuns) {
    kernels_.limits(runs_of(row), inverse_length);
    return;
  }
  switch (row.others) {
    case 1:
      return gather_limits<1>(row, inverse_length);
    case 2:
      return gather_limits<2>(row, inverse_length);
    case 3:
      return gather_limits<3>(row, inverse_length);
    default:
      return gather_limits<-1>(row, inverse_length);
  }
}

template <int kOthers>
void DenseLevels::gather_limits(const Row& row, double inverse_length) {
  const std::size_t others = kOthers >= 0 ? kOthers : row.others;
  const double* const left = left_.data() + row.begin;
  const std::uint32_t* other = other_.data() + row.begin_other;
  const double* const level = level_.data();
  double* const limit = limit_.data();
  const std::size_t places = row.places;
  for (std::size_t i = 0; i < places; ++i, other += others) {
    double least = inverse_length > 0.0 ? left[i] * inverse_length : left[i] > 0.0 ? kNoLimit : 0.0;
    for (std::size_t k = 0; k < others; ++k) {
      least = std::min(least, level[other[k]]);
    }
    limit[i] = least;
  }
}

/// The level of a link all of whose flows are in the row.
double DenseLevels::solve_row(const Row& row) {
  const double capacity = target_[row.link];
  const double least = capacity / users_[row.link];
  double level = level_[row.link] == kNoLimit ? least : level_[row.link];
  for (int i = 0; i < kMaxSteps; ++i) {
    const auto [elsewhere, here] = kernels_.sums(limit_.data(), row.places, level);
    elsewhere_[row.link] = elsewhere;
    here_[row.link] = here;
    if (here == 0.0) {
      if (elsewhere <= capacity) {
        return level;
      }
      level = least;
      continue;
    }
    const double next = (capacity - elsewhere) / here;
    if (std::abs(next - level) <= kSame * level) {
      return level;
    }
    level = next;
  }
  return level;
}

/// The row's part in the sums of its flows' other links.
void DenseLevels::scatter(const Row& row) {
  if (layout_ == Layout::kRuns) {
    kernels_.scatter(runs_of(row), level_[row.link]);
    return;
  }
  switch (row.others) {
    case 1:
      return gather_scatter<1>(row);
    case 2:
      return gather_scatter<2>(row);
    case 3:
      return gather_scatter<3>(row);
    default:
      return gather_scatter<-1>(row);
  }
}

template <int kOthers>
void DenseLevels::gather_scatter(const Row& row) {
  const std::size_t others = kOthers >= 0 ? kOthers : row.others;
  const std::uint32_t* other = other_.data() + row.begin_other;
  const double* const level = level_.data();
  const double* const limit = limit_.data();
  double* const elsewhere = elsewhere_.data();
  double* const here = here_.data();
  const double own = level[row.link];
  const std::size_t places = row.places;
  for (std::size_t i = 0; i < places; ++i, other += others) {
    const double rate = std::min(limit[i], own);
    for (std::size_t k = 0; k < others; ++k) {
      const bool held = level[other[k]] <= rate;
      elsewhere[other[k]] += held ? 0.0 : rate;
      here[other[k]] += held ? 1.0 : 0.0;
    }
  }
}

/// One step for a link that is not first for all its flows. Returns by what part of its capacity it is off at the
/// present level. The tangent ends below the root, by much where few are held; from above it, u·C/F(u) is above the
/// root, since F is concave: the mean of both keeps the sweeps from swinging.
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
  } else {
    level = level == kNoLimit ? least : (tangent + level * (capacity / load)) / 2.0;
  }
  return std::abs(load / capacity - 1.0);
}

void DenseLevels::sweep(double inverse_length) {
  std::fill(elsewhere_.begin(), elsewhere_.end(), 0.0);
  std::fill(here_.begin(), here_.end(), 0.0);
  for (const Row& row : rows_) {
    if (row.live == 0) {
      continue;
    }
    limits(row, inverse_length);
    if (only_first_[row.link] != 0) {
      level_[row.link] = solve_row(row);
    } else {
      const auto [elsewhere, here] = kernels_.sums(limit_.data(), row.places, level_[row.link]);
      elsewhere_[row.link] += elsewhere;
      here_[row.link] += here;
    }
    scatter(row);
  }
}

void DenseLevels::solve(double length) {
  const double inverse_length = length > 0.0 ? 1.0 / length : 0.0;
  for (std::size_t link = 0; link < capacity_.size(); ++link) {
    const double most = kMostOwed * capacity_[link];
    target_[link] = capacity_[link] + std::clamp(owed_[link] * inverse_length, -most, most);
  }
  for (int i = 1;; ++i) {
    before_ = level_;
    sweep(inverse_length);
    double wrong = 0.0;
    for (std::size_t link = 0; link < capacity_.size(); ++link) {
      if (only_first_[link] == 0 && users_[link] > 0) {
        wrong += step(link) > kTolerance ? users_[link] : 0.0;
      }
    }
    if (wrong <= kWrong * static_cast<double>(live_) || i == kMaxSweeps) {
      break;
    }
  }
  // The levels that the sums are for.
  for (std::size_t link = 0; link < capacity_.size(); ++link) {
    if (only_first_[link] == 0) {
      level_[link] = before_[link];
    }
    const double load = here_[link] > 0.0 ? elsewhere_[link] + here_[link] * level_[link] : elsewhere_[link];
    const bool binds = here_[link] > 0.0 || load > target_[link];
    owing_[link] = binds ? (target_[link] - load) * length : 0.0;
  }
}

double DenseLevels::least_time() {
  double least = kNoLimit;
  for (const Row& row : rows_) {
    limits(row, 0.0);
    for (std::size_t i = 0; i < row.places; ++i) {
      if (left_[row.begin + i] > 0.0) {
        least = std::min(least, left_[row.begin + i] / std::min(level_[row.link], limit_[i]));
      }
    }
  }
  return least;
}

std::size_t DenseLevels::ends(double length) {
  std::size_t count = 0;
  for (const Row& row : rows_) {
    if (row.live == 0) {
      continue;
    }
    limits(row, 0.0);
    const double own = level_[row.link];
    for (std::size_t i = 0; i < row.places; ++i) {
      const double left = left_[row.begin + i];
      count +=
          static_cast<std::size_t>(left > 0.0) & static_cast<std::size_t>(left <= std::min(limit_[i], own) * length);
    }
  }
  return count;
}

void DenseLevels::advance_row(Row& row, double length, std::vector<Ending>& endings) {
  limits(row, 0.0);
  double* const left = left_.data() + row.begin;
  const double own = level_[row.link];
  for (std::size_t i = 0; i < row.places; ++i) {
    const double before = left[i];
    const double after = before - std::min(limit_[i], own) * length;
    left[i] = after;
    if (after <= kSame * before && before > 0.0) {
      endings.push_back({flow_[row.begin + i], before});
      left[i] = 0.0;
      --row.live;
    }
  }
}

/// Takes out who is through.
void DenseLevels::compact(Row& row) {
  double* const left = left_.data() + row.begin;
  std::uint32_t* const flow = flow_.data() + row.begin;
  std::uint32_t* const other = other_.data() + row.begin_other;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < row.places; ++i) {
    if (left[i] > 0.0) {
      left[kept] = left[i];
      flow[kept] = flow[i];
      std::copy_n(other + i * row.others, row.others, other + kept * row.others);
      ++kept;
    }
  }
  row.places = kept;
}

void DenseLevels::advance(double length, std::vector<Ending>& endings) {
  owed_ = owing_;
  const std::size_t before = endings.size();
  for (Row& row : rows_) {
    if (row.live > 0) {
      advance_row(row, length, endings);
    }
  }
  live_ -= endings.size() - before;
  const double sparse = layout_ == Layout::kRuns ? kSparse : kCompact;
  if (to_begin_ == 0 && static_cast<double>(live_) < sparse * static_cast<double>(places_)) {
    layout_ = Layout::kGather;
    places_ = live_;
    for (Row& row : rows_) {
      compact(row);
    }
  }
}

}  // namespace moesim::fluid
