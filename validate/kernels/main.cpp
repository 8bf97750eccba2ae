#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numeric>
#include <set>

#include "sim/core/error.hpp"
#include "validate/kernels/blas.hpp"
#include "validate/kernels/harness.hpp"
#include "validate/kernels/monitor.hpp"
#include "validate/kernels/options.hpp"
#include "validate/kernels/plan.hpp"

namespace moesim::bench {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

std::string now_text() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &utc);
  return text;
}

/// The plan with its replay: of a recording where one is given, which is then wanted before all else; else of drawn
/// routing, if it is wanted at all.
std::vector<Case> cases_of(const Options& options, std::uint64_t seed) {
  std::vector<Case> cases = plan();
  ReplayOptions replay{
      .layer = layer_shapes().front(), .expert_parallel = options.expert_parallel, .tokens = options.tokens};
  if (!options.model.empty()) {
    replay.layer = find_layer(options.model);
  }
  std::vector<Case> replayed;
  if (!options.routing.empty()) {
    const Routing routing = read_routing(options.routing);
    if (options.model.empty()) {
      const auto layer = layer_of(routing);
      if (!layer) {
        throw ConfigError({options.routing, ""},
                          "expected routing of a layer that is known, found " + std::to_string(routing.k) +
                              " of more than " + std::to_string(routing.highest) + " experts: say which with --model");
      }
      replay.layer = *layer;
    }
    replayed = replay_plan(routing, replay);
    for (Case& c : replayed) {
      c.level -= 1;
    }
  } else {
    replayed = generated_replay_plan(replay, seed);
    for (Case& c : replayed) {
      c.level += 1;
    }
  }
  cases.insert(cases.end(), std::make_move_iterator(replayed.begin()), std::make_move_iterator(replayed.end()));
  std::stable_sort(cases.begin(), cases.end(), [](const Case& a, const Case& b) {
    return a.level != b.level ? a.level < b.level : a.group < b.group;
  });
  cases = selected(std::move(cases), options.only);
  for (const std::string& name : options.without) {
    std::ifstream file(name, std::ios::binary);
    if (!file) {
      throw ConfigError({name, ""}, "expected a file of measurements, found none that can be read");
    }
    const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    const std::vector<std::string> ids = cases_in(text);
    const std::set<std::string> known(ids.begin(), ids.end());
    std::erase_if(cases, [&](const Case& c) { return known.contains(c.id); });
  }
  return cases;
}

int list(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    std::printf("%s\n", c.id.c_str());
  }
  return 0;
}

/// What a run would do, from the cases' needs alone: the share of each group that the budget reaches when a case takes
/// as long as its samples at most and as its buffers' filling.
int dry_run(const std::vector<Case>& cases, const Options& options, Record& record) {
  constexpr double kOverhead = 0.05;    // s: buffers, reference, graph
  constexpr double kFillRate = 0.5e12;  // B/s
  constexpr double kBandwidth = 3e12;   // of the slowest GPU that the kernels are for
  constexpr double kFlops = 200e12;
  double clock = 0.0;
  std::size_t reached = 0;
  std::size_t total = 0;
  double most = 0.0;
  std::printf("%-12s %5s %8s %8s %12s %10s\n", "group", "level", "cases", "reached", "estimate, s", "GiB most");
  for (std::size_t i = 0; i < cases.size();) {
    const Group group = cases[i].group;
    const int level = cases[i].level;
    std::size_t in_group = 0;
    std::size_t reached_here = 0;
    double largest = 0.0;
    const double begin = clock;
    for (; i < cases.size() && cases[i].group == group && cases[i].level == level; ++i) {
      const Needs needs = needs_of(cases[i].shape);
      const double each = std::max(needs.flops / kFlops, needs.bytes / kBandwidth);
      const bool thrice = std::holds_alternative<ContentionCase>(cases[i].shape);
      clock += (thrice ? 3.0 : 1.0) * (kOverhead + std::min(options.case_limit, 0.05) + 3.0 * each) +
               needs.resident / kFillRate;
      ++in_group;
      reached_here += clock < options.budget ? 1 : 0;
      largest = std::max(largest, needs.resident);
    }
    std::printf("%-12s %5d %8zu %8zu %12.1f %10.2f\n", std::string(name_of(group)).c_str(), level, in_group,
                reached_here, clock - begin, largest / 1073741824.0);
    reached += reached_here;
    total += in_group;
    most = std::max(most, largest);
  }
  std::printf("%zu of %zu cases within %.0f s; the largest occupies %.1f GiB\n", reached, total, options.budget,
              most / 1073741824.0);
  try {
    const DeviceFacts facts = open_device();
    std::printf("GPU: %s, compute capability %d.%d\n", facts.name.c_str(), facts.major, facts.minor);
  } catch (const NoDevice& none) {
    std::printf("no GPU here: %s\n", none.what());
  }
  if (!options.out.empty()) {
    record.save(options.out);
    std::filesystem::remove(options.out);
    std::printf("%s: can be written\n", options.out.c_str());
  }
  return 0;
}

