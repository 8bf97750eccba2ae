#include "validate/fit/validate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <limits>
#include <map>
#include <set>
#include <tuple>
#include <utility>
#include <variant>

#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"
#include "sim/core/suggest.hpp"
#include "validate/fit/calibrate.hpp"

namespace moesim {
namespace {

/// Letters and digits only, in lower case: "NVIDIA H100 80GB HBM3" and "h100_sxm" become comparable.
std::string plain(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
  }
  return out;
}

/// Does the text name the chip ("h200")? What goes on with a digit ("h2000") is another one.
bool names_chip(std::string_view text, std::string_view chip) {
  const auto same = [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; };
  for (auto at = text.begin();; ++at) {
    at = std::search(at, text.end(), chip.begin(), chip.end(), same);
    if (at == text.end()) {
      return false;
    }
    const auto next = at + static_cast<std::ptrdiff_t>(chip.size());
    if (next == text.end() || std::isdigit(static_cast<unsigned char>(*next)) == 0) {
      return true;
    }
  }
}

/// The accelerator whose chip the text names; of several, the SXM one, then the one whose memory it names.
std::optional<std::string> named_in(std::string_view text) {
  const std::string words = plain(text);
  std::optional<std::string> best;
  int best_score = 0;
  for (const std::string_view name : accelerator_catalogue().names()) {
    const std::string_view chip = name.substr(0, name.find('-'));
    if (!names_chip(text, chip)) {
      continue;
    }
    int score = 2 * static_cast<int>(chip.size());
    score += name.find("-sxm") != std::string_view::npos && words.find("pcie") == std::string::npos ? 2 : 0;
    score += words.find("pcie") != std::string::npos && name.find("pcie") != std::string_view::npos ? 2 : 0;
    score += name.find("80gb") != std::string_view::npos && words.find("40gb") == std::string::npos ? 1 : 0;
    if (score > best_score) {
      best_score = score;
      best = std::string(name);
    }
  }
  return best;
}

/// How different two GPUs of the catalogue are in memory bandwidth for each compute unit, |ln|: what a unit has to keep
/// in flight for the whole bandwidth, and so what part of it kernels reach. Infinite where one is not known.
double apart(const std::string& one, const std::string& other) {
  const Catalogue& known = accelerator_catalogue();
  if (!known.contains(one) || !known.contains(other)) {
    return std::numeric_limits<double>::infinity();
  }
  const auto of_unit = [](const std::string& name) {
    const Accelerator accelerator = find_accelerator(name, {});
    return accelerator.memory_bandwidth.base() / accelerator.compute_units;
  };
  return std::abs(std::log(of_unit(one) / of_unit(other)));
}

}  // namespace

std::optional<TableDevice> device_of(const MeasurementTable& table, const std::string& given) {
  if (!given.empty()) {
    if (accelerator_catalogue().contains(given)) {
      return TableDevice{given, "--gpu"};
    }
    if (const auto found = named_in(given)) {
      return TableDevice{*found, "--gpu"};
    }
    const auto names = accelerator_catalogue().names();
    throw ConfigError({"--gpu", ""}, fmt::format("expected an accelerator of the catalogue, found \"{}\"{}", given,
                                                 suggestion(given, names)));
  }
  if (const auto found = named_in(table.device)) {
    return TableDevice{*found, "the column device"};
  }
  for (auto folder = std::filesystem::path(table.file).parent_path(); folder.has_filename();
       folder = folder.parent_path()) {
    if (const auto found = named_in(folder.filename().string())) {
      return TableDevice{*found, "the folder"};
    }
  }
  return std::nullopt;
}

