#include "validate/fit/calibrate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <numeric>
#include <set>
#include <span>
#include <tuple>

#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"
#include "validate/fit/curve_fit.hpp"
#include "validate/fit/surface_fit.hpp"

namespace moesim {
namespace {

constexpr std::size_t kLeastRows = 40;
constexpr std::size_t kLeastShapes = 3;

std::uint64_t hash_of(std::string_view text) {  // FNV-1a, 64 bits
  std::uint64_t hash = 14695981039346656037ull;
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211ull;
  }
  return hash ^ (hash >> 29);
}

/// Rows of one fit, ready to learn from.
struct Group {
  FitFamily family = FitFamily::kGemm;
  DataType type = DataType::kBf16;
  std::string variant;
  std::vector<const Measurement*> rows;
  std::set<std::string> shapes;
  std::vector<FitQuery> queries;
  Samples samples;
  Duration floor;
  double lowest = 0.0;
  double highest = 0.0;
  double usual_lowest = 0.0;
  double usual_highest = 0.0;

  void prepare(const Accelerator& accelerator) {
    std::vector<double> times;
    for (const Measurement* row : rows) {
      const FitQuery query = fit_query(row->kernel, accelerator);
      queries.push_back(query);
      times.push_back(row->time.base());
    }
    // The shortest kernels, but for the luckiest measurement in a hundred.
    std::sort(times.begin(), times.end());
    floor = round_figure(seconds(times[times.size() / 100]));
    samples.columns.assign(feature_names(family).size(), {});
    for (std::size_t i = 0; i < rows.size(); ++i) {
      samples.target.push_back(std::log(rows[i]->time / (floor + queries[i].expected)));
      const auto values = queries[i].features.values();
      for (std::size_t f = 0; f < values.size(); ++f) {
        samples.columns[f].push_back(values[f]);
      }
    }
    const auto [low, high] = std::minmax_element(samples.target.begin(), samples.target.end());
    lowest = std::floor(*low * 100.0) / 100.0;
    highest = std::ceil(*high * 100.0) / 100.0;
    constexpr double kUnusual = 0.1;  // on either side
    std::vector<double> sorted = samples.target;
    std::sort(sorted.begin(), sorted.end());
    const auto at = static_cast<std::size_t>(kUnusual * static_cast<double>(sorted.size()));
    usual_lowest = std::floor(sorted[at] * 100.0) / 100.0;
    usual_highest = std::ceil(sorted[sorted.size() - 1 - at] * 100.0) / 100.0;
  }

  /// The fit but for trees and curves.
  [[nodiscard]] KernelFit terms() const {
    KernelFit fit;
    fit.family = family;
    fit.type = type;
    fit.variant = variant;
    if (expected_law(family) != 1) {
      fit.law = expected_law(family);
    }
    fit.rows = rows.size();
    fit.floor = floor;
    fit.lowest = lowest;
    fit.highest = highest;
    fit.usual_lowest = usual_lowest;
    fit.usual_highest = usual_highest;
    for (const std::string_view name : feature_names(family)) {
      fit.features.emplace_back(name);
    }
    for (const std::vector<double>& column : samples.columns) {
      const auto [low, high] = std::minmax_element(column.begin(), column.end());
      fit.range.push_back({std::floor(*low * 1e4) / 1e4, std::ceil(*high * 1e4) / 1e4});
    }
    return fit;
  }

  static Duration round_figure(Duration time) { return seconds(std::round(time.base() * 1e8) / 1e8); }

  [[nodiscard]] double error(const KernelFit& fit, const Surface& surface, const TreeSum& trees,
                             const CurveTerms& curves, std::uint32_t row) const {
    const FitQuery& query = queries[row];
    const Duration predicted =
        std::max(fitted_factor(surface, trees, curves, query, fit) * (floor + query.expected), query.light());
    return predicted / rows[row]->time - 1.0;
  }
};

/// Rows by shape, in the order of the shapes' keys.
using Shapes = std::map<std::uint64_t, std::vector<std::uint32_t>>;

Shapes shapes_of(const Group& group, std::span<const std::uint32_t> rows) {
  Shapes out;
  for (const std::uint32_t row : rows) {
    if (const auto key = CurveTerms::key_of(group.queries[row])) {
      out[*key].push_back(row);
    }
  }
  return out;
}

/// Less what the surface says, where the family has one.
Samples below(const Surface& surface, Samples samples, const Group& group) {
  for (std::size_t row = 0; row < samples.target.size(); ++row) {
    samples.target[row] -= surface.at(group.queries[row].features.values());
  }
  return samples;
}

/// What holds for shapes that were never measured.
struct Learned {
  Surface surface;
  TreeSum trees;

