#include <catch2/catch.hpp>
#include <cmath>
#include <filesystem>

#include "sim/config/decode.hpp"
#include "sim/config/document.hpp"
#include "sim/core/file.hpp"
#include "sim/scenario/metrics.hpp"
#include "sim/scenario/run.hpp"
#include "tests/scratch.hpp"

using namespace moesim;

// A whole step, from files to time, derived by hand. The model is so small, and the profile's floors so high, that
// every kernel takes just its floor: GEMMs, grouped GEMMs and attention 10 us, what streams 1 us. Then a step's time
// is a count of kernels and what the links need.
namespace {

/// One MoE layer: hidden 256, 4 heads of 64, 2 experts per rank, top-1.
std::string model(int experts) {
  return R"({"schema": "moesim.model/1", "name": "tiny", "hidden": 256, "vocabulary": 1024,
    "blocks": {"moe": {"mixer": {"grouped_query": {"heads": 4, "kv_heads": 4, "head_dim": 64}},
                       "feed_forward": {"moe": {"experts": )" +
         std::to_string(experts) + R"(, "experts_per_token": 1, "intermediate": 128}}}},
    "layers": [{"pattern": ["moe"]}]})";
}

/// The shipped profile with other figures: links at their nominal bandwidth, 3 us before a dispatch or combine flows
/// inside a node and 7 us over the network.
std::string profile() {
  Document document = profile_catalogue().find("roofline", {});
  Json root = document.root();
  for (auto& [name, op] : root["operators"].items()) {
    const std::string floor = name == "streaming" ? "1 us" : "10 us";
    op["types"] = Json{{"bf16",
                        {{"compute_efficiency", 1.0},
                         {"memory_efficiency", Json::array({{{"traffic", "1 GB"}, {"efficiency", 1.0}}})},
                         {"launch", "0 us"},
                         {"floor", floor}}}};
  }
  const Json terms = {{"scale_up_efficiency", 1.0},
                      {"network_efficiency", 1.0},
                      {"scale_up_overhead", "3 us"},
                      {"network_overhead", "7 us"}};
  root["communication"]["low_latency"] = {{"dispatch", terms}, {"combine", terms}};
  return root.dump();
}

using Folder = moesim::test::ScratchFolder;

/// `choices`: one expert per token, tokens rank by rank; `per_rank` of them each.
StepResult run(const Folder& folder, int experts, int gpus_per_node, int nodes, int per_rank,
               const std::string& choices, const std::string& latency = "0 us") {
  const int ranks = gpus_per_node * nodes;
  write_file(folder.path() / "model.json", model(experts));
  write_file(folder.path() / "profile.json", profile());
  std::string trace_name = "trace_T" + std::to_string(choices.size()) + "_L1_K1_E" + std::to_string(experts) + ".u8";
  write_file(folder.path() / trace_name, choices);
  const Json cluster = {
      {"schema", "moesim.cluster/1"},
      {"name", "tiny"},
      {"accelerator", "h200-sxm"},
      {"gpus_per_node", gpus_per_node},
      {"nodes", nodes},
      {"scale_up", {{"latency", latency}}},
      {"network",
       {{"nic", "connectx-7-ndr"},
        {"fabric", {{"rail_leaf_spine", {{"same_leaf_latency", latency}, {"other_leaf_latency", latency}}}}}}}};
  write_file(folder.path() / "cluster.json", cluster.dump());
  const Json scenario = {{"schema", "moesim.scenario/1"},
                         {"model", {{"file", "model.json"}}},
                         {"cluster", {{"file", "cluster.json"}}},
                         {"kernels", {{"file", "profile.json"}}},
                         {"parallelism", {{"ranks", ranks}}},
                         {"step", {{"decode", {{"sequences_per_dp_rank", per_rank}, {"context", 64}}}}},
                         {"routing", {{"trace", {{"path", trace_name}}}}}};
  write_file(folder.path() / "scenario.json", scenario.dump());
  const Document document = Document::read(folder.path() / "scenario.json");
  return run_step(decode_document<Scenario>(document), {document.name(), {}}, TaskPool(1));
}

double us(const StepResult& result) { return result.execution.end.duration().base() * 1e6; }

/// Microseconds that so many bytes take, ending at a whole picosecond: a completion is never reported early.
double wire_time(double bytes, double bytes_per_second) { return std::ceil(bytes / bytes_per_second * 1e12) * 1e-6; }

// embedding 1; norm 1, QKV 10, rotary and cache 1, attention 10, output 10; norm 1, router 10 + 1: 45 us
constexpr double kBeforeDispatch = 1 + 1 + 10 + 1 + 10 + 10 + 1 + 10 + 1;
// up 10, activation 1, down 10
constexpr double kExperts = 21;
// norm 1, logits 10, sampling 1
constexpr double kHead = 12;

}  // namespace

// Two GPUs, experts 0,1 on rank 0 and 2,3 on rank 1, two tokens each. The trace is taken as it stands, up to a
// rotation that the seed decides, so all four tokens choose expert 2 and rank 1 computes everything.
//   dispatch: rank 0 sends 2 tokens of 256·2 B = 1,024 B, 2.28 ns at 450 GB/s, after 3 us; rank 1 only notifies.
//   rank 0: at 45 sends; gets the notification at 48; has no experts to run; sends notice of no results at 48;
//   rank 1: at 45 sends, gets the tokens at 48.0023; computes to 69.0023; sends two results back: 72.0046 at rank 0;
//   rank 0's head ends at 84.0046 us; rank 1 got its notice at 51, before it asked, and ends at 81.0023.
TEST_CASE("two GPUs: all tokens on one rank") {
  const Folder folder;
  const StepResult result = run(folder, 4, 2, 1, 2, std::string(4, '\2'));
  const double wire = wire_time(1024.0, 450e9);
  CHECK(us(result) == Approx(kBeforeDispatch + 3 + wire + kExperts + 3 + wire + kHead).epsilon(1e-12));
  CHECK(result.execution.bytes_intra_node == 2 * 1024.0);
  CHECK(result.imbalance.at(0).step == Approx(2.0));
  CHECK(result.execution.timeline[1].back().category == TimeCategory::kImbalanceWait);
}

// Each rank's two tokens go one to each rank: whatever the rotation of 0,2,0,2, both ranks compute two rows of one
// expert, and send one token of 512 B each way. No waiting for each other at all.
TEST_CASE("two GPUs: balanced") {
  const Folder folder;
  const StepResult result = run(folder, 4, 2, 1, 2, std::string("\0\2\0\2", 4));
  const double wire = wire_time(512.0, 450e9);
  CHECK(us(result) == Approx(kBeforeDispatch + 3 + wire + kExperts + 3 + wire + kHead).epsilon(1e-12));
  CHECK(result.imbalance.at(0).step == Approx(1.0));
  for (const auto& timeline : result.execution.timeline) {
    for (const Segment& segment : timeline) {
      CHECK(segment.category != TimeCategory::kImbalanceWait);
    }
  }
}

// The same on paths of 2 us: dispatch and combine each begin to arrive 2 us later, and nothing else changes.
TEST_CASE("two GPUs: the path's latency is paid there and back") {
  const Folder folder;
  const double without = us(run(folder, 4, 2, 1, 2, std::string("\0\2\0\2", 4)));
  const double with = us(run(folder, 4, 2, 1, 2, std::string("\0\2\0\2", 4), "2 us"));
  CHECK(with - without == Approx(4.0).epsilon(1e-9));
}

// Eight GPUs in two nodes of four, one expert each, eight tokens per rank that go one to each rank (the trace repeats
// 0 … 7). Over its NIC (50 GB/s) a rank sends the four tokens for the other node: 4·512 B in 40.96 ns, after 7 us; the
// three for its own node are done in 3·512 B / 450 GB/s = 3.4 ns.
TEST_CASE("eight GPUs in two nodes: the network sets the pace") {
  const Folder folder;
  std::string choices;
  for (int token = 0; token < 64; ++token) {
    choices += static_cast<char>(token % 8);
  }
  const StepResult result = run(folder, 8, 4, 2, 8, choices);
  const double wire = wire_time(4 * 512.0, 50e9);
  CHECK(us(result) == Approx(kBeforeDispatch + 7 + wire + kExperts + 7 + wire + kHead).epsilon(1e-12));
  // There and back: 8 ranks · 4 tokens across, 8 · 3 inside.
  CHECK(result.execution.bytes_inter_node == 2 * 8 * 4 * 512.0);
  CHECK(result.execution.bytes_intra_node == 2 * 8 * 3 * 512.0);
  const auto parts = attribution(result.execution);
  SimTime sum;
  for (const SimTime part : parts) {
    sum += part;
  }
  CHECK(sum == result.execution.end);
}
