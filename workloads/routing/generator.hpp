#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/config/catalogue.hpp"
#include "sim/config/describe.hpp"
#include "workloads/routing/expert_sampler.hpp"
#include "workloads/routing/point_table.hpp"
#include "workloads/routing/source.hpp"

namespace moesim {

/// What a token's point decides.
enum class PointLayout {
  /// The n points are evenly spaced on a circle of circumference 1; the experts of a layer lie on it in an order of the
  /// layer's own, each as long as it is popular. Slot j of layer l looks at point + φ(l, j). How popular an expert is
  /// hardly changes with that, but few points make it coarse.
  kCircle,
  /// Each point has k experts of its own in each layer, such that every expert is just as popular as asked for
  /// (point_table.hpp). Where the model limits the choice to groups, as kCircle.
  kTable,
};
template <>
struct EnumNames<PointLayout> {
  static constexpr auto names = std::to_array<std::pair<PointLayout, std::string_view>>(
      {{PointLayout::kCircle, "circle"}, {PointLayout::kTable, "table"}});
};

/// How a token's choices hang together along its sequence and across layers. Each token has one of n points, drawn
/// uniformly: tokens with the same point choose the same experts, and an expert in one layer tells about the experts in
/// others.
struct RoutingCorrelation {
  double shared = 0.0;             ///< share of slots that follow the token's point
  double points_per_expert = 4.0;  ///< n = this · experts
  double turnover = 0.0;           ///< chance that a token has another point in the next layer
  double repeat = 0.0;             ///< chance that a token has the point of the token before it
  double topic = 0.0;              ///< chance that it has one of its passage's points
  std::size_t topic_points = 4;    ///< points of a passage
  double topic_tokens = 16.0;      ///< mean length of a passage
  PointLayout layout = PointLayout::kCircle;

  template <class F>
  static void describe(F& f) {
    f.optional("shared", &RoutingCorrelation::shared, "Share of slots that follow the token's point",
               Rules::between(0, 1));
    f.optional("points_per_expert", &RoutingCorrelation::points_per_expert, "Distinct points, per expert",
               Rules::between(0.25, 64));
    f.optional("turnover", &RoutingCorrelation::turnover, "Chance that a token has another point in the next layer",
               Rules::between(0, 1));
    f.optional("repeat", &RoutingCorrelation::repeat, "Chance to have the point of the token before",
               Rules::between(0, 1));
    f.optional("topic", &RoutingCorrelation::topic, "Chance to have one of the passage's points", Rules::between(0, 1));
    f.optional("topic_points", &RoutingCorrelation::topic_points, "Points of a passage", Rules::between(1, 64));
    f.optional("topic_tokens", &RoutingCorrelation::topic_tokens, "Mean length of a passage in tokens",
               Rules::at_least(1));
    f.optional("layout", &RoutingCorrelation::layout, "What a point decides: where its slots look, or their experts");
  }
};

/// One figure of the recording beside that of generated routing.
struct FitCheck {
  std::string quantity;
  double recorded = 0.0;
  double generated = 0.0;
  std::optional<double> fitted_part = {};

  template <class F>
  static void describe(F& f) {
    f.required("quantity", &FitCheck::quantity, "What is compared");
    f.required("recorded", &FitCheck::recorded, "In the recording");
    f.required("generated", &FitCheck::generated, "In routing generated with these parameters");
    f.optional("fitted_part", &FitCheck::fitted_part,
               "In the part of the recording that was fitted, where `recorded` is of the part that was held back");
  }
};

struct GeneratorProvenance {
  std::string recording;
  std::string source;
  std::string licence;
  double tokens = 0.0;
  std::string correlation;
  std::vector<FitCheck> checks;