  [[nodiscard]] double left_over(const Group& group, std::uint32_t row) const {
    const auto values = group.queries[row].features.values();
    return group.samples.target[row] - surface.at(values) - trees.at(values);
  }
};

/// All rows but those of shapes that, in the median, take far longer than a coarse and robust fit to all rows says.
/// Only tables of experts have such.
std::vector<std::uint32_t> usual(const Group& group) {
  constexpr BoostingOptions kCoarse{.trees = 60, .leaves = 8, .clip = 0.1};
  constexpr double kFarLonger = 0.3;  // in the logarithm: a third
  constexpr std::size_t kLeast = 5;
  std::vector<std::uint32_t> all(group.rows.size());
  std::iota(all.begin(), all.end(), 0u);
  if (group.family != FitFamily::kExperts) {
    return all;
  }
  const Learned coarse{{}, boost(group.samples, all, kCoarse)};
  std::set<std::uint32_t> unusual;
  for (const auto& [key, members] : shapes_of(group, all)) {
    std::vector<double> left;
    for (const std::uint32_t row : members) {
      left.push_back(coarse.left_over(group, row));
    }
    const auto middle = left.begin() + static_cast<std::ptrdiff_t>(left.size() / 2);
    std::nth_element(left.begin(), middle, left.end());
    if (members.size() >= kLeast && *middle > kFarLonger) {
      unusual.insert(members.begin(), members.end());
    }
  }
  std::erase_if(all, [&](std::uint32_t row) { return unusual.contains(row); });
  return all;
}

/// What the trees leave of each shape along its sizes; curves that say nearly nothing are left out.
CurveTerms curve_terms(const Group& group, const Learned& learned, std::span<const std::uint32_t> rows) {
  constexpr double kNearlyNothing = 0.004;
  CurveTerms out;
  for (const auto& [key, members] : shapes_of(group, rows)) {
    std::vector<CurvePoint> points;
    for (const std::uint32_t row : members) {
      points.push_back({CurveTerms::size_of(group.queries[row]), learned.left_over(group, row)});
    }
    Curve curve = fit_curve(points);
    if (std::any_of(curve.values.begin(), curve.values.end(),
                    [](double value) { return std::abs(value) > kNearlyNothing; })) {
      out.add(key, std::move(curve));
    }
  }
  return out;
}

/// Enough leaves and trees for the family and the rows, and no more: small tables would be learned by heart, and
/// kernels that follow their speed of light closely need few corrections. Profiles stay small that way.
BoostingOptions sized(BoostingOptions options, FitFamily family, std::size_t rows) {
  if (rows < 4000) {
    options.leaves = std::min<std::size_t>(options.leaves, 8);
  } else {
    // As many trees as a profile may hold say more if each says more.
    options.rate = 2.0 * options.rate;
    const bool split = family == FitFamily::kGenerationAttention;  // keys over units, by rules of the library's own
    options.trees = std::min<std::size_t>(options.trees, split ? 200 : 120);
    options.leaves = std::min<std::size_t>(options.leaves, split ? 60 : 24);
  }
  return options;
}

Learned learn(const Group& group, std::span<const std::uint32_t> rows, const BoostingOptions& options) {
  BoostingOptions boosting = sized(options, group.family, rows.size());
  if (surface_axes(group.family).empty()) {
    return {{}, boost(group.samples, rows, boosting)};
  }
  // What a surface leaves is small, so that what strays shows sooner and much can be learned from many rows.
  constexpr std::size_t kManyRows = 500;
  boosting.clip = std::min(boosting.clip, 0.05);
  boosting.trees = rows.size() >= kManyRows ? boosting.trees * 5 / 3 : boosting.trees;
  Surface surface = fit_surface(group.family, group.samples, rows);
  const Samples rest = below(surface, group.samples, group);
  return {std::move(surface), boost(rest, rows, boosting)};
}

std::vector<Group> group(const std::vector<MeasurementTable>& tables) {
  std::map<std::tuple<FitFamily, DataType, std::string>, Group> groups;
  for (const MeasurementTable& table : tables) {
    for (const Measurement& row : table.rows) {
      const auto [family, type] = family_of(row.kernel);
      Group& to = groups[{family, type, row.variant}];
      to.family = family;
      to.type = type;
      to.variant = row.variant;
      to.rows.push_back(&row);
      to.shapes.insert(row.shape);
    }
  }
  std::vector<Group> out;
  for (auto& [key, one] : groups) {
    out.push_back(std::move(one));
  }
  // Of one family and type, the variant measured most stands first: it is the one that predictions use.
  std::stable_sort(out.begin(), out.end(), [](const Group& a, const Group& b) {
    return std::tuple(a.family, a.type, b.rows.size()) < std::tuple(b.family, b.type, a.rows.size());
  });
  return out;
}

enum class HoldBack { kSizes, kShapes };

std::size_t fold_of(const Measurement& row, HoldBack what, std::size_t folds) {
  return hash_of(what == HoldBack::kShapes ? row.shape : row.shape + "/" + row.size) % folds;
}

/// Relative errors at what was held back.
struct FoldErrors {
  std::vector<double> all;
  std::vector<double> usual;  ///< of rows that were not set aside

