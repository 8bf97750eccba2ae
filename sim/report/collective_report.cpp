#include "sim/report/collective_report.hpp"

#include <fmt/format.h>

#include "sim/config/describe.hpp"
#include "sim/config/document.hpp"
#include "sim/core/units.hpp"
#include "sim/report/number.hpp"
#include "sim/report/result_frame.hpp"

namespace moesim {

namespace {

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
  const auto metrics = collective_metrics(result);
  Json json = result_frame({.command = command,
                            .seed = result.scenario.seed,
                            .scenario = Codec<CollectiveScenario>::encode(result.scenario),
                            .inputs = result.inputs,
                            .metrics = metrics,
                            .warnings = result.warnings});
  json["cluster"] = Codec<ClusterConfig>::encode(result.cluster);
  json["protocol"] = result.protocol;
  json["variant"] = result.variant;
  json["routing"] = result.routing_provenance;
  for (const TimePart& part : collective_parts(result)) {
    json["attribution"].push_back({{"category", std::string(part.name)}, {"value", part.time.base()}, {"unit", "s"}});
  }
  constexpr std::size_t kShown = 64;
  json["links"] = links_json(busiest_links(result.execution.link_bytes, result.link_capacity, result.time),
                             result.link_names, result.link_capacity, kShown);
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
  if (const auto links = busiest_links(result.execution.link_bytes, result.link_capacity, result.time);
      !links.empty()) {
    const LinkUse& busiest = links.front();
    text += fmt::format("  {:<28}{}, {} of {}, {} of the time\n", "busiest link", result.link_names[busiest.link],
                        to_text(bytes(busiest.bytes)), to_text(result.link_capacity[busiest.link]),
                        percent(busiest.utilisation));
  }
  return text;
}

}  // namespace moesim
