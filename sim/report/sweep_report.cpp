#include "sim/report/sweep_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/config/describe.hpp"
#include "sim/core/units.hpp"
#include "sim/report/number.hpp"
#include "sim/report/result_frame.hpp"

namespace moesim {

namespace {

std::string figure_text(Figure figure, double value) {
  if (const UnitTable* table = units_of(figure)) {
    return format_quantity(value, *table);
  }
  switch (figure) {
    case Figure::kMfu:
    case Figure::kHfu:
    case Figure::kHbmUtilisation:
      return percent(value);
    case Figure::kLoadImbalanceMean:
      return fmt::format("{:.3f}", value);
    default:
      return grouped(std::llround(value));
  }
}

/// At the head of a column: the figure's name would be wider than its values.
std::string_view heading(Figure figure) {
  switch (figure) {
    case Figure::kStepTime:
      return "step time";
    case Figure::kTimePerOutputToken:
      return "per token";
    case Figure::kTokensPerSecond:
      return "tokens/s";
    case Figure::kTokensPerSecondPerGpu:
      return "tokens/s GPU";
    case Figure::kCostPerMillionTokens:
      return "per M tokens";
    case Figure::kMfu:
      return "MFU";
    case Figure::kHfu:
      return "HFU";
    case Figure::kHbmUtilisation:
      return "HBM use";
    case Figure::kHbmPeakPerRank:
      return "HBM peak";
    case Figure::kBytesInterNode:
      return "inter-node";
    case Figure::kLoadImbalanceMean:
      return "imbalance";
    case Figure::kGpus:
      return "GPUs";
  }
  return name_of(figure);
}

struct AxisColumn {
  std::string pointer;
  std::size_t axis;
  const std::vector<Json>* values;
  [[nodiscard]] const Json& at(const SweepPoint& point) const { return (*values)[point.at[axis]]; }
};

std::vector<AxisColumn> axis_columns(const Sweep& sweep) {
  std::vector<AxisColumn> columns;
  for (std::size_t axis = 0; axis < sweep.config.axes.size(); ++axis) {
    for (const auto& [pointer, values] : sweep.config.axes[axis].value) {
      columns.push_back({pointer, axis, &values});
    }
  }
  return columns;
}

/// A time, what a GPU gives and holds, then what limits, objectives and the sweep itself name, each once.
std::vector<Figure> shown_figures(const SweepConfig& config) {
  const bool per_token =
      std::any_of(config.objectives.begin(), config.objectives.end(),
                  [](const SweepObjective& objective) { return objective.metric == Figure::kTimePerOutputToken; });
  std::vector<Figure> figures{per_token ? Figure::kTimePerOutputToken : Figure::kStepTime,
                              Figure::kTokensPerSecondPerGpu, Figure::kHbmPeakPerRank};
  const auto add = [&](Figure figure) {
    if (std::find(figures.begin(), figures.end(), figure) == figures.end()) {
      figures.push_back(figure);
    }
  };
  for (const SweepObjective& objective : config.objectives) {
    add(objective.metric);
  }
  for (const SweepLimit& limit : config.limits) {
    add(limit.metric);
  }
  for (const Figure figure : config.show) {
    add(figure);
  }
  return figures;
}

/// All figures that any point has, in their order: what is drafted or dropped has figures of its own.
std::vector<Metric> all_metrics(const Sweep& sweep) {
  std::vector<Metric> all;
  for (const SweepPoint& point : sweep.points) {
    auto at = all.begin();
    for (const Metric& metric : point.metrics) {
      const auto same = std::find_if(all.begin(), all.end(), [&](const Metric& m) { return m.name == metric.name; });
      at = same != all.end() ? same + 1 : all.insert(at, metric) + 1;
    }
  }
  return all;
}

/// Of the step's time: what to mend first.
std::string largest_part(const SweepPoint& point) {
  const auto largest = std::max_element(point.attribution.begin(), point.attribution.end());
  const double whole = point.figure(Figure::kStepTime).value();
  return fmt::format("{} {}", EnumNames<TimeCategory>::names[largest - point.attribution.begin()].second,
                     percent(largest->duration().base() / whole));
}

using Lines = std::vector<std::vector<std::string>>;

/// Code points, not bytes: "µ" is one column wide.
std::size_t width_of(std::string_view text) {
  return static_cast<std::size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

std::string aligned(const Lines& lines) {
  std::vector<std::size_t> widths;
  for (const auto& line : lines) {
    widths.resize(std::max(widths.size(), line.size()));
    for (std::size_t i = 0; i < line.size(); ++i) {
      widths[i] = std::max(widths[i], width_of(line[i]));
    }
  }
  std::string text;
  for (const auto& line : lines) {
    std::string row = " ";
    for (std::size_t i = 0; i < line.size(); ++i) {
      row += std::string(1 + widths[i] - width_of(line[i]), ' ') + line[i] + ' ';
    }
    row.erase(row.find_last_not_of(' ') + 1);
    text += row + '\n';
  }
  return text;
}

std::vector<std::string> names_of(const std::vector<AxisColumn>& columns) {
  std::vector<std::string> names;
  for (const AxisColumn& column : columns) {
    names.push_back(column.pointer.substr(column.pointer.rfind('/') + 1));
  }
  return names;
}

std::string limits_text(const SweepConfig& config) {
  std::string text;
  for (const SweepLimit& limit : config.limits) {
    text += text.empty() ? "" : ", ";
    text += name_of(limit.metric);
    text += limit.at_least ? fmt::format(" at least {}", value_text(*limit.at_least)) : "";
    text += limit.at_most ? fmt::format("{} at most {}", limit.at_least ? "," : "", value_text(*limit.at_most)) : "";
  }
  return text;
}

std::string objectives_text(const SweepConfig& config) {
  std::string text;
  for (const SweepObjective& objective : config.objectives) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", objective.goal == Goal::kMaximise ? "most" : "least",
                        name_of(objective.metric));
  }
  return text;
}

std::vector<std::string> cells(const Sweep& sweep, const SweepPoint& point, const std::vector<AxisColumn>& columns,
                               const std::vector<Figure>& figures) {
  std::vector<std::string> line;
  for (const AxisColumn& column : columns) {
    line.push_back(value_text(column.at(point)));
  }
  for (const Figure figure : figures) {
    const auto value = point.figure(figure);
    line.push_back(value ? figure_text(figure, *value) : "-");
  }
  line.push_back(point.ran() ? largest_part(point) : "cannot run");
  if (!sweep.config.limits.empty()) {
    line.push_back(!point.ran() ? "-" : point.within_limits ? "yes" : "no");
  }
  line.push_back(point.on_front ? "*" : "");
  return line;
}

std::string obstacles_text(const Sweep& sweep) {
  std::string text;
  for (const SweepPoint& point : sweep.points) {
    if (!point.ran()) {
      text += fmt::format("  {}: {}\n", values_text(sweep.config, point.at), point.obstacle);
    }
  }
  return text.empty() ? text : "\ncannot run\n" + text;
}

}  // namespace

