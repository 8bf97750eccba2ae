#include "validate/kernels/options.hpp"

#include <charconv>

#include "sim/core/error.hpp"

namespace moesim::bench {
namespace {

template <class T>
T number(const std::string& option, std::string_view text, T least, T most) {
  T value{};
  const auto [end, fault] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (fault != std::errc() || end != text.data() + text.size() || !(value >= least) || !(value <= most)) {
    std::string low = std::to_string(least);
    std::string high = std::to_string(most);
    throw ConfigError({option, ""},
                      "expected a number from " + low + " to " + high + ", found \"" + std::string(text) + "\"");
  }
  return value;
}

template <class T>
std::vector<T> numbers(const std::string& option, std::string_view text, T least, T most) {
  std::vector<T> values;
  while (true) {
    const std::size_t comma = text.find(',');
    values.push_back(number<T>(option, text.substr(0, comma), least, most));
    if (comma == std::string_view::npos) {
      return values;
    }
    text.remove_prefix(comma + 1);
  }
}

}  // namespace

std::string usage() {
  return R"(Usage: moesim-bench [OPTION…]
Measures the kernels of a MoE layer on this machine's first GPU, each checked against a float64 reference before it is
timed, and writes them as moesim.measurement/1, which `moesim calibrate --table-format moesim` reads.

  --list             print the cases, most valuable first, and end; needs no GPU
  --dry-run          print what would run within the budget and what it needs, and end; needs no GPU
  --check            check all kernels on small shapes of every kind, and end
  --only PATTERN     only cases whose name contains PATTERN, * for anything; repeatable
  --without FILE     no case that these measurements have already, or that failed in them; repeatable
  --budget SECONDS   end after that long, what is most valuable first (570)
  --case SECONDS     sample one case at most that long (0.25)
  --out FILE         write the measurements there, anew after each group
  --routing FILE     replay this recording, .npy [tokens, layers, k], rank by rank
  --model NAME       the layer that the recording is of (default: judged by its experts)
  --ep N,…           ranks that share the experts in a replay (8)
  --tokens N,…       tokens of all ranks in a replayed batch (512,8192)
  --seed N           of the random data (default: the clock)
  --commit HASH      noted in the file

Exit code 0: done; 1: a kernel's result was wrong; 2: bad input, or no GPU that could be used; 3: the GPU failed.
)";
}

Options parse_options(const std::vector<std::string>& arguments) {
  Options out;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    std::string option = arguments[i];
    std::optional<std::string> attached;
    if (const std::size_t equals = option.find('='); option.starts_with("--") && equals != std::string::npos) {
      attached = option.substr(equals + 1);
      option.resize(equals);
    }
    const auto value = [&]() -> std::string {
      if (attached) {
        return *attached;
      }
      if (i + 1 == arguments.size()) {
        throw ConfigError({option, ""}, "expected a value, found none");
      }
      return arguments[++i];
    };
    if (option == "--list") {
      out.mode = Mode::kList;
    } else if (option == "--dry-run") {
      out.mode = Mode::kDryRun;
    } else if (option == "--check") {
      out.mode = Mode::kCheck;
    } else if (option == "--help" || option == "-h") {
      out.mode = Mode::kHelp;
    } else if (option == "--only") {
      out.only.push_back(value());
    } else if (option == "--without") {
      out.without.push_back(value());
    } else if (option == "--budget") {
      out.budget = number<double>(option, value(), 1.0, 1e6);
    } else if (option == "--case") {
      out.case_limit = number<double>(option, value(), 0.001, 3600.0);
    } else if (option == "--out") {
      out.out = value();
    } else if (option == "--routing") {
      out.routing = value();
    } else if (option == "--model") {
      out.model = value();
    } else if (option == "--ep") {
      out.expert_parallel = numbers<int>(option, value(), 1, 65536);
    } else if (option == "--tokens") {
      out.tokens = numbers<std::int64_t>(option, value(), 1, std::int64_t{1} << 24);
    } else if (option == "--seed") {
      out.seed = number<std::uint64_t>(option, value(), 0, ~std::uint64_t{0});
    } else if (option == "--commit") {
      out.commit = value();
    } else {
      throw ConfigError({"moesim-bench", ""}, "expected an option that --help names, found \"" + arguments[i] + "\"");
    }
  }
  return out;
}

}  // namespace moesim::bench
