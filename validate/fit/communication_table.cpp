#include "validate/fit/communication_table.hpp"

#include <fmt/format.h>

#include <array>
#include <string_view>
#include <utility>

#include "sim/core/error.hpp"
#include "validate/fit/table_file.hpp"
#include "validate/fit/table_row.hpp"

namespace moesim {

namespace {

/// By a column that only tables of that kind have.
std::optional<CommunicationSource> source_of(const TableFile& table) {
  constexpr auto kTelling = std::to_array<std::pair<std::string_view, CommunicationSource>>(
      {{"nccl_dtype", CommunicationSource::kNccl},
       {"allreduce_dtype", CommunicationSource::kCustomAllReduce},
       {"dispatch_transmit_us", CommunicationSource::kDeepEpNormal},
       {"dispatch_avg_t_us", CommunicationSource::kDeepEpLowLatency}});
  for (const auto& [column, source] : kTelling) {
    if (table.find(column)) {
      return source;
    }
  }
  return std::nullopt;
}

constexpr auto kOperations =
    std::to_array<std::pair<std::string_view, Collective>>({{"all_reduce", Collective::kAllReduce},
                                                            {"all_gather", Collective::kAllGather},
                                                            {"reduce_scatter", Collective::kReduceScatter},
                                                            {"alltoall", Collective::kAllToAll}});

std::optional<DataType> type_of(std::string_view name) {
  return name == "half"       ? std::optional(DataType::kFp16)
         : name == "int8"     ? std::optional(DataType::kInt8)
         : name == "bfloat16" ? std::optional(DataType::kBf16)
                              : std::nullopt;
}

/// std::nullopt, with `reason` set, for an operation or type that no collective of ours has.
std::optional<MeasuredCollective> collective_of(const TableRow& row, std::string_view type_column,
                                                std::string& reason) {
  const std::string_view op = row.text("op_name");
  const auto type = type_of(row.text(type_column));
  for (const auto& [name, collective] : kOperations) {
    if (name == op && type) {
      const std::int64_t ranks = row.count("num_gpus");
      if (ranks < 2 || ranks > 1024) {
        reason = fmt::format("{} GPUs", ranks);
        return std::nullopt;
      }
      return MeasuredCollective{collective,
                                std::string(op),
                                static_cast<std::size_t>(ranks),
                                static_cast<double>(row.count("message_size")) * activation_element_size(*type).base(),
                                *type,
                                seconds(row.number("latency") * 1e-3)};
    }
  }
  reason = type ? std::string(op) : fmt::format("type {}", row.text(type_column));
  return std::nullopt;
}

MeasuredDispatch dispatch_of(const TableRow& row, CommunicationSource source) {
  constexpr double kMicro = 1e-6;
  MeasuredDispatch result{.nodes = static_cast<std::size_t>(row.count("node_num")),
                          .tokens = row.count("num_token"),
                          .hidden = row.count("hidden_size"),
                          .experts = row.count("num_experts"),
                          .experts_per_token = row.count("num_topk")};
  if (source == CommunicationSource::kDeepEpNormal) {
    result.units = static_cast<int>(row.count("dispatch_sms"));
    result.dispatch = seconds(row.number("dispatch_transmit_us") * kMicro);
    result.dispatch_notify = seconds(row.amount("dispatch_notify_us") * kMicro);
    result.combine = seconds(row.number("combine_transmit_us") * kMicro);
    result.combine_notify = seconds(row.amount("combine_notify_us") * kMicro);
  } else {
    result.dispatch = seconds(row.number("dispatch_avg_t_us") * kMicro);
    result.combine = seconds(row.number("combine_avg_t_us") * kMicro);
  }
  return result;
}

}  // namespace

std::optional<CommunicationTable> read_communication(const std::filesystem::path& path) {
  const TableFile file = TableFile::read(path);
  const auto source = source_of(file);
  if (!source) {
    return std::nullopt;
  }
  CommunicationTable table{*source, {.file = file.name()}, {}, {}};
  std::map<std::string, std::size_t> unknown;
  for (std::size_t i = 0; i < file.rows(); ++i) {
    const TableRow row(file, i);
    std::string reason;
    if (*source == CommunicationSource::kNccl || *source == CommunicationSource::kCustomAllReduce) {
      const char* type = *source == CommunicationSource::kNccl ? "nccl_dtype" : "allreduce_dtype";
      if (auto collective = collective_of(row, type, reason)) {
        table.collectives.push_back(*collective);
      } else {
        ++unknown[reason];
      }
    } else {
      table.dispatches.push_back(dispatch_of(row, *source));
    }
    if (i == 0) {
      const auto optional_text = [&](std::string_view column) {
        return file.find(column) ? std::string(row.text(column)) : std::string();
      };
      table.head.device = optional_text("device");
      table.head.framework = optional_text("framework");
      table.head.version = optional_text("version");
    }
  }
  for (const auto& [what, count] : unknown) {
    table.head.skipped += count;
    table.head.warnings.push_back(fmt::format("{}: {} rows of {} skipped: no collective is known by that name or size",
                                              file.name(), count, what));
  }
  return table;
}

}  // namespace moesim