std::string sweep_table(const Sweep& sweep) {
  const std::vector<AxisColumn> columns = axis_columns(sweep);
  const std::vector<Figure> figures = shown_figures(sweep.config);
  std::vector<std::string> head = names_of(columns);
  for (const Figure figure : figures) {
    head.emplace_back(heading(figure));
  }
  head.emplace_back("largest part");
  if (!sweep.config.limits.empty()) {
    head.emplace_back("within");
  }
  Lines lines{std::move(head)};
  for (const SweepPoint& point : sweep.points) {
    lines.push_back(cells(sweep, point, columns, figures));
  }
  const auto ran = std::count_if(sweep.points.begin(), sweep.points.end(), [](const auto& p) { return p.ran(); });
  const auto within =
      std::count_if(sweep.points.begin(), sweep.points.end(), [](const auto& p) { return p.within_limits; });
  std::string text = fmt::format("{} under {} combinations, {} of which can run\n\n{}", sweep.config.scenario.written,
                                 sweep.points.size(), ran, aligned(lines));
  text += obstacles_text(sweep);
  if (!sweep.config.limits.empty()) {
    text += fmt::format("\nwithin: {}: {} of {}\n", limits_text(sweep.config), within, sweep.points.size());
  }
  text += fmt::format("{}*: no other{} is better in one of these without being worse in another: {}\n",
                      sweep.config.limits.empty() ? "\n" : "", sweep.config.limits.empty() ? "" : " within the limits",
                      objectives_text(sweep.config));
  return text;
}

