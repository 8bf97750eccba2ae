#include "validate/fit/communication_validate.hpp"

#include <fmt/format.h>

#include <map>
#include <tuple>
#include <vector>

#include "sim/core/quantity.hpp"
#include "validate/fit/calibrate.hpp"
#include "validate/fit/communication_bench.hpp"

namespace moesim {

namespace {

constexpr std::size_t kMostNodes = 64;
constexpr std::size_t kWildNodes = 8;

/// Errors by operator, and by what its rows have in common.
class Errors {
 public:
  void add(const std::string& op, const std::string& type, const std::string& variant, Duration predicted,
           Duration measured) {
    const double error = predicted / measured - 1.0;
    operators_[op].push_back(error);
    parts_[{op, type, variant}].push_back(error);
  }
  void finish(Validation& out) {
    for (auto& [op, errors] : operators_) {
      out.operators.push_back({op, "", "", errors_of(std::move(errors))});
    }
    for (auto& [part, errors] : parts_) {
      out.parts.push_back({std::get<0>(part), std::get<1>(part), std::get<2>(part), errors_of(std::move(errors))});
    }
  }

 private:
  std::map<std::string, std::vector<double>> operators_;
  std::map<std::tuple<std::string, std::string, std::string>, std::vector<double>> parts_;
};

std::string size_class(double bytes) {
  return bytes <= 65536.0 ? "up to 64 KiB" : bytes < 4194304.0 ? "up to 4 MiB" : "from 4 MiB";
}

std::string name_of_op(const CommunicationTable& table, const MeasuredCollective& row) {
  const bool custom = table.source == CommunicationSource::kCustomAllReduce;
  return fmt::format("{}{}, {} GPUs", custom ? "custom " : "", row.op, row.ranks);
}

std::string name_of_op(const CommunicationTable& table, const MeasuredDispatch& row, std::string_view what) {
  if (table.source == CommunicationSource::kDeepEpNormal) {
    return fmt::format("deepep normal {}, {} node{}", what, row.nodes, row.nodes == 1 ? "" : "s");
  }
  return fmt::format("deepep low latency {}, EP{}", what, row.nodes * kTableNode);
}

std::string shape_of(const MeasuredDispatch& row) {
  return fmt::format("{} wide, top-{} of {}", row.hidden, row.experts_per_token, row.experts);
}

void validate_collectives(const CommunicationTable& table, const CommunicationBench& bench, const TaskPool& pool,
                          Errors& errors) {
  std::vector<Duration> predicted(table.collectives.size());
  pool.for_each_index(predicted.size(), [&](std::size_t i) { predicted[i] = bench.predict(table.collectives[i]); });
  for (std::size_t i = 0; i < predicted.size(); ++i) {
    const MeasuredCollective& row = table.collectives[i];
    errors.add(name_of_op(table, row), std::string(moesim::name_of(row.type)), size_class(row.bytes), predicted[i],
               row.time);
  }
}

void validate_dispatches(const CommunicationTable& table, const CommunicationBench& bench, const TaskPool& pool,
                         Errors& errors) {
  std::vector<CommunicationBench::Parts> dispatch(table.dispatches.size());
  std::vector<CommunicationBench::Parts> combine(table.dispatches.size());
  pool.for_each_index(dispatch.size(), [&](std::size_t i) {
    dispatch[i] = bench.predict(table.dispatches[i], StepOperator::kDispatch);
    combine[i] = bench.predict(table.dispatches[i], StepOperator::kCombine);
  });
  for (std::size_t i = 0; i < dispatch.size(); ++i) {
    const MeasuredDispatch& row = table.dispatches[i];
    const std::string units = row.units ? fmt::format("{} SMs", *row.units) : "";
    const auto add = [&](std::string_view what, const CommunicationBench::Parts& found, Duration whole,
                         Duration notify) {
      errors.add(name_of_op(table, row, what), shape_of(row), units, found.total, whole);
      if (notify > Duration{}) {
        errors.add(name_of_op(table, row, fmt::format("{} notify", what)), shape_of(row), units, found.notify, notify);
      }
    };
    add("dispatch", dispatch[i], row.dispatch + row.dispatch_notify, row.dispatch_notify);
    add("combine", combine[i], row.combine + row.combine_notify, row.combine_notify);
  }
}

}  // namespace

Validation validate_communication(const CommunicationTable& table, const KernelProfile& profile,
                                  const std::string& accelerator, const TaskPool& pool) {
  Validation out;
  out.warnings = table.head.warnings;
  CommunicationTable rows = table;
  const bool normal = table.source == CommunicationSource::kDeepEpNormal;
  const auto wild = [&](const MeasuredDispatch& row) { return normal && row.nodes == kWildNodes; };
  const auto large = [](const MeasuredDispatch& row) { return row.nodes > kMostNodes; };
  if (const std::size_t left_out = std::erase_if(rows.dispatches, wild); left_out > 0) {
    out.warnings.push_back(
        fmt::format("{}: {} rows on 8 nodes left out: the exchange of counts takes between 0.1 and 17 ms for one load",
                    table.head.file, left_out));
  }
  if (const std::size_t left_out = std::erase_if(rows.dispatches, large); left_out > 0) {
    out.warnings.push_back(
        fmt::format("{}: {} rows on more than {} nodes left out", table.head.file, left_out, kMostNodes));
  }
  const CommunicationBench bench(cluster_of(accelerator, {"--gpu", ""}), rows, profile);
  Errors errors;
  validate_collectives(rows, bench, pool, errors);
  validate_dispatches(rows, bench, pool, errors);
  errors.finish(out);
  return out;
}

}  // namespace moesim