Json environment_of(const DeviceFacts& facts, const Monitor& monitor, const Options& options, std::uint64_t seed) {
  const auto version = [](int number) {
    return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10);
  };
  Json out = Json::object();
  out.set("date", now_text())
      .set("commit", options.commit)
      .set("seed", std::to_string(seed))
      .set("compute_capability", std::to_string(facts.major) + "." + std::to_string(facts.minor))
      .set("multiprocessors", facts.multiprocessors)
      .set("memory_bytes", static_cast<std::int64_t>(facts.memory))
      .set("l2_bytes", static_cast<std::int64_t>(facts.l2_bytes))
      .set("gpus", device_count())
      .set("driver", monitor.driver().value_or("unknown"))
      .set("cuda_driver", version(facts.driver_version))
      .set("cuda_runtime", version(facts.runtime_version))
      .set("cublas", std::to_string(cublasLtGetVersion()));
  return out;
}

/// Runs cases and keeps account.
class Run {
 public:
  Run(const Options& options, Bench& bench, const Monitor& monitor, Record& record, Clock::time_point begin)
      : options_(options), bench_(bench), monitor_(monitor), record_(record), begin_(begin) {
    rule_.seconds = options.case_limit;
  }

  /// Returns the exit code.
  int measure_all(const std::vector<Case>& cases) {
    std::size_t done = 0;
    for (std::size_t i = 0; i < cases.size(); ++i) {
      if (seconds_since(begin_) > options_.budget) {
        std::fprintf(stderr, "moesim-bench: the budget of %.0f s is spent: %zu cases not reached\n", options_.budget,
                     cases.size() - i);
        break;
      }
      measure_one(cases[i]);
      ++done;
      const bool last = i + 1 == cases.size();
      if (last || cases[i + 1].group != cases[i].group || cases[i + 1].level != cases[i].level) {
        end_group(cases[i]);
      } else if (seconds_since(saved_) > kSaveEvery) {
        save();
      }
    }
    save();
    std::fprintf(stderr, "moesim-bench: %zu cases in %.0f s: %zu measured, %zu skipped, %zu wrong\n", done,
                 seconds_since(begin_), record_.rows.size(), record_.skipped.size(), record_.failed.size());
    return record_.failed.size() > 0 ? 1 : 0;
  }

  int check_all(const std::vector<Shape>& shapes) {
    for (const Shape& shape : shapes) {
      std::string name = row_of(shape).text();
      std::erase(name, '\n');
      try {
        std::visit([&](const auto& c) { check_shape(c, name); }, shape);
      } catch (const DeviceError& fault) {
        refused(name, fault);
      }
    }
    std::fprintf(stderr, "moesim-bench: %zu checks, %zu skipped, %zu wrong, %.0f s\n", shapes.size(),
                 record_.skipped.size(), record_.failed.size(), seconds_since(begin_));
    save();
    return record_.failed.size() > 0 ? 1 : 0;
  }

