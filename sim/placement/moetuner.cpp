#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "sim/placement/eplb.hpp"
#include "sim/placement/integer_program.hpp"
#include "sim/placement/packing.hpp"
#include "sim/placement/strategies.hpp"

namespace moesim {

namespace {

/// More binaries than this are not worth a start: branch and bound gets nowhere in the time of a comparison.
constexpr std::size_t kMostBinaries = 640;

/// MoETuner (arXiv 2502.06643), per layer two integer programs.
///   1. Clusters of equally many experts: min Σ_c |T_c − mean|, T_c the cluster's tokens, x[i, c] binary.
///   2. Clusters to nodes: min max_n of the visits that reach node n from elsewhere, with tokens where the layer before
///      left them: the busiest of equal links. The first layer's clusters stay in order.
/// Where a program is too large, or has no solution within its limits, heaviest first takes its place, and a warning
/// says so. Copies of redundant experts are dealt as in EPLB.
class MoeTuner final : public PlacementStrategy {
 public:
  [[nodiscard]] Placement place(const PlacementProblem& problem) const override {
    fallbacks_ = 0;
    at_limit_ = 0;
    layers_ = problem.layers;
    binaries_ = problem.slots() * problem.ranks;
    Placement placement;
    std::vector<double> share;  // [experts · nodes] of the layer before
    for (std::size_t layer = 0; layer < problem.layers; ++layer) {
      const std::vector<double> loads = problem.layer_loads(layer);
      const auto count = copies_by_load(loads, problem.slots());
      auto slots = clusters(problem, even_copies(loads, count));
      slots = to_nodes(problem, layer, slots, share);
      share = shares(problem, slots, count);
      placement.layers.push_back(layer_of_slots(problem.experts, problem.ranks, slots));
    }
    return placement;
  }

  [[nodiscard]] std::vector<std::string> warnings() const override {
    std::vector<std::string> texts;
    if (binaries_ > kMostBinaries) {
      texts.push_back(
          fmt::format("its first program would have {} binaries a layer, more than the {} it is given: "
                      "clusters are heaviest first instead",
                      binaries_, kMostBinaries));
    } else if (fallbacks_ > 0) {
      texts.push_back(
          fmt::format("no solution of its first program within its limits in {} of {} layers: clusters are "
                      "heaviest first there",
                      fallbacks_, layers_));
    } else if (at_limit_ > 0) {
      texts.push_back(
          fmt::format("its first program stopped at its limits in {} of {} layers, with the best solution "
                      "so far",
                      at_limit_, layers_));
    }
    return texts;
  }

 private:
  [[nodiscard]] std::vector<std::uint16_t> clusters(const PlacementProblem& problem,
                                                    const std::vector<WeightedCopy>& copies) const {
    const auto packed = pack_heaviest_first(copies, problem.ranks, SameRank::kAvoided);
    if (binaries_ > kMostBinaries) {
      return packed;
    }
    const auto solution = solve(clustering(problem, copies, packed), {});
    if (!solution) {
      ++fallbacks_;
      return packed;
    }
    at_limit_ += solution->ended == ProgramSolution::Ended::kAtLimit ? 1 : 0;
    std::vector<std::vector<std::uint16_t>> rows(problem.ranks);
    for (std::size_t i = 0; i < copies.size(); ++i) {
      for (std::size_t c = 0; c < problem.ranks; ++c) {
        if (solution->x[i * problem.ranks + c] > 0.5) {
          rows[c].push_back(copies[i].expert);
        }
      }
    }
    std::vector<std::uint16_t> slots;
    for (const auto& row : rows) {
      slots.insert(slots.end(), row.begin(), row.end());
    }
    return slots;
  }

