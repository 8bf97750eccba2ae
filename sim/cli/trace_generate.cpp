#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "models/architecture/architecture.hpp"
#include "sim/cli/commands.hpp"
#include "sim/cli/options.hpp"
#include "sim/config/decode.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
#include "sim/scenario/run.hpp"
#include "workloads/routing/generator.hpp"
#include "workloads/routing/routers/router_routing.hpp"
#include "workloads/routing/routers/write_choices.hpp"
#include "workloads/routing/write_trace.hpp"

namespace moesim {

namespace {

struct GenerateArguments : CommonOptions {
  std::string output;
  std::string like;
  std::string router;
  std::string options;
  std::string model;
  std::string scores;
  std::string training_log;
  std::size_t experts = 0;
  std::size_t top_k = 0;
  std::size_t layers = 0;
  std::size_t tokens = 0;
  std::size_t sequence_tokens = 0;
  std::optional<std::size_t> train_steps;

  [[nodiscard]] TokenBatch batch(std::size_t each) const {
    TokenBatch batch;
    for (std::size_t token = 0; token < tokens; ++token) {
      batch.tokens.push_back({static_cast<std::uint32_t>(token / each), static_cast<std::uint32_t>(token % each)});
    }
    return batch;
  }
};

void generate_like(const GenerateArguments& arguments) {
  std::error_code unused;
  const Place place{"--like " + arguments.like, {}};
  const GeneratorParameters parameters = decode_generator(std::filesystem::exists(arguments.like, unused)
                                                              ? Document::read(arguments.like)
                                                              : generator_catalogue().find(arguments.like, place));
  const RoutingShape shape{0, parameters.spread.size(), parameters.experts_per_token, parameters.experts};
  const std::uint64_t seed = arguments.seed.value_or(1);
  const GeneratedSource source = generated_source(parameters, shape, {}, seed, parameters.name);
  const TokenBatch batch = arguments.batch(std::max<std::size_t>(arguments.sequence_tokens, 1));
  const StepRouting routing = source.draw(batch, seed, TaskPool(arguments.thread_count()));
  write_file(arguments.output, npy_bytes(routing));
  fmt::print("{}: {} tokens, {} layers, top-{} of {} experts, like {}\n", arguments.output, arguments.tokens,
             shape.layers, shape.k, shape.experts, parameters.name);
}

/// The scenario's {"router": …}, put together from the command line.
Document router_document(const GenerateArguments& arguments) {
  Json json = Json::object();
  if (!arguments.router.empty()) {
    json["gate"] = arguments.router;
  }
  if (!arguments.options.empty()) {
    json["gate"] = Json{{arguments.router, Document::parse("--options", arguments.options).root()}};
  }
  if (!arguments.scores.empty()) {
    json["scores"] = arguments.scores;
  }
  if (arguments.train_steps) {
    json["training"] = {{"steps", *arguments.train_steps}};
  }
  Document document = Document::parse("--router " + arguments.router, json.dump());
  for (const std::string& assignment : arguments.assignments) {
    document.set(assignment);
  }
  return document;
}

RoutingNeeds needs_of(const GenerateArguments& arguments) {
  RoutingNeeds needs{.moe_layers = 1, .all_layers = 1};
  needs.k = 1;
  if (!arguments.model.empty()) {
    const Place place{"--model", {}};
    std::error_code unused;
    const bool is_file = std::filesystem::exists(arguments.model, unused);
    const ModelChoice choice =
        is_file ? ModelChoice(ModelFile{{arguments.model, arguments.model}}) : ModelChoice(ModelName{arguments.model});
    const Model model = load_model(choice, place);
    if (model.moe() == nullptr) {
      throw ConfigError(place, "expected a model with experts, found a dense one");
    }
    needs = routing_needs(model);
  }
  if (!arguments.scores.empty() && arguments.model.empty()) {
    const ScoreShape shape = score_shape(arguments.scores);
    needs.moe_layers = shape.layers;
    needs.experts = shape.experts;
  }
  needs.experts = arguments.experts > 0 ? arguments.experts : needs.experts;
  needs.k = arguments.top_k > 0 ? arguments.top_k : needs.k;
  needs.moe_layers = arguments.layers > 0 ? arguments.layers : needs.moe_layers;
  if (needs.experts == 0) {
    constexpr std::size_t kExperts = 64;  // of nobody's model in particular
    needs.experts = kExperts;
  }
  if (needs.k > needs.experts) {
    throw ConfigError({"--top-k", {}},
                      fmt::format("expected at most the {} experts, found {}", needs.experts, needs.k));
  }
  return needs;
}

void report_training(const GenerateArguments& arguments, const TrainingLog& log) {
  if (!arguments.training_log.empty()) {
    const bool json = std::filesystem::path(arguments.training_log).extension() == ".json";
    write_file(arguments.training_log, json ? training_json(log).dump(2) + '\n' : training_csv(log));
  }
  if (log.records.empty()) {
    return;
  }
  fmt::print("training with losses {}; mean over layers\n", training_weights(log));
  fmt::print("    step  max/mean   dropped  tokens unserved  unused experts  entropy (bits)\n");
  const std::vector<TrainingRecord> steps = mean_over_layers(log);
  constexpr std::size_t kLines = 10;
  for (std::size_t line = 0; line <= kLines; ++line) {
    const std::size_t at = line * (steps.size() - 1) / kLines;
    if (line > 0 && at == (line - 1) * (steps.size() - 1) / kLines) {
      continue;
    }
    const TrainingRecord& r = steps[at];
    fmt::print("{:>8}  {:>8.3f}  {:>7.2f} %  {:>13.2f} %  {:>14.1f}  {:>14.3f}\n", r.step, r.max_over_mean,
               100.0 * r.dropped, 100.0 * r.unserved, r.unused_experts, r.entropy);
  }
  fmt::print("dropped after training, by an expert's rows over choices/experts:");
  for (const char* before = " "; const TrainingLog::DropRate& rate : log.drop_rates) {
    fmt::print("{}{:g}: {:.2f} %", std::exchange(before, ", "), rate.capacity_factor, 100.0 * rate.dropped);
  }
  fmt::print("\n\n");
}

void generate_routed(const GenerateArguments& arguments) {
  const Document document = router_document(arguments);
  const auto config = decode_document<RouterRouting>(document);
  const RoutingNeeds needs = needs_of(arguments);
  const TaskPool pool(arguments.thread_count());
  const MadeRouter made = make_router(config, needs, {document.name(), {}}, pool);
  constexpr std::size_t kSequence = 1024;
  const TokenBatch batch = arguments.batch(arguments.sequence_tokens > 0 ? arguments.sequence_tokens : kSequence);
  const StepRouting routing = made.source->draw(batch, arguments.seed.value_or(1), pool);
  if (made.training) {
    report_training(arguments, *made.training);
  }
  write_file(arguments.output, npy_of_choices(routing));
  double choices = 0.0;
  double dropped = 0.0;
  for (const RoutedLayerCounts& layer : routing.router->layers) {
    choices += static_cast<double>(layer.choices);
    dropped += static_cast<double>(layer.dropped);
  }
  const auto with_empty = std::count(routing.choices.begin(), routing.choices.end(), kNoExpert);
  fmt::print("{}: {} tokens, {} layers, up to {} of {} experts; {}; {:.2f} % of choices dropped{}\n", arguments.output,
             routing.shape.tokens, routing.shape.layers, routing.shape.k, routing.shape.experts,
             made.source->provenance(), choices > 0.0 ? 100.0 * dropped / choices : 0.0,
             with_empty > 0 ? "; empty slots are -1, which `trace info --dropped` reads" : "");
  if (arguments.top_k > 0 && routing.shape.k != arguments.top_k) {
    fmt::print(stderr, "warning: --top-k {}: this router says itself how many experts a token has\n", arguments.top_k);
  }
  for (const std::string& warning : routing.warnings) {
    fmt::print(stderr, "warning: {}\n", warning);
  }
}

void generate(const GenerateArguments& arguments) {
  const bool routed = !arguments.router.empty() || !arguments.model.empty() || !arguments.scores.empty();
  if (routed == !arguments.like.empty()) {
    throw ConfigError({"trace generate", {}},
                      fmt::format("expected either --like or --router (or --model, whose router it is), found {}",
                                  routed ? "both" : "neither"));
  }
  if (!arguments.training_log.empty() && !arguments.train_steps && routed) {
    throw ConfigError({"--training-log", {}}, "expected with --train-steps, found without");
  }
  if (!arguments.options.empty() && arguments.router.empty()) {
    throw ConfigError({"--options", {}}, "expected --router beside it, whose options they are; found none");
  }
  if (!routed) {  // a generator knows its own shape
    const std::array<std::pair<std::string_view, bool>, 6> shaped{
        {{"--experts", arguments.experts > 0},
         {"--top-k", arguments.top_k > 0},
         {"--layers", arguments.layers > 0},
         {"--set", !arguments.assignments.empty()},
         {"--train-steps", arguments.train_steps.has_value()},
         {"--training-log", !arguments.training_log.empty()}}};
    for (const auto& [option, given] : shaped) {
      if (given) {
        throw ConfigError({std::string(option), {}}, "expected with --router, found with --like, which says it itself");
      }
    }
  }
  if (routed) {
    generate_routed(arguments);
  } else {
    generate_like(arguments);
  }
}

}  // namespace

void add_trace_generate(CLI::App& trace) {
  auto arguments = std::make_shared<GenerateArguments>();
  constexpr std::size_t kMostTokens = std::size_t{1} << 24;
  CLI::App* command = trace.add_subcommand(
      "generate", "Draw tokens from a generator, or route them with a router, as .npy [tokens, layers, k]");
  command->add_option("--like", arguments->like, "A name from `moesim list generators`, or a file that fit wrote");
  command->add_option("--router", arguments->router, "A name from `moesim list routers`");
  command->add_option("--options", arguments->options, "Its options as JSON: '{\"capacity_factor\": 1.25}'");
  command->add_option("--model", arguments->model, "Experts, top-k, layers and router of this model");
  command->add_option("--experts", arguments->experts, "Experts of a layer (default 64)")->check(CLI::Range(1, 65534));
  command->add_option("--top-k", arguments->top_k, "Experts per token (default 1)")->check(CLI::Range(1, 65534));
  command->add_option("--layers", arguments->layers, "MoE layers (default 1)")->check(CLI::Range(1, 4096));
  command->add_option("--scores", arguments->scores, "Logits to route, .npy [tokens, layers, experts]");
  command->add_option("--train-steps", arguments->train_steps, "Train the routers for balance first, so many steps")
      ->check(CLI::Range(0, 1000000));
  command->add_option("--training-log", arguments->training_log,
                      "Load, drops and unused experts of each step and layer, .csv or .json");
  command->add_option("--tokens", arguments->tokens, "How many")
      ->required()
      ->check(CLI::Range(std::size_t{1}, kMostTokens));
  command
      ->add_option("--sequence-tokens", arguments->sequence_tokens,
                   "Tokens of each sequence (default: --like 1, all independent; --router 1024)")
      ->check(CLI::Range(std::size_t{1}, kMostTokens));
  command->add_option("-o,--output", arguments->output, "File to write, .npy; -1 where a slot is empty")->required();
  arguments->add_set(*command);
  arguments->add_seed(*command);
  arguments->add_threads(*command);
  command->callback([arguments] { generate(*arguments); });
}

}  // namespace moesim
