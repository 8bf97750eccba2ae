#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "sim/config/describe.hpp"
#include "sim/core/error.hpp"
#include "workloads/routing/routers/router_routing.hpp"
#include "workloads/routing/source.hpp"
#include "workloads/routing/token_trace.hpp"

/// How a scenario says where its routing comes from.
namespace moesim {

/// [layers, k] and experts of a raw uint8 trace whose name does not tell them.
struct RawShapeConfig {
  std::size_t layers = 0;
  std::size_t k = 0;
  std::size_t experts = 0;

  template <class F>
  static void describe(F& f) {
    f.required("layers", &RawShapeConfig::layers, "Layers in the file", Rules::between(1, 65536));
    f.required("k", &RawShapeConfig::k, "Experts per token", Rules::between(1, 65536));
    f.required("experts", &RawShapeConfig::experts, "Experts per layer", Rules::between(1, 65536));
  }
};

struct TraceRouting {
  static constexpr std::string_view kTag = "trace";
  FilePath path;
  std::optional<FilePath> sequence_lengths;
  std::optional<RawShapeConfig> shape;

  static constexpr std::string_view kDoc = "Recorded choices of tokens, replayed";
  template <class F>
  static void describe(F& f) {
    f.required("path", &TraceRouting::path,
               "Recorded choices: .npy [tokens, layers, k], raw uint8 of the same order, or another format that `trace "
               "info` reads");
    f.optional("sequence_lengths", &TraceRouting::sequence_lengths, "JSON array: tokens of each sequence, in order");
    f.optional("shape", &TraceRouting::shape, "Of a raw file; absent: from its name, …_T8222_L26_K6_E64.u8");
  }
};

struct CountsRouting {
  static constexpr std::string_view kTag = "counts";
  FilePath path;

  static constexpr std::string_view kDoc = "Recorded counts per expert, from which tokens are drawn independently";
  template <class F>
  static void describe(F& f) {
    f.required("path", &CountsRouting::path,
               "JSON {\"logical_count\": [layers][experts]}, or another format that `trace info` reads");
  }
};

struct GeneratorRouting {
  static constexpr std::string_view kTag = "generator";
  std::optional<std::string> name;
  std::optional<FilePath> file;
  std::uint64_t seed = 1;

  static constexpr std::string_view kDoc = "Routing generated with parameters fitted on a recording";
  template <class F>
  static void describe(F& f) {
    f.optional("name", &GeneratorRouting::name, "A fitted generator that comes with the program");
    f.optional("file", &GeneratorRouting::file, "One's own parameters, in place of the name");
    f.optional("seed", &GeneratorRouting::seed, "Which imaginary model: how popular each expert is");
  }
};

struct UniformRouting {
  static constexpr std::string_view kTag = "uniform";
  static constexpr std::string_view kDoc = "Every expert is as likely, independently for each token";
  template <class F>
  static void describe(F&) {}
};

struct BalancedRouting {
  static constexpr std::string_view kTag = "balanced";
  static constexpr std::string_view kDoc = "Every expert receives as many tokens as any other";
  template <class F>
  static void describe(F&) {}
};

struct PowerLawRouting {
  static constexpr std::string_view kTag = "power_law";
  double alpha = 1.01;
  std::size_t tokens = 4096;
  std::uint64_t seed = 1;

  static constexpr std::string_view kDoc = "Expert loads by AIConfigurator's power law, tokens drawn independently";
  template <class F>
  static void describe(F& f) {
    f.required("alpha", &PowerLawRouting::alpha, "Exponent; 0: balanced loads", Rules::between(0, 10));
    f.optional("tokens", &PowerLawRouting::tokens,
               "Loads range from 1 to 0.8 times this (0.01 to 2 where k times this "
               "is at most the number of experts)",
               Rules::between(1, 1e9));
    f.optional("seed", &PowerLawRouting::seed, "Which expert has which load");
  }
};

using RoutingConfig = std::variant<GeneratorRouting, TraceRouting, CountsRouting, UniformRouting, BalancedRouting,
                                   PowerLawRouting, RouterRouting>;

/// The recorded tokens themselves; without needs, of any shape. Throws ConfigError.
TokenTrace open_trace(const TraceRouting& config, const std::optional<RoutingNeeds>& needs);

/// Draws from counts, checked against what the model needs. Throws ConfigError and ModelError.
std::unique_ptr<RoutingSource> source_of_counts(CountTrace counts, const RoutingNeeds& needs);

/// The files that it names.
std::vector<std::filesystem::path> files_of(const RoutingConfig& config);

/// The source that `config` asks for, checked against what the model needs. Throws ConfigError (at `place` where the
/// fault is in the scenario, else at the file) and ModelError.
std::unique_ptr<RoutingSource> make_routing_source(const RoutingConfig& config, const RoutingNeeds& needs,
                                                   const Place& place);

}  // namespace moesim
