#include "validate/fit/dispatch_fit.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <utility>

#include "sim/core/error.hpp"
#include "sim/core/random.hpp"
#include "validate/fit/calibrate.hpp"
#include "validate/fit/normal_equations.hpp"

namespace moesim {

namespace {

constexpr std::size_t kRowsOfFit = 160;  // of one fit, which runs them a hundred times
constexpr std::size_t kLargestDeployment = 8;
constexpr std::size_t kUnsteadyNodes = 8;  // of the normal kernels
constexpr std::size_t kFewestRows = 20;
constexpr int kSteps = 10;

/// A term as the logarithm of a number.
struct Knob {
  std::function<double(const TransferTerms&)> get;
  std::function<void(TransferTerms&, double)> set;
  bool share = false;  ///< at most 1
};

template <class Member>
Knob plain(Member member) {
  return {[member](const TransferTerms& t) { return t.*member; },
          [member](TransferTerms& t, double v) { t.*member = v; }, true};
}
template <class Member>
Knob duration(Member member) {
  return {[member](const TransferTerms& t) { return (t.*member).base(); },
          [member](TransferTerms& t, double v) { t.*member = seconds(v); }};
}
using UnitsMember = std::optional<UnitTerms> TransferTerms::*;
template <class Member>
Knob unit_duration(UnitsMember units, Member member) {
  return {[=](const TransferTerms& t) { return t.*units ? ((*(t.*units)).*member).base() : 0.0; },
          [=](TransferTerms& t, double v) { (*(t.*units)).*member = seconds(v); }};
}
template <class Member>
Knob unit_rate(UnitsMember units, Member member) {
  return {
      [=](const TransferTerms& t) { return t.*units && (*(t.*units)).*member ? ((*(t.*units)).*member)->base() : 0.0; },
      [=](TransferTerms& t, double v) { (*(t.*units)).*member = bytes(v) / seconds(1.0); }};
}

void add_units(std::vector<Knob>& knobs, UnitsMember units) {
  knobs.push_back(unit_duration(units, &UnitTerms::per_message));
  knobs.push_back(unit_rate(units, &UnitTerms::scale_up));
  knobs.push_back(unit_rate(units, &UnitTerms::network));
  knobs.push_back(unit_duration(units, &UnitTerms::per_token));
  knobs.push_back(unit_rate(units, &UnitTerms::token));
}

/// The terms that the profile has (others stay away), of one domain or of the network alone.
std::vector<Knob> knobs_of(const TransferTerms& terms, bool network) {
  std::vector<Knob> knobs;
  if (network) {
    knobs = {plain(&TransferTerms::network_efficiency),  duration(&TransferTerms::network_overhead),
             duration(&TransferTerms::network_per_node), duration(&TransferTerms::notify),
             duration(&TransferTerms::notify_per_node),  duration(&TransferTerms::notify_rise),
             duration(&TransferTerms::notify_per_token)};
    knobs.push_back({[](const TransferTerms& t) { return t.notify_rise > Duration{} ? t.notify_rise_at : 0.0; },
                     [](TransferTerms& t, double v) { t.notify_rise_at = v; }});
    add_units(knobs, &TransferTerms::network_units);
  } else {
    knobs = {plain(&TransferTerms::scale_up_efficiency), duration(&TransferTerms::scale_up_overhead),
             duration(&TransferTerms::per_expert)};
    knobs.push_back({[](const TransferTerms& t) { return t.message_rate ? t.message_rate->base() : 0.0; },
                     [](TransferTerms& t, double v) { t.message_rate = bytes(v) / seconds(1.0); }});
    add_units(knobs, &TransferTerms::scale_up_units);
  }
  std::erase_if(knobs, [&](const Knob& knob) { return !(knob.get(terms) > 0.0); });
  return knobs;
}

template <class Profile>
auto& transfer_terms(Profile& profile, CommunicationSource source, StepOperator op) {
  auto& both = source == CommunicationSource::kDeepEpLowLatency ? profile.low_latency : profile.high_throughput;
  return op == StepOperator::kDispatch ? both.dispatch : both.combine;
}

/// One fit: rows of one source, direction and place.
class Problem {
 public:
  Problem(const CommunicationBench& bench, const CommunicationProfile& profile, CommunicationSource source,
          StepOperator op, bool network, std::vector<MeasuredDispatch> rows)
      : bench_(bench),
        profile_(profile),
        source_(source),
        op_(op),
        rows_(std::move(rows)),
        knobs_(knobs_of(transfer_terms(profile_, source, op), network)) {}

  using Vector = std::vector<double>;

  [[nodiscard]] Vector start() const {
    Vector x;
    for (const Knob& knob : knobs_) {
      x.push_back(std::log(knob.get(transfer_terms(profile_, source_, op_))));
    }
    return x;
  }

  /// predicted / measured − 1 of some rows.
  [[nodiscard]] Vector errors(const Vector& x, const std::vector<std::uint32_t>& rows) const {
    Vector out;
    each_prediction(x, rows, [&](const MeasuredTime& measured, const CommunicationBench::Parts& predicted) {
      out.push_back(predicted.total / measured.total - 1.0);
    });
    return out;
  }