std::string nearest_profile(const std::string& accelerator, const std::string& framework) {
  std::string best = "roofline";
  std::pair<int, double> best_score{-1, 0.0};  // how much is the same, and minus how far apart
  for (const std::string_view name : fitted_catalogue().names()) {
    // Names are GPU-framework: so that choosing needs no profile to be read.
    const std::size_t dash = name.find('-');
    const std::string_view gpu = name.substr(0, dash);
    const std::string_view whose = dash == std::string_view::npos ? "" : name.substr(dash + 1);
    const int same = (accelerator.starts_with(gpu) ? 2 : 0) + (plain(whose) == plain(framework) ? 1 : 0);
    const std::pair score{same, -apart(accelerator, std::string(gpu) + "-sxm")};
    if (score > best_score) {
      best_score = score;
      best = std::string(name);
    }
  }
  return best;
}

Validation validate(const MeasurementTable& table, const KernelProfile& profile, const Accelerator& accelerator) {
  Validation out;
  out.warnings = table.warnings;
  const auto base = make_cost_model(profile.base, accelerator);
  std::map<std::string, std::vector<double>> by_operator;
  std::map<std::tuple<std::string, std::string, std::string>, std::vector<double>> by_part;
  std::map<std::string, std::size_t> unknown;
  std::map<std::string, std::size_t> unfitted;
  std::map<std::string, std::size_t> borrowed;
  for (const Measurement& m : table.rows) {
    const auto [family, type] = family_of(m.kernel);
    std::optional<Duration> predicted;
    if (const auto found = profile.choose(m.kernel, m.variant)) {
      const auto& [from, choice] = *found;
      predicted = from->predict(choice.fit, choice.kernel, accelerator).time;
      const KernelFit& used = from->profile().fits[choice.fit];
      if (used.variant != m.variant) {
        ++borrowed[fmt::format("{} ({})", m.op, m.variant)];
      }
    } else if (!std::holds_alternative<LatentModule>(m.kernel)) {
      const Kernel kernel = std::visit(
          [](const auto& k) -> Kernel {
            if constexpr (std::is_same_v<std::decay_t<decltype(k)>, LatentModule>) {
              return Streaming{};
            } else {
              return k;
            }
          },
          m.kernel);
      try {
        predicted = base->cost(kernel).time;
        ++unfitted[fmt::format("{} in {}", m.op, name_of(type))];
      } catch (const ModelError&) {  // a type that neither knows
        predicted = std::nullopt;
      }
    }
    if (!predicted) {
      ++unknown[fmt::format("{} in {}", m.op, name_of(type))];
      continue;
    }
    const double error = *predicted / m.time - 1.0;
    by_operator[m.op].push_back(error);
    by_part[{m.op, std::string(name_of(type)), m.variant}].push_back(error);
  }
  for (const ContentionRow& row : table.contention) {
    const double error = contention_error(profile.communication.contention, row, accelerator);
    by_operator["contention"].push_back(error);
    by_part[{"contention", std::string(name_of(row.bound)), "slowdown"}].push_back(error);
  }
  for (auto& [op, errors] : by_operator) {
    out.operators.push_back({op, "", "", errors_of(std::move(errors))});
  }
  for (auto& [part, errors] : by_part) {
    out.parts.push_back({std::get<0>(part), std::get<1>(part), std::get<2>(part), errors_of(std::move(errors))});
  }
  for (const auto& [what, count] : unknown) {
    out.warnings.push_back(fmt::format("{}: {} rows of {} skipped: profile {} has nothing for them", table.file, count,
                                       what, profile.name));
  }
  if (profile.fitted) {
    for (const auto& [what, count] : unfitted) {
      out.warnings.push_back(fmt::format("{}: {} rows of {} predicted by {}'s terms: profile {} has no fit for them",
                                         table.file, count, what, profile.base.name, profile.name));
    }
    for (const auto& [what, count] : borrowed) {
      out.warnings.push_back(
          fmt::format("{}: {} rows of {} predicted by the fit of another implementation", table.file, count, what));
    }
    if (profile.fitted->accelerator().name != accelerator.name) {
      out.warnings.push_back(fmt::format("profile {} was fitted on {}; its utilisations are taken to hold on {} too",
                                         profile.name, profile.fitted->accelerator().name, accelerator.name));
    }
  }
  return out;
}

}  // namespace moesim