  template <class F>
  static void describe(F& f) {
    f.required("recording", &GeneratorProvenance::recording, "The file that was fitted");
    f.optional("source", &GeneratorProvenance::source, "Where it was published");
    f.optional("licence", &GeneratorProvenance::licence, "Its licence");
    f.required("tokens", &GeneratorProvenance::tokens, "Tokens recorded", Rules::at_least(0));
    f.optional("correlation", &GeneratorProvenance::correlation, "What the correlation was fitted on");
    f.optional("checks", &GeneratorProvenance::checks, "Recorded against generated");
  }
};

/// Parameters from which routing like a recorded model's is generated. Loads of layer l's experts, in block b of
/// `blocks` equal contiguous ones:
///   log load_e = block_spread_l·B_b + spread_l·S(Z_e),   S(z) = (e^{h·z} − 1)/h standardised, h = skew,
/// Z independent standard normal, B standard normal with correlation `block_correlation` between neighbours. Where
/// `popularity` says what each expert's load was, that is taken for a model of the same layers and experts.
/// Tokens that follow one another in a sequence stay with some experts for a while, which makes the loads of a finite
/// number of them more uneven than those of independent tokens. `popularity_in_sequences` is theirs: what they move
/// about, so that their loads and those of independent tokens drawn from `popularity` are both as uneven as recorded.
struct GeneratorParameters {
  std::string name;
  std::size_t experts = 0;
  std::size_t experts_per_token = 0;
  std::vector<double> spread;
  std::vector<double> block_spread;
  std::size_t blocks = 1;
  double block_correlation = 0.0;
  double skew = 0.0;
  RoutingCorrelation correlation;
  std::vector<std::vector<double>> popularity;
  std::vector<std::vector<double>> popularity_in_sequences;  ///< empty: as `popularity`
  double sequence_tokens = 2.0;                              ///< of the sequences whose that is
  std::optional<GeneratorProvenance> provenance;

  static constexpr std::string_view kDoc = "Parameters of a routing generator";
  template <class F>
  static void describe(F& f) {
    f.tag("schema", "moesim.routing-generator/1");
    f.required("name", &GeneratorParameters::name, "Name", Rules::not_empty());
    f.required("experts", &GeneratorParameters::experts, "Experts of the fitted model", Rules::between(1, 65536));
    f.required("experts_per_token", &GeneratorParameters::experts_per_token, "k of the fitted model",
               Rules::between(1, 65536));
    f.required("spread", &GeneratorParameters::spread, "Per layer: standard deviation of log load within a block",
               Rules{.minimum = 0.0, .maximum = 10.0, .min_items = 1});
    f.required("block_spread", &GeneratorParameters::block_spread,
               "Per layer: standard deviation of log load of blocks",
               Rules{.minimum = 0.0, .maximum = 10.0, .min_items = 1});
    f.optional("blocks", &GeneratorParameters::blocks, "Contiguous blocks of experts with a load in common",
               Rules::between(1, 65536));
    f.optional("block_correlation", &GeneratorParameters::block_correlation, "Between neighbouring blocks",
               Rules::between(0, 0.999));
    f.optional("skew", &GeneratorParameters::skew, "Shape h of the distribution; 0: log-normal", Rules::between(-2, 2));
    f.optional("correlation", &GeneratorParameters::correlation, "Along sequences and across layers");
    f.optional("popularity", &GeneratorParameters::popularity,
               "Per layer: choices of each expert per token; absent: another imaginary model with each seed",
               Rules::between(0, 65536));
    f.optional("popularity_in_sequences", &GeneratorParameters::popularity_in_sequences,
               "The same for tokens that follow one another in a sequence, whose passages add unevenness of their own; "
               "absent: popularity",
               Rules::between(0, 65536));
    f.optional("sequence_tokens", &GeneratorParameters::sequence_tokens,
               "Length of those sequences, as far as tokens hang together; shorter ones have part of it",
               Rules::between(1, 65536));
    f.optional("provenance", &GeneratorParameters::provenance, "Where the parameters come from");
  }
};
extern template struct DescribedCodec<GeneratorParameters>;

/// Decodes and checks what the schema cannot: as many block spreads as spreads. Throws ConfigError.
GeneratorParameters decode_generator(const Document& document);
/// A document of one line per key that decode_generator reads back.
std::string encode_generator(const GeneratorParameters& parameters);
/// The fitted generators that come with the program.
const Catalogue& generator_catalogue();

/// Inclusion probabilities [layers, experts], Σ = k per layer: the popularity that was fitted, where the model has as
/// many layers and experts, else those of one imaginary model. Its layers take the parameters of the same relative
/// depth, and blocks are left out where they do not divide the experts.
std::vector<double> draw_inclusion(const GeneratorParameters& parameters, const RoutingShape& shape,
                                   std::uint64_t popularity_seed);
/// The same for tokens that follow one another in a sequence; empty where it is the same.
std::vector<double> inclusion_in_sequences(const GeneratorParameters& parameters, const RoutingShape& shape);

/// Tokens drawn with given inclusion probabilities and correlation.
class GeneratedSource final : public RoutingSource {
 public:
  /// `inclusion` [layers, experts]; `popularity_seed` also says where the experts lie on the circle.
  GeneratedSource(RoutingShape shape, std::span<const double> inclusion, const RoutingCorrelation& correlation,
                  GroupLimit limit, std::uint64_t popularity_seed, std::string provenance);