  /// x[i, c], then d[c] ≥ ±(T_c − mean) / mean.
  static IntegerProgram clustering(const PlacementProblem& problem, const std::vector<WeightedCopy>& copies,
                                   const std::vector<std::uint16_t>& start) {
    const std::size_t ranks = problem.ranks;
    double mean = 0.0;
    for (const WeightedCopy& copy : copies) {
      mean += copy.weight / static_cast<double>(ranks);
    }
    mean = mean > 0.0 ? mean : 1.0;
    IntegerProgram program;
    program.columns.assign(copies.size() * ranks, {0.0, 1.0, true});
    program.columns.insert(program.columns.end(), ranks, {1.0, 1e30, false});
    for (std::size_t i = 0; i < copies.size(); ++i) {
      IntegerProgram::Row once{.columns = {}, .factors = {}, .sense = 'E', .right = 1.0};
      for (std::size_t c = 0; c < ranks; ++c) {
        once.columns.push_back(static_cast<int>(i * ranks + c));
        once.factors.push_back(1.0);
      }
      program.rows.push_back(std::move(once));
    }
    for (std::size_t c = 0; c < ranks; ++c) {
      const auto deviation = static_cast<int>(copies.size() * ranks + c);
      const std::size_t each = copies.size() / ranks;
      IntegerProgram::Row equal{.columns = {}, .factors = {}, .sense = 'E', .right = static_cast<double>(each)};
      IntegerProgram::Row above{.columns = {deviation}, .factors = {-1.0}, .sense = 'L', .right = 1.0};
      IntegerProgram::Row below{.columns = {deviation}, .factors = {1.0}, .sense = 'G', .right = 1.0};
      for (std::size_t i = 0; i < copies.size(); ++i) {
        const auto column = static_cast<int>(i * ranks + c);
        equal.columns.push_back(column);
        equal.factors.push_back(1.0);
        for (auto* row : {&above, &below}) {
          row->columns.push_back(column);
          row->factors.push_back(copies[i].weight / mean);
        }
      }
      program.rows.push_back(std::move(equal));
      program.rows.push_back(std::move(above));
      program.rows.push_back(std::move(below));
    }
    // The start: each slot of the packed map takes the next copy of its expert.
    program.start.assign(program.columns.size(), 0.0);
    std::vector<double> load(ranks, 0.0);
    std::vector<bool> used(copies.size(), false);
    for (std::size_t slot = 0; slot < start.size(); ++slot) {
      std::size_t i = 0;
      while (used[i] || copies[i].expert != start[slot]) {
        ++i;
      }
      used[i] = true;
      const std::size_t c = slot / (start.size() / ranks);
      program.start[i * ranks + c] = 1.0;
      load[c] += copies[i].weight / mean;
    }
    for (std::size_t c = 0; c < ranks; ++c) {
      program.start[copies.size() * ranks + c] = std::abs(load[c] - 1.0);
    }
    return program;
  }

  static std::size_t whole_nodes(const PlacementProblem& problem) {
    return problem.ranks % problem.nodes() == 0 ? problem.nodes() : 1;
  }

  static std::vector<double> shares(const PlacementProblem& problem, const std::vector<std::uint16_t>& slots,
                                    std::span<const std::uint32_t> count) {
    const std::size_t nodes = whole_nodes(problem);
    std::vector<double> share(problem.experts * nodes, 0.0);
    for (std::size_t slot = 0; slot < slots.size(); ++slot) {
      share[slots[slot] * nodes + slot * nodes / slots.size()] += 1.0 / count[slots[slot]];
    }
    return share;
  }