  void save() {
    saved_ = Clock::now();
    if (!options_.out.empty()) {
      record_.save(options_.out);
    }
  }

 private:
  static constexpr double kSaveEvery = 20.0;  // s, within a long group

  template <class C>
  void check_shape(const C& c, const std::string& name) {
    if constexpr (requires { prepare(c, bench_); }) {
      const std::unique_ptr<Prepared> prepared = prepare(c, bench_);
      const Verdict verdict = check_once(*prepared, bench_.stream.get());
      std::fprintf(stderr, "%s %.1e of %.0e (%s) %s\n", verdict.right() ? "right" : "WRONG", verdict.error,
                   verdict.tolerance, verdict.what.c_str(), name.c_str());
      if (!verdict.right()) {
        fail(name, verdict);
      }
    }
  }

  /// A case that did not fit, or that this GPU cannot run, is skipped; one that failed otherwise is noted. Throws where
  /// the device can do no more.
  void refused(const std::string& id, const DeviceError& fault) {
    if (dynamic_cast<const OutOfMemory*>(&fault) != nullptr || dynamic_cast<const Unsupported*>(&fault) != nullptr) {
      skip(id, fault.what());
      return;
    }
    if (dynamic_cast<const NoDevice*>(&fault) != nullptr) {
      throw NoDevice(fault.what());
    }
    std::fprintf(stderr, "moesim-bench: FAILED %s: %s\n", id.c_str(), fault.what());
    record_.failed.push(std::move(Json::object().set("case", id).set("reason", fault.what())));
    if (dynamic_cast<const Stuck*>(&fault) != nullptr || !device_works()) {
      throw DeviceError(id + ": " + fault.what() + "; nothing more can run in this process");
    }
  }
  void skip(const std::string& id, const char* why) {
    std::fprintf(stderr, "moesim-bench: skipped %s: %s\n", id.c_str(), why);
    record_.skipped.push(std::move(Json::object().set("case", id).set("reason", why)));
  }
  void fail(const std::string& id, const Verdict& verdict) {
    std::fprintf(stderr, "moesim-bench: WRONG RESULT of %s: %s is off by %.2e, not at most %.0e\n", id.c_str(),
                 verdict.what.c_str(), verdict.error, verdict.tolerance);
    record_.failed.push(std::move(Json::object()
                                      .set("case", id)
                                      .set("stage", verdict.what)
                                      .set("error", verdict.error)
                                      .set("tolerance", verdict.tolerance)));
  }

  void measure_one(const Case& c) {
    Measured measured{.shape = c.shape, .timing = {}, .id = c.id};
    try {
      Verdict verdict;
      measured.timing =
          std::visit([&](const auto& shape) { return timing_of(shape, verdict, measured.extra); }, c.shape);
      if (!verdict.right()) {
        fail(c.id, verdict);
        return;
      }
    } catch (const DeviceError& fault) {
      refused(c.id, fault);
      return;
    }
    if (const auto clocks = monitor_.clocks()) {
      measured.extra.set("sm_mhz", static_cast<std::int64_t>(clocks->sm_mhz));
    }
    record_.add(std::move(measured));
  }

  template <class C>
  Timing timing_of(const C& shape, Verdict& verdict, Json& extra) {
    if constexpr (std::is_same_v<C, LaunchCase>) {
      return measure_launch(shape, rule_, bench_);
    } else if constexpr (std::is_same_v<C, CollectiveCase>) {
      return measure_collective(shape, rule_, extra);
    } else if constexpr (std::is_same_v<C, ContentionCase>) {
      const Outcome outcome = measure_contention(shape, rule_, bench_, extra);
      verdict = outcome.verdict;
      return outcome.timing;
    } else {
      const std::unique_ptr<Prepared> prepared = prepare(shape, bench_);
      const Outcome outcome = check_and_measure(*prepared, rule_, bench_.stream.get());
      verdict = outcome.verdict;
      extra.set("error", verdict.error);
      return outcome.timing;
    }
  }

