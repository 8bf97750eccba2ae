#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "models/hardware/data_type.hpp"
#include "sim/core/quantity.hpp"
#include "sim/program/collective.hpp"
#include "validate/fit/measurements.hpp"

namespace moesim {

/// A collective of one node's GPUs.
struct MeasuredCollective {
  Collective collective = Collective::kAllReduce;
  std::string op;  ///< as the table calls it
  std::size_t ranks = 2;
  double bytes = 0.0;  ///< S as nccl-tests has it
  DataType type = DataType::kBf16;
  Duration time;
};

/// A dispatch and the combine after it, of all GPUs of some nodes with eight each.
struct MeasuredDispatch {
  std::size_t nodes = 1;
  std::int64_t tokens = 1;  ///< of each rank
  std::int64_t hidden = 1;
  std::int64_t experts = 1;
  std::int64_t experts_per_token = 1;
  std::optional<int> units = std::nullopt;  ///< SMs of both kernels, where they keep some
  Duration dispatch = {};
  Duration dispatch_notify = {};  ///< before it; zero where there is none
  Duration combine = {};
  Duration combine_notify = {};
};

/// Whose kernels a table of communication times is of.
enum class CommunicationSource { kNccl, kCustomAllReduce, kDeepEpNormal, kDeepEpLowLatency };

/// Measured collectives or dispatches, as aiconfigurator's collector writes them.
struct CommunicationTable {
  CommunicationSource source = CommunicationSource::kNccl;
  MeasurementTable head;  ///< file, device, framework and version; no rows
  std::vector<MeasuredCollective> collectives;
  std::vector<MeasuredDispatch> dispatches;
};

/// std::nullopt where the columns are not those of a table of communication. NCCL's message_size is in elements and its
/// latency in ms, as that of custom all-reduces (of bf16); DeepEP's columns say us. Throws ConfigError by line.
std::optional<CommunicationTable> read_communication(const std::filesystem::path& path);

}  // namespace moesim
