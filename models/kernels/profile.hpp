#pragma once

#include <array>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "models/kernels/communication.hpp"
#include "models/kernels/kernel.hpp"
#include "sim/config/catalogue.hpp"
#include "sim/config/describe.hpp"
#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"

/// A profile is data: what share of an accelerator's peaks each kind of kernel reaches, where that was measured and
/// how far it may be trusted. No such figure stands in code.
namespace moesim {

enum class Operator {
  kGemm,
  kGroupedGemm,
  kContextAttention,
  kGenerationAttention,
  kLatentGenerationAttention,
  kStreaming
};
template <>
struct EnumNames<Operator> {
  static constexpr auto names = std::to_array<std::pair<Operator, std::string_view>>(
      {{Operator::kGemm, "gemm"},
       {Operator::kGroupedGemm, "grouped_gemm"},
       {Operator::kContextAttention, "context_attention"},
       {Operator::kGenerationAttention, "generation_attention"},
       {Operator::kLatentGenerationAttention, "latent_generation_attention"},
       {Operator::kStreaming, "streaming"}});
};
Operator operator_of(const Kernel& kernel);
/// What warnings call it: its operator, and where that is not what it is, both.
std::string title_of(const Kernel& kernel);

/// Share of the HBM bandwidth that a kernel reaches when it moves so much.
struct EfficiencyPoint {
  Bytes traffic;
  double efficiency = 1.0;

  template <class F>
  static void describe(F& f) {
    f.required("traffic", &EfficiencyPoint::traffic, "HBM bytes that one kernel moves", Rules::above_zero());
    f.required("efficiency", &EfficiencyPoint::efficiency, "Share of the HBM bandwidth",
               Rules{.maximum = 1.0, .positive = true});
  }
};

/// time = max(floor, launch + max(work / (peak·compute_efficiency), traffic / (bandwidth·memory_efficiency))).
struct OperatorTerms {
  double compute_efficiency = 1.0;
  /// One point: the same for all sizes. Several: log(efficiency) is linear in log(traffic) between them and constant
  /// outside. It may rise at most in proportion to the traffic, else a kernel that moves more would take less time.
  std::vector<EfficiencyPoint> memory_efficiency = {};
  Duration launch = {};
  Duration floor = {};

  template <class F>
  static void describe(F& f) {
    f.required("compute_efficiency", &OperatorTerms::compute_efficiency, "Share of the peak rate when compute-bound",
               Rules{.maximum = 1.0, .positive = true});
    f.required("memory_efficiency", &OperatorTerms::memory_efficiency,
               "Share of the HBM bandwidth when memory-bound, by traffic", Rules::not_empty());
    f.optional("launch", &OperatorTerms::launch, "Start and drain of a kernel, added to its work");
    f.required("floor", &OperatorTerms::floor, "No kernel of this kind is faster");
  }
};

/// One kind of kernel: terms by type of its weights or cache, and the sizes that were measured.
struct OperatorProfile {
  std::map<DataType, OperatorTerms> types;
  Bytes smallest;  ///< traffic of the smallest and largest kernel measured; beyond that costs are extrapolated
  Bytes largest;
  std::string source;

  template <class F>
  static void describe(F& f) {
    f.required("types", &OperatorProfile::types, "Terms by type of the weights or cache", Rules{});
    f.required("smallest", &OperatorProfile::smallest, "Traffic of the smallest kernel measured");
    f.required("largest", &OperatorProfile::largest, "Traffic of the largest kernel measured", Rules::above_zero());
    f.required("source", &OperatorProfile::source, "Where the figures come from", Rules::not_empty());
  }
};

/// How to compute with a type that an accelerator has no rate for.
struct RateFallback {
  DataType as = DataType::kBf16;
  double factor = 1.0;  ///< of that type's rate: expanding the weights costs some

  template <class F>
  static void describe(F& f) {
    f.required("as", &RateFallback::as, "Type computed in instead");
    f.optional("factor", &RateFallback::factor, "Share of that type's rate that is left",
               Rules{.maximum = 1.0, .positive = true});
  }
};

struct RooflineProfile {
  std::string name;
  std::vector<std::string> measured_on;                     ///< accelerators, by name
  std::map<DataType, std::vector<RateFallback>> fallbacks;  ///< in order of preference
  std::map<Operator, OperatorProfile> operators;
  double attention_backward_rate = 1.0;  ///< FLOP/s of attention's backward kernel over its forward kernel's
  CommunicationProfile communication;
  std::map<std::string, std::string> sources;
  std::vector<std::string> unverified;

  static constexpr std::string_view kDoc = "What share of an accelerator's and a network's peaks kernels reach";
  template <class F>
  static void describe(F& f) {
    f.tag("schema", "moesim.profile/1");
    f.required("name", &RooflineProfile::name, "Name in the catalogue", Rules::not_empty());
    f.required("measured_on", &RooflineProfile::measured_on, "Accelerators measured; on others costs are extrapolated");
    f.required("fallbacks", &RooflineProfile::fallbacks, "Type → what to compute in where the accelerator lacks it");
    f.required("operators", &RooflineProfile::operators, "Terms by kind of kernel");
    f.optional("attention_backward_rate", &RooflineProfile::attention_backward_rate,
               "FLOP/s of attention's backward kernel over its forward kernel's", Rules{.positive = true});
    f.required("communication", &RooflineProfile::communication, "Dispatch, combine and collectives");
    f.required("sources", &RooflineProfile::sources, "Field → source of its figure; \"*\" for all others");
    f.optional("unverified", &RooflineProfile::unverified, "Fields whose figure was assumed, not read in a source");
  }
};
extern template struct DescribedCodec<RooflineProfile>;

const Catalogue& profile_catalogue();

struct ProfileFile {
  static constexpr std::string_view kTag = "file";
  static constexpr bool kWrapper = true;
  FilePath value;
};
struct ProfileName {
  static constexpr std::string_view kTag = {};
  static constexpr bool kWrapper = true;
  std::string value = "roofline";
};
/// How a scenario says which profile: "roofline" or {"file": "mine.json"}.
using ProfileChoice = std::variant<ProfileName, ProfileFile>;

/// Throws ConfigError: unknown name, bad file, or a profile that contradicts itself.
RooflineProfile load_profile(const ProfileChoice& choice, const Place& place);
/// Checks what the schema cannot: every kind of kernel has terms, points rise in traffic and no faster than it.
/// Throws ConfigError at `place` with all faults.
void check_profile(const RooflineProfile& profile, const Place& place);

/// The model of OperatorTerms on one accelerator. Both arguments are copied.
std::unique_ptr<CostModel> make_cost_model(const RooflineProfile& profile, const Accelerator& accelerator);

}  // namespace moesim