  void end_group(const Case& last) {
    Json seen = Json::object();
    seen.set("after", std::string(name_of(last.group)) + "/" + std::to_string(last.level))
        .set("seconds", std::round(seconds_since(begin_) * 10.0) / 10.0);
    if (const auto clocks = monitor_.clocks()) {
      seen.set("sm_mhz", static_cast<std::int64_t>(clocks->sm_mhz))
          .set("memory_mhz", static_cast<std::int64_t>(clocks->memory_mhz))
          .set("watts", static_cast<std::int64_t>(clocks->watts))
          .set("celsius", static_cast<std::int64_t>(clocks->celsius));
    }
    record_.clocks.push(std::move(seen));
    save();
    std::fprintf(stderr, "moesim-bench: %6.1f s: %s, level %d: %zu rows so far, %zu skipped, %zu wrong\n",
                 seconds_since(begin_), std::string(name_of(last.group)).c_str(), last.level, record_.rows.size(),
                 record_.skipped.size(), record_.failed.size());
  }

  const Options& options_;
  Bench& bench_;
  const Monitor& monitor_;
  Record& record_;
  Clock::time_point begin_;
  Clock::time_point saved_ = Clock::now();
  StopRule rule_;
};

int run(const std::vector<std::string>& arguments) {
  const Clock::time_point begin = Clock::now();
  const Options options = parse_options(arguments);
  if (options.mode == Mode::kHelp) {
    std::fputs(usage().c_str(), stdout);
    return 0;
  }
  const std::uint64_t seed = options.seed.value_or(static_cast<std::uint64_t>(std::time(nullptr)));
  Record record;
  record.version = options.commit;
  // Measurements are never edited, nor overwritten.
  const bool lists = options.mode == Mode::kList;
  if (!lists && !options.out.empty() && std::filesystem::exists(options.out)) {
    throw ConfigError({options.out, ""}, "expected a file that does not exist yet, found one");
  }
  const std::vector<Case> cases = options.mode == Mode::kCheck ? std::vector<Case>{} : cases_of(options, seed);
  if (lists) {
    return list(cases);
  }
  if (options.mode == Mode::kDryRun) {
    return dry_run(cases, options, record);
  }
  const DeviceFacts facts = open_device();
  const Monitor monitor;
  record.gpu = facts.name;
  record.environment = environment_of(facts, monitor, options, seed);
  if (!options.out.empty()) {
    record.save(options.out);  // before any time is spent on what could not be kept
  }
  const Stream stream;
  Blas blas;
  Bench bench{.facts = facts, .blas = blas, .stream = stream, .seed = seed};
  Run all(options, bench, monitor, record, begin);
  std::fprintf(stderr, "moesim-bench: %s, %zu cases, seed %llu\n", facts.name.c_str(), cases.size(),
               static_cast<unsigned long long>(seed));
  try {
    return options.mode == Mode::kCheck ? all.check_all(check_shapes()) : all.measure_all(cases);
  } catch (const DeviceError&) {
    all.save();  // nothing more can run, but what was measured stands
    throw;
  }
}

}  // namespace
}  // namespace moesim::bench

int main(int argc, char** argv) {
  using moesim::bench::NoDevice;
  try {
    return moesim::bench::run(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const moesim::ConfigError& fault) {
    for (const moesim::Diagnostic& diagnostic : fault.diagnostics()) {
      std::fprintf(stderr, "moesim-bench: %s\n", diagnostic.text().c_str());
    }
    return 2;
  } catch (const NoDevice& none) {
    std::fprintf(stderr, "moesim-bench: %s\n", none.what());
    return 2;
  } catch (const std::exception& fault) {
    std::fprintf(stderr, "moesim-bench: %s\n", fault.what());
    return 3;
  }
}
