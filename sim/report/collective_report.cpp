#include "sim/report/collective_report.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "sim/core/units.hpp"
#include "sim/report/number.hpp"
#include "sim/report/version.hpp"

namespace moesim {

namespace {

struct Busy {
  std::size_t link;
  double bytes;
  double utilisation;
};

/// The busiest first; equal ones in order of the links; only those that carried anything.
std::vector<Busy> busy_links(const CollectiveResult& result) {
  std::vector<Busy> links;
  const double time = result.time.base();
  for (std::size_t link = 0; link < result.link_names.size(); ++link) {
    const double carried = result.execution.link_bytes[link];
    if (carried > 0.0 && time > 0.0) {
      links.push_back({link, carried, carried / (result.link_capacity[link].base() * time)});
    }
  }
  std::stable_sort(links.begin(), links.end(),
                   [](const Busy& a, const Busy& b) { return a.utilisation > b.utilisation; });
  return links;
}

std::string load_text(const CollectiveScenario& scenario) {
  if (scenario.size) {
    return to_text(*scenario.size);
  }
  const TokenLoad& load = *scenario.load;
  return fmt::format("{} tokens per rank, hidden {}, top-{} of {} experts", grouped(load.tokens), grouped(load.hidden),
                     load.experts_per_token, load.experts);
}

}  // namespace

std::vector<TimePart> collective_parts(const CollectiveResult& result) {
  return {{"overhead", result.launch, "fixed time of the kernels"},
          {"notify", result.notify, "exchange of counts before the transfer"},
          {"local", result.local, "copies within a rank, beside no transfer"},
          {"latency", result.latency, "paths and steps until the last bytes begin to flow"},
          {"transfer", result.transfer, "bytes on the links, or in the compute units that send them"},
          {"wait", result.wait, "for a rank that has not sent yet"}};
}

std::vector<Metric> collective_metrics(const CollectiveResult& result) {
  const double time = result.time.base();
  const double algorithm = result.size.base() / time;
  return {{"time", time, "s", "from the start of all ranks until the last has received everything"},
          {"overhead_time", result.launch.base(), "s", "of the rank that ends last: fixed time of the kernels"},
          {"notify_time", result.notify.base(), "s", "of the same: exchange of counts before the transfer"},
          {"local_time", result.local.base(), "s", "of the same: copies within the rank, beside no transfer"},
          {"latency_time", result.latency.base(), "s", "of the same: latency of paths and steps"},
          {"transfer_time", result.transfer.base(), "s", "of the same: bytes on the links or in the sending units"},
          {"wait_time", result.wait.base(), "s", "of the same: for a rank that has not sent yet"},
          {"algorithm_bandwidth", algorithm, "B/s",
           "size / time; size is S as nccl-tests has it, for dispatch and combine what a rank sends to others on "
           "average, every hop counted"},
          {"bus_bandwidth", algorithm * result.bus_factor, "B/s",
           "algorithm_bandwidth * 2(n-1)/n for all_reduce, (n-1)/n for all_gather, reduce_scatter and all_to_all, "
           "else 1"},
          {"bytes_intra_node", result.execution.bytes_intra_node, "B",
           "payload sent between GPUs of one scale-up domain, forwarded payload once per hop"},
          {"bytes_inter_node", result.execution.bytes_inter_node, "B", "payload sent across the network"},
          {"events", static_cast<double>(result.execution.events), "1", "events simulated"}};
}

Json collective_json(const CollectiveResult& result, std::string_view command) {
  Json json = {{"schema", "moesim.result/1"},
               {"command", std::string(command)},
               {"version", std::string(version())},
               {"seed", result.scenario.seed},
               {"scenario", Codec<CollectiveScenario>::encode(result.scenario)},
               {"cluster", Codec<ClusterConfig>::encode(result.cluster)},
               {"protocol", result.protocol},
               {"variant", result.variant},
               {"routing", result.routing_provenance},
               {"inputs", Json::array()},
               {"metrics", Json::object()},
               {"attribution", Json::array()},
               {"warnings", result.warnings},
               {"links", Json::array()}};
  for (const InputFile& input : result.inputs) {
    json["inputs"].push_back({{"path", input.path.string()}, {"sha256", input.sha256}});
  }
  for (const Metric& metric : collective_metrics(result)) {
    json["metrics"][std::string(metric.name)] = {
        {"value", metric.value}, {"unit", std::string(metric.unit)}, {"definition", std::string(metric.definition)}};
  }
  for (const TimePart& part : collective_parts(result)) {
    json["attribution"].push_back({{"category", std::string(part.name)}, {"value", part.time.base()}, {"unit", "s"}});
  }
  constexpr std::size_t kShown = 64;
  for (const Busy& busy : busy_links(result)) {
    if (json["links"].size() == kShown) {
      break;
    }
    json["links"].push_back({{"link", result.link_names[busy.link]},
                             {"bytes", busy.bytes},
                             {"capacity", result.link_capacity[busy.link].base()},
                             {"utilisation", busy.utilisation}});
  }
  return json;
}

std::string collective_table(const CollectiveResult& result) {
  const CollectiveScenario& scenario = result.scenario;
  const std::size_t nodes = (static_cast<std::size_t>(scenario.ranks) - 1) / result.cluster.gpus_per_node + 1;
  std::string text = fmt::format("{} on {} x {} ({}, {} node{})\n", name_of(scenario.operation), scenario.ranks,
                                 result.accelerator, result.cluster.name, nodes, nodes == 1 ? "" : "s");
  text += fmt::format("{}\n", load_text(scenario));
  text += fmt::format("protocol {}{}\n", result.protocol, result.variant.empty() ? "" : ", " + result.variant);
  if (!result.routing_provenance.empty()) {
    text += fmt::format("routing: {}\n", result.routing_provenance);
  }
  text += fmt::format("\n  {:<28}{:>11}\n", "time", to_text(result.time));
  for (const TimePart& part : collective_parts(result)) {
    if (part.time.base() > 0.0) {
      text += fmt::format("    {:<26}{:>11}  {:>7}  {}\n", part.name, to_text(part.time),
                          percent(part.time / result.time), part.definition);
    }
  }
  const Bandwidth algorithm = result.size / result.time;
  text += fmt::format("  {:<28}{:>11}\n", "algorithm bandwidth", to_text(algorithm));
  text += fmt::format("  {:<28}{:>11}\n", "bus bandwidth", to_text(algorithm * result.bus_factor));
  text += fmt::format("  {:<28}{:>11}\n", "sent inside nodes", to_text(bytes(result.execution.bytes_intra_node)));
  text += fmt::format("  {:<28}{:>11}\n", "sent across nodes", to_text(bytes(result.execution.bytes_inter_node)));
  if (const auto links = busy_links(result); !links.empty()) {
    const Busy& busiest = links.front();
    text += fmt::format("  {:<28}{}, {} of {}, {} of the time\n", "busiest link", result.link_names[busiest.link],
                        to_text(bytes(busiest.bytes)), to_text(result.link_capacity[busiest.link]),
                        percent(busiest.utilisation));
  }
  return text;
}

}  // namespace moesim