  [[nodiscard]] Vector fit(Vector x, std::vector<std::uint32_t> rows) const {
    const std::size_t stride = (rows.size() + kRowsOfFit - 1) / kRowsOfFit;
    for (std::size_t i = 0; i * stride < rows.size(); ++i) {
      rows[i] = rows[i * stride];
    }
    rows.resize((rows.size() + stride - 1) / stride);
    double damping = 1e-2;
    Vector left = logs(x, rows);
    for (int i = 0; i < kSteps; ++i) {
      const std::vector<Vector> slopes = derivatives(x, left, rows);
      bool better = false;
      for (int attempt = 0; attempt < 4 && !better; ++attempt) {
        Vector next = x;
        const Vector step = step_of(slopes, left, damping);
        for (std::size_t k = 0; k < x.size(); ++k) {
          next[k] = std::min(x[k] + std::clamp(step[k], -0.7, 0.7), knobs_[k].share ? 0.0 : 1e9);
        }
        const Vector there = logs(next, rows);
        better = sum(there) < sum(left);
        damping = better ? damping / 4.0 : damping * 8.0;
        if (better) {
          x = next;
          left = there;
        }
      }
      if (!better) {
        break;
      }
    }
    return x;
  }

  void apply(const Vector& x, TransferTerms& terms) const {
    for (std::size_t k = 0; k < x.size(); ++k) {
      const double scale = std::pow(10.0, std::floor(x[k] / std::log(10.0)) - 3.0);  // four digits
      knobs_[k].set(terms, std::round(std::exp(x[k]) / scale) * scale);
    }
  }
  [[nodiscard]] const std::vector<MeasuredDispatch>& rows() const { return rows_; }
  TransferTerms& terms_of(CommunicationProfile& profile) const { return transfer_terms(profile, source_, op_); }

 private:
  struct MeasuredTime {
    Duration total;
    Duration notify;  ///< of that
  };
  [[nodiscard]] MeasuredTime measured(std::uint32_t row) const {
    const MeasuredDispatch& m = rows_[row];
    return op_ == StepOperator::kDispatch ? MeasuredTime{m.dispatch + m.dispatch_notify, m.dispatch_notify}
                                          : MeasuredTime{m.combine + m.combine_notify, m.combine_notify};
  }
  template <class F>
  void each_prediction(const Vector& x, const std::vector<std::uint32_t>& rows, F f) const {
    CommunicationProfile profile = profile_;
    apply(x, terms_of(profile));
    for (const std::uint32_t row : rows) {
      f(measured(row), bench_.predict(rows_[row], op_, profile));
    }
  }
  /// ln(predicted / measured), of the whole and, where it was measured apart, of the exchange of counts.
  [[nodiscard]] Vector logs(const Vector& x, const std::vector<std::uint32_t>& rows) const {
    Vector out;
    each_prediction(x, rows, [&](const MeasuredTime& measured, const CommunicationBench::Parts& predicted) {
      out.push_back(std::log(predicted.total / measured.total));
      if (measured.notify > Duration{} && predicted.notify > Duration{}) {
        out.push_back(std::log(predicted.notify / measured.notify));
      }
    });
    return out;
  }
  static double sum(const Vector& left) {
    return std::accumulate(left.begin(), left.end(), 0.0, [](double a, double b) { return a + std::abs(b); });
  }
  [[nodiscard]] std::vector<Vector> derivatives(const Vector& x, const Vector& left,
                                                const std::vector<std::uint32_t>& rows) const {
    constexpr double kStep = 0.02;
    std::vector<Vector> slopes;
    for (std::size_t k = 0; k < x.size(); ++k) {
      Vector moved = x;
      moved[k] -= kStep;
      Vector slope = logs(moved, rows);
      for (std::size_t i = 0; i < slope.size(); ++i) {
        slope[i] = (left[i] - slope[i]) / kStep;
      }
      slopes.push_back(std::move(slope));
    }
    return slopes;
  }
  /// (JᵀWJ + damping·diag + small) step = −JᵀW·left with W = 1 / |left|: Gauss–Newton for the sum of |left|.
  static Vector step_of(const std::vector<Vector>& slopes, const Vector& left, double damping) {
    constexpr double kNearlyRight = 0.02;
    const std::size_t n = slopes.size();
    std::vector<Vector> a(n, Vector(n, 0.0));
    Vector b(n, 0.0);
    for (std::size_t i = 0; i < left.size(); ++i) {
      const double weight = 1.0 / std::max(std::abs(left[i]), kNearlyRight);
      for (std::size_t p = 0; p < n; ++p) {
        b[p] -= weight * slopes[p][i] * left[i];
        for (std::size_t q = 0; q < n; ++q) {
          a[p][q] += weight * slopes[p][i] * slopes[q][i];
        }
      }
    }
    for (std::size_t p = 0; p < n; ++p) {
      a[p][p] += damping * a[p][p] + 1e-3 * static_cast<double>(left.size());
    }
    return solve_positive_definite(std::move(a), std::move(b));
  }

