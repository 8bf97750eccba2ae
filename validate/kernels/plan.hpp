#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "validate/kernels/routing_file.hpp"
#include "validate/kernels/shapes.hpp"

/// Which cases there are, and in which order: what a profile needs most comes first, so that a budget that runs out
/// leaves out what is missed least.
namespace moesim::bench {

/// In the order in which a level is worked through.
enum class Group {
  kHbm,
  kLaunch,
  kGemm,
  kReplay,
  kExperts,
  kDecode,
  kLatentDecode,
  kPrefill,
  kLayer,
  kContention,
  kCollective
};
std::string_view name_of(Group group);

struct Case {
  Group group = Group::kHbm;
  int level = 0;  ///< 0: the grid that a profile cannot do without; 1: what makes it good; 2: what makes it better
  std::string id;
  Shape shape;
};

struct ReplayOptions {
  LayerShape layer;
  std::vector<int> expert_parallel = {8};
  std::vector<std::int64_t> tokens = {512, 8192};  ///< of all ranks, in each batch
};

/// All cases, sorted by level and group.
std::vector<Case> plan();
/// The replay of recorded routing: every rank of each group of ranks, at layers spread over the model first. Throws
/// ConfigError where the layer has fewer experts than the recording, or chooses another number.
std::vector<Case> replay_plan(const Routing& routing, const ReplayOptions& options);
/// Generated routing in place of a recording: counts drawn from a power law, a new draw a layer.
std::vector<Case> generated_replay_plan(const ReplayOptions& options, std::uint64_t seed);
/// The layer of layer_shapes() that chooses as many experts as the recording, and has more than it names.
std::optional<LayerShape> layer_of(const Routing& routing);

/// The cases of which some pattern matches the id: `*` stands for anything, and a pattern matches anywhere in it. All
/// for no patterns. Throws ConfigError for a pattern that matches none.
std::vector<Case> selected(std::vector<Case> cases, const std::vector<std::string>& patterns);
bool matches(std::string_view pattern, std::string_view id);

}  // namespace moesim::bench
