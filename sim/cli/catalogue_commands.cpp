#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "models/architecture/architecture.hpp"
#include "sim/cli/cluster_summary.hpp"
#include "sim/cli/commands.hpp"
#include "sim/cli/kinds.hpp"
#include "sim/cli/options.hpp"
#include "sim/config/decode.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/report/number.hpp"
#include "workloads/routing/routers/registry.hpp"

namespace moesim {

namespace {

void list(const std::string& kind_name, OutputFormat format) {
  const Kind& kind = find_kind(kind_name);
  const auto rows = kind.rows();
  if (format == OutputFormat::kJson) {
    Json json = Json::array();
    for (const ListRow& row : rows) {
      json.push_back({{"name", row.name}, {"summary", row.summary}});
      if (!row.source.empty()) {
        json.back()["source"] = row.source;
      }
    }
    fmt::print("{}\n", json.dump(2));
    return;
  }
  std::size_t width = 0;
  for (const ListRow& row : rows) {
    width = std::max(width, row.name.size());
  }
  for (const ListRow& row : rows) {
    fmt::print("{:<{}}  {}{}\n", row.name, width, row.summary, row.source.empty() ? "" : " [" + row.source + "]");
  }
}

/// The entry of `sources` for a field: its own, that of the nearest field around it, or "*".
std::string source_of(const Json& sources, std::string field) {
  while (!field.empty()) {
    if (sources.contains(field)) {
      return sources.at(field).get<std::string>();
    }
    const std::size_t cut = field.find_last_of("/.");
    field.resize(cut == std::string::npos ? 0 : cut);
  }
  return sources.contains("*") ? sources.at("*").get<std::string>() : "";
}

bool is_unverified(const Json& unverified, const std::string& field) {
  return std::any_of(unverified.begin(), unverified.end(), [&](const Json& entry) {
    const auto name = entry.get<std::string>();
    return name == "*" || name == "all" || field == name || field.starts_with(name + "/");
  });
}

/// Every figure on a line of its own, with the number of its source, and marked where nobody has read it in one; the
/// sources below.
class FieldTable {
 public:
  explicit FieldTable(const Json& root)
      : sources_(root.value("sources", Json::object())), unverified_(root.value("unverified", Json::array())) {
    add(root, {});
  }

  void print() const {
    std::size_t path_width = 0;
    std::size_t text_width = 0;
    constexpr std::size_t kWidestText = 40;
    for (const Row& row : rows_) {
      path_width = std::max(path_width, row.path.size());
      text_width = std::max(text_width, std::min(row.text.size(), kWidestText));
    }
    for (const Row& row : rows_) {
      fmt::print("  {:<{}}  {:<{}}{}{}\n", row.path, path_width, row.text, text_width,
                 row.source > 0 ? fmt::format("  [{}]", row.source) : "", row.unverified ? " UNVERIFIED" : "");
    }
    fmt::print("{}", cited_.empty() ? "" : "\n");
    for (std::size_t i = 0; i < cited_.size(); ++i) {
      fmt::print("  [{}] {}\n", i + 1, cited_[i]);
    }
  }

 private:
  struct Row {
    std::string path;
    std::string text;
    std::size_t source = 0;  ///< 1 …; 0: none given
    bool unverified = false;
  };

  void add(const Json& json, const std::string& path) {
    if (json.is_object()) {
      for (const auto& [key, value] : json.items()) {
        if (path.empty() && (key == "sources" || key == "unverified" || key == "schema")) {
          continue;
        }
        add(value, path.empty() ? key : path + "/" + key);
      }
      return;
    }
    if (json.is_array() && !json.empty() && json.front().is_object()) {
      for (std::size_t i = 0; i < json.size(); ++i) {
        add(json[i], fmt::format("{}/{}", path, i));
      }
      return;
    }
    constexpr std::size_t kLongest = 400;  // fitted trees have hundred thousands of characters: --format json has them
    std::string text = json.is_string() ? json.get<std::string>() : json.dump();
    if (text.size() > kLongest) {
      text = fmt::format("({} characters)", text.size());
    }
    rows_.push_back({path, std::move(text), number_of(source_of(sources_, path)), is_unverified(unverified_, path)});
  }

  std::size_t number_of(const std::string& source) {
    if (source.empty()) {
      return 0;
    }
    const auto known = std::find(cited_.begin(), cited_.end(), source);
    const auto number = static_cast<std::size_t>(known - cited_.begin()) + 1;
    if (known == cited_.end()) {
      cited_.push_back(source);
    }
    return number;
  }