Json sweep_json(const Sweep& sweep) {
  std::vector<Metric> metrics{{"points", static_cast<double>(sweep.points.size()), "1", "combinations of values"},
                              {"points_run",
                               static_cast<double>(std::count_if(sweep.points.begin(), sweep.points.end(),
                                                                 [](const auto& point) { return point.ran(); })),
                               "1", "combinations that can run"},
                              {"points_within_limits",
                               static_cast<double>(std::count_if(sweep.points.begin(), sweep.points.end(),
                                                                 [](const auto& p) { return p.within_limits; })),
                               "1", "combinations that can run and hold all limits"}};
  Json json = result_frame({.command = "sweep",
                            .seed = sweep.base.seed,
                            .scenario = Codec<SweepConfig>::encode(sweep.config),
                            .inputs = sweep.inputs,
                            .metrics = metrics,
                            .warnings = sweep.warnings});
  json["base"] = Codec<Scenario>::encode(sweep.base);
  const std::vector<AxisColumn> columns = axis_columns(sweep);
  json["figures"] = Json::array();
  json["figures"].push_back({{"name", "gpus"}, {"unit", "1"}, {"definition", "GPUs that the step runs on"}});
  for (const Metric& metric : all_metrics(sweep)) {
    json["figures"].push_back({{"name", std::string(metric.name)},
                               {"unit", std::string(metric.unit)},
                               {"definition", std::string(metric.definition)}});
  }
  json["points"] = Json::array();
  for (const SweepPoint& point : sweep.points) {
    Json row = {{"set", Json::object()}};
    for (const AxisColumn& column : columns) {
      row["set"][column.pointer] = column.at(point);
    }
    row["obstacle"] = point.ran() ? Json(nullptr) : Json(point.obstacle);
    row["within_limits"] = point.within_limits;
    row["front"] = point.on_front;
    row["figures"] = Json::object();
    row["attribution"] = Json::array();
    if (point.ran()) {
      row["figures"]["gpus"] = point.gpus;
      for (const Metric& metric : point.metrics) {
        row["figures"][std::string(metric.name)] = metric.value;
      }
      for (std::size_t c = 0; c < kTimeCategories; ++c) {
        row["attribution"].push_back({{"category", std::string(EnumNames<TimeCategory>::names[c].second)},
                                      {"value", point.attribution[c].duration().base()},
                                      {"unit", "s"}});
      }
    }
    json["points"].push_back(std::move(row));
  }
  json["front"] = sweep.front;
  return json;
}

namespace {

std::string quoted(std::string text) {
  if (text.find_first_of(",\"\n") == std::string::npos) {
    return text;
  }
  for (std::size_t i = 0; (i = text.find('"', i)) != std::string::npos; i += 2) {
    text.insert(i, 1, '"');
  }
  return '"' + text + '"';
}

}  // namespace

std::string sweep_csv(const Sweep& sweep) {
  const std::vector<AxisColumn> columns = axis_columns(sweep);
  const std::vector<Metric> all = all_metrics(sweep);
  std::string text;
  for (const AxisColumn& column : columns) {
    text += quoted(column.pointer) + ',';
  }
  text += "obstacle,within_limits,front,gpus";
  for (const Metric& metric : all) {
    text += fmt::format(",{}", metric.name);
  }
  text += '\n';
  for (const SweepPoint& point : sweep.points) {
    for (const AxisColumn& column : columns) {
      text += quoted(value_text(column.at(point))) + ',';
    }
    text += fmt::format("{},{},{}", quoted(point.obstacle), point.within_limits, point.on_front);
    text += point.ran() ? fmt::format(",{}", point.gpus) : ",";
    for (const Metric& metric : all) {
      const auto same = std::find_if(point.metrics.begin(), point.metrics.end(),
                                     [&](const Metric& other) { return other.name == metric.name; });
      text += same == point.metrics.end() ? "," : fmt::format(",{}", same->value);
    }
    text += '\n';
  }
  return text;
}

}  // namespace moesim
