#include "sim/scenario/collective.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "sim/cli/commands.hpp"
#include "sim/cli/deliver.hpp"
#include "sim/cli/document_argument.hpp"
#include "sim/config/decode.hpp"
#include "sim/config/document.hpp"
#include "sim/report/collective_report.hpp"
#include "sim/report/timeline.hpp"

namespace moesim {

namespace {

struct CollectiveOptions : CommonOptions {
  std::string operation;
  std::string cluster;
  std::string profile;
  std::string protocol;
  std::string bytes;
  std::string trace;
  std::string routing;
  std::string placement;
  std::string dispatch_type;
  std::string combine_type;
  std::optional<std::int64_t> ranks, tokens, hidden, experts, top_k, groups, group_limit, layer, units;
};

bool is_file(const std::string& text) {
  std::error_code unused;
  return text.ends_with(".json") || std::filesystem::is_regular_file(text, unused);
}

/// A catalogue name, a file, or the JSON that a scenario would have.
Json named_or_inline(const std::string& option, const std::string& text) {
  if (text.starts_with('{')) {
    return Document::parse(option, text).root();
  }
  return is_file(text) ? Json{{"file", text}} : Json(text);
}

/// The options as the document that they stand for, so that files and options are read and checked alike.
Document document_of(const CollectiveOptions& options) {
  Json root = {{"operation", options.operation}, {"cluster", named_or_inline("--cluster", options.cluster)}};
  const auto text = [](Json& json, const char* key, const std::string& value) {
    if (!value.empty()) {
      json[key] = value;
    }
  };
  const auto number = [](Json& json, const char* key, const std::optional<std::int64_t>& value) {
    if (value) {
      json[key] = *value;
    }
  };
  number(root, "ranks", options.ranks);
  text(root, "protocol", options.protocol);
  if (!options.profile.empty()) {
    root["kernels"] = named_or_inline("--profile", options.profile);
  }
  if (!options.bytes.empty()) {
    root["size"] = with_unit_of_bytes(options.bytes);
  }
  Json load = Json::object();
  number(load, "tokens", options.tokens);
  number(load, "hidden", options.hidden);
  number(load, "experts", options.experts);
  number(load, "experts_per_token", options.top_k);
  number(load, "groups", options.groups);
  number(load, "groups_per_token", options.group_limit);
  number(load, "layer", options.layer);
  text(load, "dispatch", options.dispatch_type);
  text(load, "combine", options.combine_type);
  if (!load.empty()) {
    root["load"] = std::move(load);
  }
  if (!options.trace.empty()) {
    root["routing"] = {{"trace", {{"path", options.trace}}}};
  } else if (!options.routing.empty()) {
    root["routing"] = options.routing.starts_with('{') ? Document::parse("--routing", options.routing).root()
                                                       : Json{{options.routing, Json::object()}};
  }
  if (!options.placement.empty()) {
    root["placement"] = {{"strategy", options.placement}};
  }
  number(root, "communication_units", options.units);
  Document document = Document::parse("collective", root.dump());
  for (const std::string& assignment : options.assignments) {
    document.set(assignment);
  }
  return document;
}

void run(const CollectiveOptions& options) {
  const Document document = document_of(options);
  auto scenario = decode_document<CollectiveScenario>(document);
  if (options.seed) {
    scenario.seed = *options.seed;
  }
  const CollectiveResult result = run_collective(scenario, {document.name(), {}}, TaskPool(options.thread_count()));
  Delivery delivery{collective_json(result, "collective"), collective_table(result), result.warnings};
  if (!options.out.empty()) {
    delivery.files.emplace_back("timeline.json", chrome_trace(result.execution));
  }
  deliver(options, delivery);
}

}  // namespace

void add_collective(CLI::App& app) {
  auto options = std::make_shared<CollectiveOptions>();
  CLI::App* command = app.add_subcommand("collective", "Time one dispatch, combine or collective by itself");
  command
      ->add_option("operation", options->operation,
                   "dispatch, combine, all_to_all, all_reduce, all_gather, reduce_scatter, broadcast, send_recv")
      ->required();
  command->add_option("--cluster", options->cluster, "A name of `moesim list clusters`, a file, or JSON")->required();
  command->add_option("--ranks", options->ranks, "GPUs that take part");
  command->add_option("--protocol", options->protocol,
                      "`moesim list protocols` (dispatch, combine) or `moesim list collectives`; auto: the fastest");
  command->add_option("--profile", options->profile, "A name of `moesim list profiles`, a file, or JSON");
  command->add_option("--bytes", options->bytes, "S as nccl-tests has it: 1048576, or \"1 MiB\"");
  command->add_option("--tokens", options->tokens, "Of each rank");
  command->add_option("--hidden", options->hidden, "Width of a token's row");
  command->add_option("--experts", options->experts, "Routed experts, spread over all ranks");
  command->add_option("--top-k", options->top_k, "Experts of a token");
  command->add_option("--groups", options->groups, "Groups that the experts come in");
  command->add_option("--group-limit", options->group_limit, "Groups that a token's experts may come from");
  command->add_option("--precision,--dispatch-type", options->dispatch_type, "Type of dispatched tokens (fp8-block)");
  command->add_option("--combine-type", options->combine_type, "Type of results sent back (bf16)");
  command->add_option("--trace", options->trace, "Recorded choices, .npy or raw uint8");
  command->add_option("--layer", options->layer, "Layer of the trace");
  command->add_option("--routing", options->routing, "uniform (default), balanced, or a scenario's JSON");
  command->add_option("--placement", options->placement, "A name of `moesim list placements`");
  command->add_option("--sms", options->units, "SMs of the dispatch and combine kernels that keep some");
  options->add_simulation(*command);
  command->callback([options] { run(*options); });
}

}  // namespace moesim