  Json sources_;
  Json unverified_;
  std::vector<Row> rows_;
  std::vector<std::string> cited_;
};

void show_parameters(const Document& document) {
  const Model model(decode_document<Architecture>(document), {document.name(), {}});
  const ParameterCount total = total_parameters(model);
  const ParameterCount active = active_parameters(model);
  fmt::print("\n  parameters (computed from the shapes)   total      active per token\n");
  const auto row = [](std::string_view part, double all, double used) {
    if (all > 0.0) {
      fmt::print("  {:<38}  {:<10} {}\n", part, short_count(all), short_count(used));
    }
  };
  row("embedding and LM head", total.embedding, active.embedding);
  row("attention or recurrence", total.mixer, active.mixer);
  row("dense feed-forward", total.dense_feed_forward, active.dense_feed_forward);
  row("routers", total.router, active.router);
  row("routed experts", total.experts, active.experts);
  row("shared experts", total.shared_experts, active.shared_experts);
  row("norms", total.norms, active.norms);
  row("outside the described shapes", total.extra, active.extra);
  row("in all", total.total(), active.total());
}

/// A router's options: what each says, and its default.
void show_options(const RouterEntry& router) {
  const Json schema = Json::parse(router.options_schema());
  for (const auto& [key, option] : schema.at("properties").items()) {
    fmt::print("  {:<28} {:<12} {}\n", key, option.contains("default") ? option.at("default").dump() : "-",
               option.value("description", ""));
  }
}

enum class Drawing { kNone, kDot };

/// At the size that it has, or else with as many nodes as hold 1,024 GPUs.
Cluster cluster_to_show(const Document& document) {
  constexpr std::size_t kGpusShown = 1024;
  const auto config = decode_document<ClusterConfig>(document);
  const bool grows = config.network && !config.nodes;
  return build_cluster_for(config, grows ? kGpusShown : 1, {document.name(), {}});
}

void show(const std::string& kind_name, const std::string& name, OutputFormat format, Drawing drawing) {
  const Kind& kind = find_kind(kind_name);
  if (kind.catalogue == nullptr) {
    for (const ListRow& row : kind.rows()) {
      if (row.name == name) {
        fmt::print("{}: {} [{}]\n", row.name, row.summary, row.source);
        if (std::string_view(kind.name) == "routers") {
          show_options(*find_router(name));
        }
        return;
      }
    }
    throw ConfigError({name, {}}, fmt::format("expected a name from `moesim list {}`", kind.name));
  }
  const Document document = kind.catalogue()->find(name, {fmt::format("show {}", kind_name), {}});
  if (format == OutputFormat::kJson) {
    fmt::print("{}\n", document.root().dump(2));
    return;
  }
  const Json& root = document.root();
  if (kind.schema == "moesim.cluster/1") {
    const Cluster cluster = cluster_to_show(document);
    if (drawing == Drawing::kDot) {
      fmt::print("{}", to_dot(cluster));
      return;
    }
    fmt::print("{}\n{}\n", name, cluster_summary_text(cluster));
  } else if (drawing == Drawing::kDot) {
    throw ConfigError({"--dot", {}}, fmt::format("expected a cluster, found one of the {}", kind.name));
  } else {
    fmt::print("{}\n", name);
  }
  FieldTable(root).print();
  if (kind.schema == "moesim.model/1") {
    show_parameters(document);
  }
}

void print_schema(const std::string& name) {
  const Kind& kind = find_kind(name);
  if (kind.json_schema == nullptr) {
    throw ConfigError({name, {}},
                      fmt::format("expected a kind of file, found {}, which are {}", kind.name, kind.about));
  }
  fmt::print("{}\n", kind.json_schema().dump(2));
}

}  // namespace

void add_catalogue_commands(CLI::App& app) {
  std::string about = "What there is to choose from:";
  for (const Kind& kind : kinds()) {
    about += fmt::format("\n  {}: {}", kind.name, kind.about);
  }
  struct Arguments : CommonOptions {
    std::string kind;
    std::string name;
    Drawing drawing = Drawing::kNone;
  };
  auto arguments = std::make_shared<Arguments>();
  CLI::App* list_command = app.add_subcommand("list", "List models, accelerators, clusters, …")->footer(about);
  list_command
      ->add_option("kind", arguments->kind, "models, accelerators, nics, clusters, profiles, scenarios, placements, …")
      ->required();
  arguments->add_format(*list_command);
  list_command->callback([arguments] { list(arguments->kind, arguments->format); });

  CLI::App* show_command = app.add_subcommand("show", "Show one of them, every figure with its source")->footer(about);
  show_command->add_option("kind", arguments->kind, "As for list, singular or plural")->required();
  show_command->add_option("name", arguments->name, "As list prints it")->required();
  arguments->add_format(*show_command);
  show_command->add_flag_callback(
      "--dot", [arguments] { arguments->drawing = Drawing::kDot; }, "A cluster as a graph for Graphviz");
  show_command->callback(
      [arguments] { show(arguments->kind, arguments->name, arguments->format, arguments->drawing); });

  CLI::App* schema_command = app.add_subcommand("schema", "Print the JSON Schema of a kind of file");
  schema_command->add_option("name", arguments->kind, "scenario, model, cluster, accelerator, nic, profile, …")
      ->required();
  schema_command->callback([arguments] { print_schema(arguments->kind); });
}

}  // namespace moesim