  const CommunicationBench& bench_;
  CommunicationProfile profile_;
  CommunicationSource source_;
  StepOperator op_;
  std::vector<MeasuredDispatch> rows_;
  std::vector<Knob> knobs_;
};

enum class HoldBack { kRows, kShapes };

std::size_t fold_of(const MeasuredDispatch& row, std::size_t index, HoldBack what, std::size_t folds) {
  if (what == HoldBack::kRows) {
    return index % folds;
  }
  RandomStream stream(static_cast<std::uint64_t>(row.hidden), "shape",
                      static_cast<std::uint64_t>(row.experts * 4096 + row.experts_per_token * 64) + row.nodes);
  return static_cast<std::size_t>(stream.uniform() * static_cast<double>(folds));
}

std::vector<double> held_back(const Problem& problem, HoldBack what, std::size_t fold, std::size_t folds) {
  std::vector<std::uint32_t> known;
  std::vector<std::uint32_t> held;
  for (std::uint32_t i = 0; i < problem.rows().size(); ++i) {
    (fold_of(problem.rows()[i], i, what, folds) == fold ? held : known).push_back(i);
  }
  if (held.empty() || known.size() < kFewestRows) {
    return {};
  }
  Problem::Vector x = problem.start();
  for (std::size_t k = 0; k < x.size(); ++k) {
    x[k] += k % 2 == 0 ? -0.3 : 0.3;  // away from the base, whose terms may have seen the rows held back
  }
  return problem.errors(problem.fit(std::move(x), std::move(known)), held);
}

std::vector<MeasuredDispatch> rows_of(const std::vector<CommunicationTable>& tables, CommunicationSource source,
                                      bool network) {
  std::vector<MeasuredDispatch> rows;
  for (const CommunicationTable& table : tables) {
    if (table.source != source) {
      continue;
    }
    std::vector<MeasuredDispatch> here;
    for (const MeasuredDispatch& row : table.dispatches) {
      const bool wild = source == CommunicationSource::kDeepEpNormal && row.nodes == kUnsteadyNodes;
      if ((row.nodes > 1) == network && row.nodes <= kLargestDeployment && !wild) {
        here.push_back(row);
      }
    }
    if (network) {
      rows.insert(rows.end(), here.begin(), here.end());
    } else if (here.size() > rows.size()) {
      rows = std::move(here);
    }
  }
  return rows;
}

}  // namespace

DispatchFit fit_dispatch(const std::vector<CommunicationTable>& tables, const std::string& accelerator,
                         const KernelProfile& profile, std::size_t folds, const TaskPool& pool) {
  DispatchFit out;
  CommunicationProfile fitted = profile.communication;
  const std::string cluster = cluster_of(accelerator, {"--gpu", ""});
  for (const CommunicationSource source :
       {CommunicationSource::kDeepEpLowLatency, CommunicationSource::kDeepEpNormal}) {
    bool any = false;
    for (const bool network : {false, true}) {
      CommunicationTable all;
      all.source = source;
      all.dispatches = rows_of(tables, source, network);
      if (all.dispatches.empty()) {
        continue;
      }
      const CommunicationBench bench(cluster, all, profile);
      for (const StepOperator op : {StepOperator::kDispatch, StepOperator::kCombine}) {
        if (all.dispatches.size() < kFewestRows) {
          out.warnings.push_back(fmt::format("{} rows of DeepEP {} are too few to fit to: left as they are",
                                             all.dispatches.size(), network ? "over a network" : "on one node"));
          continue;
        }
        const Problem problem(bench, fitted, source, op, network, all.dispatches);
        std::vector<std::uint32_t> rows(all.dispatches.size());
        std::iota(rows.begin(), rows.end(), 0u);
        Problem::Vector x;
        std::vector<std::vector<double>> errors(2 * folds);
        pool.for_each_index(1 + 2 * folds, [&](std::size_t task) {
          if (task == 0) {
            x = problem.fit(problem.start(), rows);
          } else {
            const HoldBack what = task <= folds ? HoldBack::kRows : HoldBack::kShapes;
            errors[task - 1] = held_back(problem, what, (task - 1) % folds, folds);
          }
        });
        problem.apply(x, problem.terms_of(fitted));
        any = true;
        DispatchErrors found;
        found.source = source;
        found.op = op;
        found.network = network;
        found.rows = rows.size();
        for (const HoldBack what : {HoldBack::kRows, HoldBack::kShapes}) {
          std::vector<double> joined;
          for (std::size_t fold = 0; fold < folds; ++fold) {
            const auto& one = errors[(what == HoldBack::kRows ? 0 : folds) + fold];
            joined.insert(joined.end(), one.begin(), one.end());
          }
          if (!joined.empty()) {
            (what == HoldBack::kRows ? found.in_grid : found.out_of_grid) = errors_of(std::move(joined));
          }
        }
        out.errors.push_back(std::move(found));
      }
    }
    if (any) {
      const bool low = source == CommunicationSource::kDeepEpLowLatency;
      (low ? out.low_latency : out.high_throughput) = low ? fitted.low_latency : fitted.high_throughput;
    }
  }
  return out;
}

}  // namespace moesim
