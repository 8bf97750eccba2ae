#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "sim/cli/commands.hpp"
#include "sim/cli/deliver.hpp"
#include "sim/cli/document_argument.hpp"
#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
#include "sim/core/units.hpp"
#include "sim/report/network_report.hpp"

namespace moesim {

namespace {

constexpr std::size_t kSendersShown = 3;
constexpr std::size_t kSlots = 20;

struct NetworkOptions : CommonOptions {
  std::string cluster;
  std::optional<std::size_t> ranks;
  std::string alltoall;
  std::string traffic;
  Fidelity fidelity = Fidelity::kFlow;
  double epsilon = 0.0;
  std::string flow_times;
  std::string link_use;
  bool timing = false;
};

TrafficMatrix read_traffic(const NetworkOptions& options) {
  if (options.alltoall.empty() == options.traffic.empty()) {
    throw ConfigError({"moesim network", {}},
                      fmt::format("expected one of --alltoall BYTES and --traffic FILE, found {}",
                                  options.traffic.empty() ? "neither" : "both"));
  }
  if (!options.traffic.empty()) {
    return TrafficMatrix::read(options.traffic, options.ranks);
  }
  std::string message;
  const auto size = parse_quantity(with_unit_of_bytes(options.alltoall), unit_table<Bytes>(), message);
  if (!size) {
    throw ConfigError({"--alltoall", {}}, message);
  }
  const std::size_t ranks = options.ranks ? *options.ranks : all_gpus(options.cluster, options.assignments);
  return TrafficMatrix::uniform(ranks, Bytes::from_base(*size));
}

std::string describe(const NetworkOptions& options, const TrafficMatrix& traffic) {
  if (!options.traffic.empty()) {
    return options.traffic;
  }
  return fmt::format("{} a rank, {} to each, its own share stays local", options.alltoall,
                     to_text(bytes(*traffic.uniform_bytes())));
}

void network(const NetworkOptions& options) {
  const Stopwatch stopwatch;
  const TrafficMatrix traffic = read_traffic(options);
  const Cluster cluster = read_cluster_argument(options.cluster, options.assignments, traffic.ranks());

  AllToAllOptions how;
  how.fidelity = options.fidelity;
  how.epsilon = options.epsilon;
  how.symmetry = options.flow_times.empty() ? AllToAllOptions::Symmetry::kUse : AllToAllOptions::Symmetry::kIgnore;
  how.slots = options.link_use.empty() ? 0 : kSlots;
  NetworkReport report;
  report.result = all_to_all(cluster, traffic, how, TaskPool(options.thread_count()));
  report.ranks = traffic.ranks();
  report.traffic = describe(options, traffic);
  report.epsilon = options.epsilon;
  // Of equal pairs on a cluster that looks the same from everywhere there is no heaviest sender.
  if (!traffic.uniform_bytes() || !cluster.orbits(traffic.ranks())) {
    std::vector<LinkId> busiest;
    for (const LinkUse& use : busiest_links(cluster, report.result)) {
      if (busiest.size() < NetworkReport::kLinksShown) {
        busiest.emplace_back(use.link);
      }
    }
    report.loaders = link_loaders(cluster, traffic, busiest, kSendersShown);
  }
  if (!traffic.uniform_bytes() && traffic.local_bytes() > 0.0) {
    report.warnings.push_back(fmt::format("{}: {} from ranks to themselves stay local: they take no link and no time",
                                          options.traffic, to_text(bytes(traffic.local_bytes()))));
  }
  if (const auto& repeated = traffic.repeated()) {
    report.warnings.push_back(fmt::format("{}: {} pair{} in several lines, {},{} the first: their bytes are added up",
                                          options.traffic, repeated->pairs, repeated->pairs == 1 ? " is" : "s are",
                                          repeated->from.index(), repeated->to.index()));
  }
  for (const std::string& path : {options.cluster, options.traffic}) {
    if (!path.empty() && std::filesystem::is_regular_file(path)) {
      report.inputs.push_back({path, sha256_of_file(path)});
    }
  }
  if (!options.flow_times.empty()) {
    write_file(options.flow_times, flow_times_csv(report.result));
  }
  if (!options.link_use.empty()) {
    write_file(options.link_use, link_use_csv(report.result, cluster));
  }
  Delivery delivery{options.wants_json() ? network_json(report, cluster) : Json(), network_table(report, cluster),
                    report.warnings};
  if (options.timing) {
    stopwatch.add_to(delivery.json);
    delivery.table += fmt::format("\nsimulated in {:.4f} s of wall-clock time\n", stopwatch.seconds());
  }
  deliver(options, delivery);
}

}  // namespace

void add_network(CLI::App& app) {
  auto options = std::make_shared<NetworkOptions>();
  CLI::App* command = app.add_subcommand("network", "Time an all-to-all on a cluster's links, flow by flow");
  command
      ->add_option("cluster", options->cluster,
                   "A moesim.cluster/1 file, or the name of one that comes with the program")
      ->required();
  command
      ->add_option("--ranks", options->ranks,
                   "GPUs that take part, from the first on (default: those that the "
                   "traffic names, or all)")
      ->check(CLI::Range(std::size_t{1}, std::size_t{1} << 20));
  command->add_option("--alltoall", options->alltoall,
                      "Every rank holds so much, such as \"64 MiB\", and sends an equal share to each rank");
  command->add_option("--traffic", options->traffic, "CSV src,dst,bytes, or a square .npy [from, to], in bytes");
  add_fidelity(*command, options->fidelity, "flow (default): max-min fair; bound: the busiest link alone");
  command
      ->add_option(
          "--epsilon", options->epsilon,
          "Speed for exactness: most times are right to within this share, single ones to a few times it; 0: exact")
      ->check(CLI::Range(0.0, 0.5));
  command->add_option("--flow-times", options->flow_times,
                      "Write when each transfer is through: src,dst,bytes,finish_s");
  command->add_option("--link-use", options->link_use, "Write each link's use over time: link,begin_s,end_s,use");
  options->add_set(*command);
  options->add_threads(*command);
  options->add_out(*command);
  options->add_format(*command);
  command->add_flag("--timing", options->timing, "Also say how long the simulation itself took");
  command->callback([options] { network(*options); });
}

}  // namespace moesim
