#include "sim/cli/options.hpp"

#include <algorithm>
#include <cstdint>
#include <map>
#include <thread>

namespace moesim {

void CommonOptions::add_set(CLI::App& command) {
  command.add_option("--set", assignments, "Change one value: /json/pointer=value (repeatable)")
      ->allow_extra_args(false);
}
void CommonOptions::add_seed(CLI::App& command) {
  command.add_option("--seed", seed, "Seed of every random draw")
      ->check(CLI::Range(std::uint64_t{0}, std::uint64_t{INT64_MAX}));
}
void CommonOptions::add_threads(CLI::App& command) {
  command.add_option("--threads", threads, "Threads to use; results do not depend on it (default: all cores)")
      ->check(CLI::Range(1, 1024));
}
void CommonOptions::add_out(CLI::App& command) {
  command.add_option("--out", out, "Folder to write result and timeline into");
}
void CommonOptions::add_format(CLI::App& command) {
  static const std::map<std::string, OutputFormat> kNames{{"table", OutputFormat::kTable},
                                                          {"json", OutputFormat::kJson}};
  command.add_option("--format", format, "table (default) or json: one document on stdout")
      ->transform(CLI::CheckedTransformer(kNames))
      ->option_text("table|json");
}
void CommonOptions::add_simulation(CLI::App& command) {
  add_set(command);
  add_seed(command);
  add_threads(command);
  add_out(command);
  add_format(command);
}
std::size_t CommonOptions::thread_count() const {
  return threads > 0 ? threads : std::max<std::size_t>(1, std::thread::hardware_concurrency());
}

}  // namespace moesim
