#include "tests/oracle/fluid/simgrid/simgrid_run.hpp"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <simgrid/s4u.hpp>
#include <string>

#include "sim/core/error.hpp"

namespace moesim::oracle {
namespace {

namespace s4u = simgrid::s4u;

/// One case as a zone of its own.
class Zone {
 public:
  Zone(s4u::NetZone* root, const NetworkCase& network, const std::string& name) : network_(network) {
    zone_ = s4u::create_full_zone(name);
    zone_->set_parent(root);
    for (std::uint32_t host = 0; host < network.hosts; ++host) {
      hosts_.push_back(zone_->create_host(name + "h" + std::to_string(host), 1.0));
    }
    std::vector<s4u::Link*> links;
    for (std::size_t link = 0; link < network.capacities.size(); ++link) {
      links.push_back(
          zone_->create_link(name + "l" + std::to_string(link), network.capacities[link])->set_latency(0.0)->seal());
    }
    for (std::size_t i = 0; i < network.flows.size(); ++i) {
      const NetworkFlow& flow = network.flows[i];
      std::vector<s4u::LinkInRoute> route;
      for (const std::uint32_t link : flow.route) {
        route.emplace_back(links[link]);
      }
      if (std::isfinite(flow.rate_cap)) {
        // A link of its own: set_rate() has no effect on communications without mailboxes (SimGrid 3.32).
        route.emplace_back(zone_->create_link(name + "c" + std::to_string(i), flow.rate_cap)->set_latency(0.0)->seal());
      }
      if (flow.latency > SimTime()) {
        // A link without contention, for its latency.
        const double wide = 1e3 * *std::max_element(network.capacities.begin(), network.capacities.end());
        route.emplace_back(zone_->create_link(name + "w" + std::to_string(i), wide)
                               ->set_sharing_policy(s4u::Link::SharingPolicy::FATPIPE)
                               ->set_latency(flow.latency.duration().base())
                               ->seal());
      }
      zone_->add_route(hosts_[flow.from]->get_netpoint(), hosts_[flow.to]->get_netpoint(), nullptr, nullptr, route,
                       false);
    }
    zone_->seal();
    finish_.resize(network.flows.size(), 0.0);
  }

  /// Starts the flows as they are due; each notes when it ends.
  void start() {
    s4u::Actor::create("starter", hosts_.front(), [this] {
      for (std::size_t i = 0; i < network_.flows.size(); ++i) {
        const NetworkFlow& flow = network_.flows[i];
        s4u::this_actor::sleep_until(flow.start.duration().base());
        const s4u::CommPtr comm = s4u::Comm::sendto_init(hosts_[flow.from], hosts_[flow.to]);
        comm->set_payload_size(flow.bytes);
        comm->start();
        comms_.push_back(comm);
      }
      for (std::size_t i = 0; i < comms_.size(); ++i) {
        comms_[i]->wait();
        finish_[i] = comms_[i]->get_finish_time();
      }
    });
  }
  [[nodiscard]] const std::vector<double>& finish() const { return finish_; }

 private:
  const NetworkCase& network_;
  s4u::NetZone* zone_;
  std::vector<s4u::Host*> hosts_;
  std::vector<s4u::CommPtr> comms_;
  std::vector<double> finish_;
};

void set_bare_sharing(SimgridPrecision precision) {
  for (const char* option :
       {"network/model:CM02", "network/optim:Full", "network/TCP-gamma:1e30", "network/latency-factor:1",
        "network/bandwidth-factor:1", "network/weight-S:0", "network/crosstraffic:0"}) {
    s4u::Engine::set_config(option);
  }
  if (precision == SimgridPrecision::kTight) {
    s4u::Engine::set_config("maxmin/precision:1e-11");
    s4u::Engine::set_config("surf/precision:1e-11");
  }
}

/// In the child process: finish times, then the wall time, as doubles.
void simulate(std::span<const NetworkCase> cases, SimgridPrecision precision, std::FILE* out) {
  int argc = 2;
  char name[] = "simgrid";
  char quiet[] = "--log=root.thresh:critical";
  char* argv[] = {name, quiet, nullptr};
  const s4u::Engine engine(&argc, argv);
  set_bare_sharing(precision);
  s4u::NetZone* root = s4u::create_full_zone("root");
  std::vector<Zone> zones;
  zones.reserve(cases.size());
  for (std::size_t i = 0; i < cases.size(); ++i) {
    zones.emplace_back(root, cases[i], "z" + std::to_string(i));
  }
  root->seal();
  for (Zone& zone : zones) {
    zone.start();
  }
  const auto begin = std::chrono::steady_clock::now();
  engine.run();
  const double wall = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  for (const Zone& zone : zones) {
    std::fwrite(zone.finish().data(), sizeof(double), zone.finish().size(), out);
  }
  std::fwrite(&wall, sizeof wall, 1, out);
  std::fflush(out);
}

}  // namespace

SimgridRun run_in_simgrid(std::span<const NetworkCase> cases, SimgridPrecision precision) {
  int ends[2] = {};
  ensure(pipe(ends) == 0, "no pipe to a child process");
  const pid_t child = fork();
  ensure(child >= 0, "no child process");
  if (child == 0) {
    close(ends[0]);
    std::FILE* out = fdopen(ends[1], "wb");
    simulate(cases, precision, out);
    _exit(0);  // without the parent's atexit handlers
  }
  close(ends[1]);
  std::FILE* in = fdopen(ends[0], "rb");
  SimgridRun result;
  bool whole = true;
  for (const NetworkCase& network : cases) {
    std::vector<double>& finish = result.finish.emplace_back(network.flows.size());
    whole = whole && std::fread(finish.data(), sizeof(double), finish.size(), in) == finish.size();
  }
  whole = whole && std::fread(&result.wall_seconds, sizeof(double), 1, in) == 1;
  std::fclose(in);
  int status = 0;
  ensure(waitpid(child, &status, 0) == child && status == 0 && whole, "SimGrid did not come to an end");
  return result;
}

}  // namespace moesim::oracle