  void append(const FoldErrors& other) {
    all.insert(all.end(), other.all.begin(), other.all.end());
    usual.insert(usual.end(), other.usual.begin(), other.usual.end());
  }
};

FoldErrors fold_errors(const Group& group, std::span<const std::uint32_t> usual_rows, HoldBack what, std::size_t fold,
                       const CalibrationOptions& options) {
  std::vector<std::uint32_t> known;
  std::vector<std::uint32_t> held;
  for (std::uint32_t row = 0; row < group.rows.size(); ++row) {
    (fold_of(*group.rows[row], what, options.folds) == fold ? held : known).push_back(row);
  }
  std::vector<std::uint32_t> kept;
  std::set_intersection(known.begin(), known.end(), usual_rows.begin(), usual_rows.end(), std::back_inserter(kept));
  FoldErrors errors;
  if (held.empty() || kept.size() < kLeastRows / 2) {
    return errors;
  }
  const Learned learned = learn(group, kept, options.boosting);
  const CurveTerms curves = curve_terms(group, learned, known);
  const KernelFit fit = group.terms();
  for (const std::uint32_t row : held) {
    errors.all.push_back(group.error(fit, learned.surface, learned.trees, curves, row));
    if (std::binary_search(usual_rows.begin(), usual_rows.end(), row)) {
      errors.usual.push_back(errors.all.back());
    }
  }
  return errors;
}

double brief(double value) { return std::round(value * 1e5) / 1e5; }

FitErrors brief(FitErrors errors) {
  return {errors.n,          brief(errors.mape),  brief(errors.median),
          brief(errors.p90), brief(errors.worst), brief(errors.bias)};
}

KernelFit fit_of(const Group& group, std::span<const std::uint32_t> kept, const CalibrationOptions& options) {
  std::vector<std::uint32_t> all(group.rows.size());
  std::iota(all.begin(), all.end(), 0u);
  const Learned learned = learn(group, kept, options.boosting);
  KernelFit fit = group.terms();
  if (kept.size() < all.size()) {
    fit.set_aside = all.size() - kept.size();
  }
  fit.edges = learned.trees.edges();
  if (!surface_axes(group.family).empty()) {
    fit.surface = learned.surface.text();
  }
  fit.trees = learned.trees.text();
  fit.curves = curve_terms(group, learned, all).text();
  return fit;
}

}  // namespace

FitErrors errors_of(std::vector<double> relative) {
  FitErrors out;
  out.n = relative.size();
  if (relative.empty()) {
    return out;
  }
  const auto n = static_cast<double>(relative.size());
  out.bias = std::accumulate(relative.begin(), relative.end(), 0.0) / n;
  for (double& error : relative) {
    error = std::abs(error);
  }
  std::sort(relative.begin(), relative.end());
  out.mape = std::accumulate(relative.begin(), relative.end(), 0.0) / n;
  // Nearest rank: the smallest error that at least the share of all do not exceed.
  const auto rank = [&](double share) {
    return relative[static_cast<std::size_t>(std::max(std::ceil(share * n), 1.0)) - 1];
  };
  out.median = rank(0.5);
  out.p90 = rank(0.9);
  out.worst = relative.back();
  return out;
}