  /// Reorders the clusters (ranks) by the second program.
  static std::vector<std::uint16_t> to_nodes(const PlacementProblem& problem, std::size_t layer,
                                             const std::vector<std::uint16_t>& slots,
                                             const std::vector<double>& share) {
    const std::size_t nodes = whole_nodes(problem);
    const std::size_t ranks = problem.ranks;
    if (nodes == 1 || share.empty() || problem.tokens == nullptr || ranks * nodes > kMostBinaries) {
      return slots;
    }
    const std::size_t per_rank = problem.slots_per_rank();
    std::vector<std::vector<std::size_t>> holders(problem.experts);  // clusters with a copy
    for (std::size_t slot = 0; slot < slots.size(); ++slot) {
      holders[slots[slot]].push_back(slot / per_rank);
    }
    std::vector<double> visits(ranks * nodes, 0.0);  // to a cluster, from a node
    for (std::size_t token = 0; token < problem.tokens->shape.tokens; ++token) {
      std::vector<double> at(nodes, 0.0);
      for (const ExpertIndex expert : problem.tokens->token(layer - 1, token)) {
        for (std::size_t n = 0; n < nodes && expert != kNoExpert; ++n) {
          at[n] += share[expert * nodes + n];
        }
      }
      for (const ExpertIndex expert : problem.tokens->token(layer, token)) {
        if (expert == kNoExpert) {
          continue;
        }
        for (const std::size_t cluster : holders[expert]) {
          for (std::size_t n = 0; n < nodes; ++n) {
            visits[cluster * nodes + n] += at[n] / static_cast<double>(holders[expert].size());
          }
        }
      }
    }
    const auto solution = solve(assignment(visits, ranks, nodes), {});
    if (!solution) {
      return slots;
    }
    std::vector<std::uint16_t> moved;
    for (std::size_t n = 0; n < nodes; ++n) {
      for (std::size_t c = 0; c < ranks; ++c) {
        if (solution->x[c * nodes + n] > 0.5) {
          const auto first = slots.begin() + static_cast<std::ptrdiff_t>(c * per_rank);
          moved.insert(moved.end(), first, first + static_cast<std::ptrdiff_t>(per_rank));
        }
      }
    }
    return moved;
  }

  /// y[c, n], then M ≥ visits that reach node n from other nodes.
  static IntegerProgram assignment(const std::vector<double>& visits, std::size_t ranks, std::size_t nodes) {
    const double all = std::accumulate(visits.begin(), visits.end(), 0.0);
    const double scale = all > 0.0 ? static_cast<double>(nodes) / all : 1.0;
    IntegerProgram program;
    program.columns.assign(ranks * nodes, {0.0, 1.0, true});
    program.columns.push_back({1.0, 1e30, false});
    program.start.assign(program.columns.size(), 0.0);
    for (std::size_t c = 0; c < ranks; ++c) {
      IntegerProgram::Row once{.columns = {}, .factors = {}, .sense = 'E', .right = 1.0};
      for (std::size_t n = 0; n < nodes; ++n) {
        once.columns.push_back(static_cast<int>(c * nodes + n));
        once.factors.push_back(1.0);
      }
      program.rows.push_back(std::move(once));
      program.start[c * nodes + c * nodes / ranks] = 1.0;
    }
    double worst = 0.0;
    for (std::size_t n = 0; n < nodes; ++n) {
      const std::size_t each = ranks / nodes;
      IntegerProgram::Row equal{.columns = {}, .factors = {}, .sense = 'E', .right = static_cast<double>(each)};
      IntegerProgram::Row link{
          .columns = {static_cast<int>(ranks * nodes)}, .factors = {-1.0}, .sense = 'L', .right = 0.0};
      double started = 0.0;
      for (std::size_t c = 0; c < ranks; ++c) {
        const double sum = std::accumulate(visits.begin() + static_cast<std::ptrdiff_t>(c * nodes),
                                           visits.begin() + static_cast<std::ptrdiff_t>((c + 1) * nodes), 0.0);
        const double from_elsewhere = (sum - visits[c * nodes + n]) * scale;
        equal.columns.push_back(static_cast<int>(c * nodes + n));
        equal.factors.push_back(1.0);
        link.columns.push_back(static_cast<int>(c * nodes + n));
        link.factors.push_back(from_elsewhere);
        started += c * nodes / ranks == n ? from_elsewhere : 0.0;
      }
      worst = std::max(worst, started);
      program.rows.push_back(std::move(equal));
      program.rows.push_back(std::move(link));
    }
    program.start.back() = worst;
    return program;
  }

  // What the last place() ran into. A strategy object is used by one caller.
  mutable std::size_t fallbacks_ = 0;
  mutable std::size_t at_limit_ = 0;
  mutable std::size_t layers_ = 0;
  mutable std::size_t binaries_ = 0;
};

}  // namespace

std::unique_ptr<PlacementStrategy> make_moetuner() { return std::make_unique<MoeTuner>(); }

}  // namespace moesim