  [[nodiscard]] RoutingShape shape() const override { return shape_; }
  [[nodiscard]] StepRouting draw(const TokenBatch& batch, std::uint64_t seed, const TaskPool& pool) const override;
  [[nodiscard]] std::string provenance() const override { return provenance_; }
  /// The same model whose tokens have other inclusion probabilities [layers, experts] where so many follow one another
  /// in a sequence; shorter sequences have them in part, so many of them as makes their loads as uneven. Empty: the
  /// same.
  [[nodiscard]] GeneratedSource with_sequences(std::span<const double> inclusion, double tokens) const;
  /// The same model with another correlation.
  [[nodiscard]] GeneratedSource with(const RoutingCorrelation& correlation) const;
  /// Share of a token's slots that its point decides, in the mean over layers.
  [[nodiscard]] double decided_share() const;

 private:
  class Walk;
  /// How popular experts are, and which ones that makes the points stand for.
  struct Popularity {
    std::shared_ptr<const std::vector<double>> inclusion;        ///< [layers, experts]
    std::shared_ptr<const std::vector<ExpertSampler>> samplers;  ///< per layer
    std::shared_ptr<const std::vector<PointTable>> tables;       ///< per layer; null where slots look at a circle
  };
  [[nodiscard]] Popularity popularity_of(std::span<const double> inclusion) const;
  void lay_out_points();
  void lay_out_tables(Popularity& popularity) const;
  void share_runs();
  /// Of a run of so many tokens.
  [[nodiscard]] const Popularity& popularity_for(std::size_t tokens, RandomStream random) const;
  void choose(const Popularity& popularity, std::uint32_t point, std::size_t layer, HalfWords& words,
              std::span<ExpertIndex> out) const;

  RoutingShape shape_;
  RoutingCorrelation correlation_;
  GroupLimit limit_;
  std::uint64_t popularity_seed_;
  std::vector<double> offsets_;  ///< φ, [layers, k, attempts]
  std::size_t points_ = 0;
  Popularity independent_;                  ///< of tokens by themselves
  std::optional<Popularity> in_sequences_;  ///< of tokens that follow one another; none: the same
  double sequence_tokens_ = 2.0;            ///< so many
  std::vector<double> share_of_runs_;       ///< that have it, by their length
  std::vector<double> group_choice_;        ///< the uniform number that a point chooses its groups by, [layers, points]
  std::string provenance_;
};

/// The source that parameters describe, for a model of this shape. Of an imaginary one, `seed` says which.
GeneratedSource generated_source(const GeneratorParameters& parameters, const RoutingShape& shape, GroupLimit limit,
                                 std::uint64_t seed, std::string provenance);

}  // namespace moesim