Calibration calibrate(const std::vector<MeasurementTable>& tables, const std::string& accelerator_name,
                      const CalibrationOptions& options, const TaskPool& pool) {
  const Accelerator accelerator = find_accelerator(accelerator_name, {"--gpu", ""});
  Calibration out;
  std::vector<Group> groups = group(tables);
  std::vector<Diagnostic> missing;
  std::erase_if(groups, [&](const Group& one) {
    const std::string file = tables.empty() ? "moesim calibrate" : tables.front().file;
    const std::string what = fmt::format("{} in {} ({})", name_of(one.family), name_of(one.type), one.variant);
    if (one.rows.size() < kLeastRows) {
      missing.push_back({{file, ""},
                         fmt::format("expected at least {} rows of {}, found {}: measure more sizes", kLeastRows, what,
                                     one.rows.size())});
      return true;
    }
    if (one.shapes.size() == 1) {
      missing.push_back({{file, ""},
                         fmt::format("expected at least {} shapes of {}, found one: measure others, or the "
                                     "error at unseen shapes stays unknown",
                                     kLeastShapes, what)});
    }
    return false;
  });
  const bool any_shapes =
      std::any_of(groups.begin(), groups.end(), [](const Group& one) { return one.shapes.size() > 1; });
  if (groups.empty() || !any_shapes) {
    if (missing.empty()) {
      const bool contention = std::any_of(tables.begin(), tables.end(),
                                          [](const MeasurementTable& table) { return !table.contention.empty(); });
      missing.push_back({{tables.empty() ? "moesim calibrate" : tables.front().file, ""},
                         fmt::format("expected measured kernels, found none that can be fitted{}",
                                     contention ? ": contention is fitted beside such only" : "")});
    }
    throw ConfigError(std::move(missing));
  }
  for (const Diagnostic& diagnostic : missing) {
    out.warnings.push_back(diagnostic.text());
  }

  std::vector<std::vector<std::uint32_t>> kept(groups.size());
  pool.for_each_index(groups.size(), [&](std::size_t i) {
    groups[i].prepare(accelerator);
    kept[i] = usual(groups[i]);
  });

  // One task per fit and fold; task 0 of each group is the fit itself.
  const std::size_t tasks = 1 + 2 * options.folds;
  std::vector<KernelFit> fits(groups.size());
  std::vector<FoldErrors> errors(groups.size() * tasks);
  pool.for_each_index(groups.size() * tasks, [&](std::size_t index) {
    const Group& one = groups[index / tasks];
    const std::size_t task = index % tasks;
    if (task == 0) {
      fits[index / tasks] = fit_of(one, kept[index / tasks], options);
    } else {
      const HoldBack what = (task - 1) / options.folds == 0 ? HoldBack::kSizes : HoldBack::kShapes;
      errors[index] = fold_errors(one, kept[index / tasks], what, (task - 1) % options.folds, options);
    }
  });
  for (std::size_t i = 0; i < groups.size(); ++i) {
    FoldErrors sizes;
    FoldErrors shapes;
    for (std::size_t fold = 0; fold < options.folds; ++fold) {
      sizes.append(errors[i * tasks + 1 + fold]);
      shapes.append(errors[i * tasks + 1 + options.folds + fold]);
    }
    if (!sizes.all.empty()) {
      fits[i].in_grid = brief(errors_of(std::move(sizes.all)));
    }
    if (!shapes.usual.empty() && shapes.usual.size() < shapes.all.size()) {
      fits[i].out_of_grid_usual = brief(errors_of(std::move(shapes.usual)));
    }
    if (!shapes.all.empty()) {
      fits[i].out_of_grid = brief(errors_of(std::move(shapes.all)));
    }
  }

  out.profile.name = options.name;
  out.profile.accelerator = accelerator_name;
  out.profile.framework = tables.front().framework;
  out.profile.framework_version = tables.front().version;
  out.profile.fits = std::move(fits);
  std::vector<ContentionRow> contention;
  for (const MeasurementTable& table : tables) {
    contention.insert(contention.end(), table.contention.begin(), table.contention.end());
  }
  ContentionFitting fitted = fit_contention(contention, options.contention, accelerator, options.folds);
  if (fitted.fit && fitted.fit->unseen_units) {
    fitted.fit->unseen_units = brief(*fitted.fit->unseen_units);
  }
  out.profile.contention = std::move(fitted.fit);
  out.warnings.insert(out.warnings.end(), fitted.warnings.begin(), fitted.warnings.end());
  return out;
}

}  // namespace moesim
