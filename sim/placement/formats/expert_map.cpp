#include "sim/placement/formats/expert_map.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "sim/config/codec.hpp"
#include "sim/config/decode.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
#include "sim/placement/formats/raw_map.hpp"

namespace moesim {

namespace {

struct AscendDevice {
  std::size_t device_id = 0;
  std::vector<std::int64_t> device_expert;

  template <class F>
  static void describe(F& f) {
    f.required("device_id", &AscendDevice::device_id, "Rank");
    f.required("device_expert", &AscendDevice::device_expert, "Experts in its slots");
  }
};
struct AscendLayer {
  std::size_t layer_id = 0;
  std::size_t device_count = 0;
  std::vector<AscendDevice> device_list;

  template <class F>
  static void describe(F& f) {
    f.required("layer_id", &AscendLayer::layer_id, "MoE layer, from 0");
    f.required("device_count", &AscendLayer::device_count, "Ranks");
    f.required("device_list", &AscendLayer::device_list, "One for each rank");
  }
};
struct AscendMap {
  std::size_t moe_layer_count = 0;
  std::vector<AscendLayer> layer_list;

  template <class F>
  static void describe(F& f) {
    f.required("moe_layer_count", &AscendMap::moe_layer_count, "MoE layers");
    f.required("layer_list", &AscendMap::layer_list, "One for each MoE layer", Rules::not_empty());
  }
};

std::size_t all_layers(const PlacementProblem& problem) {
  return problem.all_layers == 0 ? problem.layers : problem.all_layers;
}
std::size_t model_layer(const PlacementProblem& problem, std::size_t layer) {
  return problem.model_layers.empty() ? layer : problem.model_layers[layer];
}

/// [layers][slots] under `key`.
std::vector<RawMapLayer> flat_rows(const Document& document, const std::string& key) {
  std::vector<Diagnostic> faults;
  std::vector<std::vector<std::int64_t>> rows;
  Codec<decltype(rows)>::decode(Cursor(document, faults).member(key), {}, rows);
  detail::raise(std::move(faults));
  std::vector<RawMapLayer> layers;
  for (std::size_t l = 0; l < rows.size(); ++l) {
    layers.push_back({{document.name(), fmt::format("/{}/{}", key, l)}, l, {std::move(rows[l])}});
  }
  return layers;
}

std::vector<RawMapLayer> ascend_rows(const Document& document) {
  auto map = decode_document<AscendMap>(document);
  std::vector<RawMapLayer> layers;
  for (std::size_t l = 0; l < map.layer_list.size(); ++l) {
    AscendLayer& layer = map.layer_list[l];
    RawMapLayer row{{document.name(), fmt::format("/layer_list/{}", l)}, layer.layer_id, {}};
    std::stable_sort(layer.device_list.begin(), layer.device_list.end(),
                     [](const AscendDevice& a, const AscendDevice& b) { return a.device_id < b.device_id; });
    for (AscendDevice& device : layer.device_list) {
      row.devices.push_back(std::move(device.device_expert));
    }
    layers.push_back(std::move(row));
  }
  return layers;
}

std::vector<RawMapLayer> read_rows(const std::filesystem::path& path) {
  if (path.extension() == ".yaml" || path.extension() == ".yml") {
    return parse_tensorrt_llm_yaml(path.string(), read_file(path));
  }
  const Document document = Document::read(path);
  const Json& root = document.root();
  if (root.is_object() && root.contains("physical_to_logical_map")) {
    return flat_rows(document, "physical_to_logical_map");
  }
  if (root.is_object() && root.contains("phy2log")) {
    return flat_rows(document, "phy2log");
  }
  if (root.is_object() && root.contains("layer_list")) {
    return ascend_rows(document);
  }
  std::string found = "no object";
  if (root.is_object()) {
    std::vector<std::string> keys;
    for (const auto& [key, value] : root.items()) {
      keys.push_back('"' + key + '"');
    }
    found = keys.empty() ? "no keys" : fmt::format("the keys {}", fmt::join(keys, ", "));
  }
  throw ConfigError({document.name(), {}},
                    fmt::format("expected a map of experts with \"physical_to_logical_map\" (SGLang), \"phy2log\" "
                                "(EPLB) or \"layer_list\" (vllm-ascend), or a .yaml of TensorRT-LLM, found {}",
                                found));
}

/// The rows of the model's MoE layers, in order: all, or those among a row for every layer of the model.
std::vector<RawMapLayer> match(std::vector<RawMapLayer> rows, const PlacementProblem& problem,
                               const std::string& file) {
  std::stable_sort(rows.begin(), rows.end(),
                   [](const RawMapLayer& a, const RawMapLayer& b) { return a.layer < b.layer; });
  if (rows.size() == problem.layers) {
    return rows;
  }
  if (rows.size() == all_layers(problem)) {
    std::vector<RawMapLayer> chosen;
    for (std::size_t l = 0; l < problem.layers; ++l) {
      chosen.push_back(std::move(rows[model_layer(problem, l)]));
    }
    return chosen;
  }
  throw ConfigError({file, {}}, fmt::format("expected {} layers, one for each MoE layer, or all {} of the model, "
                                            "found {}",
                                            problem.layers, all_layers(problem), rows.size()));
}

LayerPlacement checked(const RawMapLayer& row, const PlacementProblem& problem) {
  std::vector<std::vector<std::uint16_t>> slots(problem.ranks);
  std::set<std::int64_t> seen;
  const auto take = [&](std::size_t rank, std::int64_t expert) {
    if (expert < 0 || expert >= static_cast<std::int64_t>(problem.experts)) {
      throw ConfigError(row.place, fmt::format("expected experts from 0 to {}, found {}", problem.experts - 1, expert));
    }
    seen.insert(expert);
    slots[rank].push_back(static_cast<std::uint16_t>(expert));
  };
  if (row.devices.size() == 1) {
    const auto& flat = row.devices.front();
    if (flat.empty() || flat.size() % problem.ranks != 0) {
      throw ConfigError(row.place, fmt::format("expected a number of slots that the {} ranks divide, found {} slots",
                                               problem.ranks, flat.size()));
    }
    for (std::size_t i = 0; i < flat.size(); ++i) {
      take(i / (flat.size() / problem.ranks), flat[i]);
    }
  } else {
    if (row.devices.size() != problem.ranks) {
      throw ConfigError(row.place, fmt::format("expected {} devices, one for each rank, found {}", problem.ranks,
                                               row.devices.size()));
    }
    for (std::size_t rank = 0; rank < row.devices.size(); ++rank) {
      for (const std::int64_t expert : row.devices[rank]) {
        take(rank, expert);
      }
    }
  }
  if (seen.size() < problem.experts) {
    std::size_t missing = 0;
    while (seen.contains(static_cast<std::int64_t>(missing))) {
      ++missing;
    }
    const std::size_t more = problem.experts - seen.size() - 1;
    throw ConfigError(
        row.place, fmt::format("expected a slot for each of the {} experts, found none for expert {}{}",
                               problem.experts, missing, more > 0 ? fmt::format(" and {} more", more) : std::string()));
  }
  return {problem.experts, slots};
}

std::vector<std::uint16_t> slots_of(const LayerPlacement& layer) {
  std::vector<std::uint16_t> slots;
  for (std::size_t rank = 0; rank < layer.ranks(); ++rank) {
    const auto row = layer.slots_of(RankId(rank));
    slots.insert(slots.end(), row.begin(), row.end());
  }
  return slots;
}

Json ascend_json(const Placement& placement) {
  Json layers = Json::array();
  for (std::size_t l = 0; l < placement.layers.size(); ++l) {
    Json devices = Json::array();
    for (std::size_t rank = 0; rank < placement.layers[l].ranks(); ++rank) {
      const auto row = placement.layers[l].slots_of(RankId(rank));
      devices.push_back({{"device_id", rank}, {"device_expert", std::vector<int>(row.begin(), row.end())}});
    }
    layers.push_back({{"layer_id", l}, {"device_count", devices.size()}, {"device_list", std::move(devices)}});
  }
  return {{"moe_layer_count", placement.layers.size()}, {"layer_list", std::move(layers)}};
}

Json eplb_json(const Placement& placement) {
  Json phy2log = Json::array();
  Json log2phy = Json::array();
  Json logcnt = Json::array();
  std::size_t most = 0;
  for (const LayerPlacement& layer : placement.layers) {
    for (std::size_t e = 0; e < layer.experts(); ++e) {
      most = std::max(most, layer.replicas_of(e).size());
    }
  }
  for (const LayerPlacement& layer : placement.layers) {
    const std::vector<std::uint16_t> slots = slots_of(layer);
    std::vector<std::vector<int>> where(layer.experts(), std::vector<int>(most, -1));
    std::vector<std::size_t> count(layer.experts(), 0);
    for (std::size_t slot = 0; slot < slots.size(); ++slot) {
      where[slots[slot]][count[slots[slot]]++] = static_cast<int>(slot);
    }
    phy2log.push_back(slots);
    log2phy.push_back(where);
    logcnt.push_back(count);
  }
  return {{"phy2log", std::move(phy2log)}, {"log2phy", std::move(log2phy)}, {"logcnt", std::move(logcnt)}};
}

Json sglang_json(const Placement& placement, const PlacementProblem& problem) {
  const std::vector<std::uint16_t> first = slots_of(placement.layers.front());
  std::vector<std::uint16_t> in_order(first.size());  // dense layers have no experts, but SGLang has a row for them
  for (std::size_t i = 0; i < in_order.size(); ++i) {
    in_order[i] = static_cast<std::uint16_t>(i % problem.experts);
  }
  std::vector<std::vector<std::uint16_t>> rows(all_layers(problem), in_order);
  for (std::size_t l = 0; l < placement.layers.size(); ++l) {
    rows[model_layer(problem, l)] = slots_of(placement.layers[l]);
  }
  return {{"physical_to_logical_map", rows}};
}

std::string tensorrt_llm_yaml(const Placement& placement, const PlacementProblem& problem) {
  std::string text = fmt::format("num_slots: {}\nlayer_updates_per_iter: 0\ninitial_global_assignments:\n",
                                 slots_of(placement.layers[0]).size());
  for (std::size_t l = 0; l < placement.layers.size(); ++l) {
    text += fmt::format("  {}: [{}]\n", model_layer(problem, l), fmt::join(slots_of(placement.layers[l]), ", "));
  }
  return text;
}

}  // namespace

std::string write_expert_map(const Placement& placement, const PlacementProblem& problem, ExpertMapFormat format) {
  ensure(!placement.layers.empty(), "a map has at least one layer");
  switch (format) {
    case ExpertMapFormat::kSglang:
      return sglang_json(placement, problem).dump() + '\n';
    case ExpertMapFormat::kTensorRtLlm:
      return tensorrt_llm_yaml(placement, problem);
    case ExpertMapFormat::kVllmAscend:
      return ascend_json(placement).dump() + '\n';
    case ExpertMapFormat::kEplb:
      return eplb_json(placement).dump() + '\n';
  }
  throw InternalError("write_expert_map: not a format");
}

Placement read_expert_map(const std::filesystem::path& path, const PlacementProblem& problem) {
  Placement placement;
  for (const RawMapLayer& row : match(read_rows(path), problem, path.string())) {
    placement.layers.push_back(checked(row, problem));
  }
  return placement;
}

}  // namespace moesim
