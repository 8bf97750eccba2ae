#include "sim/report/result_frame.hpp"

#include <algorithm>
#include <utility>

#include "sim/config/document.hpp"
#include "sim/core/quantity.hpp"
#include "sim/report/version.hpp"

namespace moesim {

Json result_frame(ResultFrame frame) {
  Json json = {
      {"schema", "moesim.result/1"},   {"command", std::string(frame.command)}, {"version", std::string(version())},
      {"seed", std::move(frame.seed)}, {"scenario", std::move(frame.scenario)}, {"inputs", Json::array()},
      {"metrics", Json::object()},     {"attribution", Json::array()},          {"warnings", Json::array()}};
  for (const InputFile& input : frame.inputs) {
    json["inputs"].push_back({{"path", input.path.string()}, {"sha256", input.sha256}});
  }
  for (const Metric& metric : frame.metrics) {
    json["metrics"][std::string(metric.name)] = {
        {"value", metric.value}, {"unit", std::string(metric.unit)}, {"definition", std::string(metric.definition)}};
  }
  for (const std::string& warning : frame.warnings) {
    json["warnings"].push_back(warning);
  }
  return json;
}

Json links_json(std::span<const LinkUse> uses, std::span<const std::string> names, std::span<const Bandwidth> capacity,
                std::size_t most) {
  Json rows = Json::array();
  for (const LinkUse& use : uses.first(std::min(most, uses.size()))) {
    rows.push_back({{"link", names[use.link]},
                    {"bytes", use.bytes},
                    {"capacity", capacity[use.link].base()},
                    {"utilisation", use.utilisation}});
  }
  return rows;
}

}  // namespace moesim
