#include <span>

#include "models/kernels/fit_query.hpp"
#include "sim/core/error.hpp"

/// Names of the features that fit_query() adds, in its order. A fitted profile states them, so that one made by
/// another version of the program is recognised.
namespace moesim {
namespace {

using std::string_view_literals::operator""sv;

constexpr std::array kGemm = {"m"sv,
                              "n"sv,
                              "k"sv,
                              "waves 128x128"sv,
                              "tail 128x128"sv,
                              "waves 64x256"sv,
                              "tail 64x256"sv,
                              "waves 128x256"sv,
                              "tail 128x256"sv,
                              "waves 64x128"sv,
                              "tail 64x128"sv,
                              "padding 64"sv,
                              "padding 128"sv,
                              "m mod 16"sv,
                              "intensity"sv,
                              "light"sv};
constexpr std::array kBatched = {"m"sv,
                                 "n"sv,
                                 "k"sv,
                                 "batch"sv,
                                 "waves 128x128"sv,
                                 "tail 128x128"sv,
                                 "waves 64x256"sv,
                                 "tail 64x256"sv,
                                 "waves 128x256"sv,
                                 "tail 128x256"sv,
                                 "waves 64x128"sv,
                                 "tail 64x128"sv,
                                 "padding 64"sv,
                                 "padding 128"sv,
                                 "m mod 16"sv,
                                 "intensity"sv,
                                 "light"sv};
constexpr std::array kExperts = {"rows"sv,
                                 "activated"sv,
                                 "rows of the busiest"sv,
                                 "tokens"sv,
                                 "local experts"sv,
                                 "experts"sv,
                                 "experts per token"sv,
                                 "hidden"sv,
                                 "intermediate"sv,
                                 "rows per activated"sv,
                                 "imbalance"sv,
                                 "padding 128"sv,
                                 "padding 16"sv,
                                 "padding 64"sv,
                                 "waves up 128"sv,
                                 "tail up 128"sv,
                                 "waves down 128"sv,
                                 "tail down 128"sv,
                                 "waves up 256"sv,
                                 "tail up 256"sv,
                                 "weights"sv,
                                 "power law"sv,
                                 "expert ranks"sv,
                                 "up matrices"sv,
                                 "intensity"sv,
                                 "light"sv};
constexpr std::array kContiguous = {
    "rows"sv,           "activated"sv,     "rows of the busiest"sv, "tokens"sv,
    "local experts"sv,  "hidden"sv,        "intermediate"sv,        "rows per activated"sv,
    "imbalance"sv,      "padding 128"sv,   "waves up 128"sv,        "tail up 128"sv,
    "waves down 128"sv, "tail down 128"sv, "intensity"sv,           "light"sv};
constexpr std::array kMasked = {
    "rows"sv,         "activated"sv,          "rows of the busiest"sv, "local experts"sv, "hidden"sv,
    "intermediate"sv, "rows per activated"sv, "imbalance"sv,           "padding 64"sv,    "waves up 64"sv,
    "tail up 64"sv,   "waves down 64"sv,      "tail down 64"sv,        "intensity"sv,     "light"sv};
constexpr std::array kContext = {"sequences"sv,         "query"sv,     "keys"sv,     "heads"sv,           "kv heads"sv,
                                 "head width"sv,        "window"sv,    "group"sv,    "keys per window"sv, "tokens"sv,
                                 "sequences x heads"sv, "waves 128"sv, "tail 128"sv, "waves 64"sv,        "tail 64"sv,
                                 "intensity"sv,         "light"sv};
constexpr std::array kLatentContext = {"sequences"sv,         "query"sv,     "keys"sv,     "heads"sv,    "tokens"sv,
                                       "sequences x heads"sv, "waves 128"sv, "tail 128"sv, "waves 64"sv, "tail 64"sv,
                                       "intensity"sv,         "light"sv};
constexpr std::array kGeneration = {"sequences"sv,
                                    "keys"sv,
                                    "heads"sv,
                                    "kv heads"sv,
                                    "head width"sv,
                                    "window"sv,
                                    "group"sv,
                                    "keys seen"sv,
                                    "sequences x keys seen"sv,
                                    "kv heads x keys seen"sv,
                                    "waves kv"sv,
                                    "tail kv"sv,
                                    "waves heads"sv,
                                    "tail heads"sv,
                                    "intensity"sv,
                                    "light"sv};
constexpr std::array kLatentGeneration = {"sequences"sv,         "keys"sv,      "heads"sv, "sequences x keys"sv,
                                          "sequences x heads"sv, "waves"sv,     "tail"sv,  "waves 64"sv,
                                          "tail 64"sv,           "intensity"sv, "light"sv};
constexpr std::array kModule = {
    "sequences"sv,        "query"sv,          "keys"sv,  "heads"sv, "quantised weights"sv, "tokens"sv,
    "sequences x keys"sv, "tokens x heads"sv, "waves"sv, "tail"sv,  "intensity"sv,         "light"sv};

constexpr std::array kStreaming = {"bytes"sv, "written per read"sv, "intensity"sv, "light"sv};

/// What is known of a family's features: their names, how many of the first are the shape as it was measured, and
/// which of those make two kernels of different sizes the same shape, and which is the size.
struct Features {
  std::span<const std::string_view> names;
  std::size_t shape;
  std::span<const std::size_t> key;
  std::size_t size;  ///< the one that tells two kernels of one shape apart: tokens, queries or keys
};

const Features& features_of(FitFamily family) {
  static constexpr std::array<std::size_t, 2> kWidths{1, 2};                // n, k
  static constexpr std::array<std::size_t, 3> kBatchedWidths{1, 2, 3};      // n, k, batch
  static constexpr std::array<std::size_t, 6> kLayer{4, 5, 6, 7, 8, 21};    // experts, widths, power law
  static constexpr std::array<std::size_t, 3> kReceived{4, 5, 6};           // local experts, widths
  static constexpr std::array<std::size_t, 3> kBuffered{3, 4, 5};           // the same
  static constexpr std::array<std::size_t, 5> kHeads{0, 3, 4, 5, 6};        // sequences, heads, head width, window
  static constexpr std::array<std::size_t, 5> kDecodeHeads{0, 2, 3, 4, 5};  // the same
  static constexpr std::array<std::size_t, 2> kLatentHeads{0, 3};           // sequences, heads
  static constexpr std::array<std::size_t, 2> kLatentDecodeHeads{0, 2};
  static constexpr std::array<std::size_t, 3> kModuleHeads{0, 3, 4};  // sequences, heads, type of the weights
  static constexpr Features kOfGemm{kGemm, 3, kWidths, 0};
  static constexpr Features kOfBatched{kBatched, 4, kBatchedWidths, 0};
  static constexpr Features kOfExperts{kExperts, 9, kLayer, 3};
  static constexpr Features kOfContiguous{kContiguous, 7, kReceived, 0};
  static constexpr Features kOfMasked{kMasked, 6, kBuffered, 0};
  static constexpr Features kOfContext{kContext, 7, kHeads, 1};
  static constexpr Features kOfLatentContext{kLatentContext, 4, kLatentHeads, 1};
  static constexpr Features kOfGeneration{kGeneration, 6, kDecodeHeads, 1};
  static constexpr Features kOfLatentGeneration{kLatentGeneration, 3, kLatentDecodeHeads, 1};
  static constexpr Features kOfContextModule{kModule, 5, kModuleHeads, 1};
  static constexpr std::array<std::size_t, 1> kShares{1};
  static constexpr Features kOfStreaming{kStreaming, 2, kShares, 0};
  static constexpr Features kOfGenerationModule{kModule, 5, kModuleHeads, 2};
  switch (family) {
    case FitFamily::kGemm:
      return kOfGemm;
    case FitFamily::kBatchedGemm:
      return kOfBatched;
    case FitFamily::kExperts:
      return kOfExperts;
    case FitFamily::kContiguousExperts:
      return kOfContiguous;
    case FitFamily::kMaskedExperts:
      return kOfMasked;
    case FitFamily::kContextAttention:
      return kOfContext;
    case FitFamily::kLatentContextAttention:
    case FitFamily::kAbsorbedContextAttention:
      return kOfLatentContext;
    case FitFamily::kGenerationAttention:
      return kOfGeneration;
    case FitFamily::kLatentGenerationAttention:
      return kOfLatentGeneration;
    case FitFamily::kLatentContextModule:
      return kOfContextModule;
    case FitFamily::kStreaming:
      return kOfStreaming;
    case FitFamily::kLatentGenerationModule:
      break;
  }
  return kOfGenerationModule;
}

}  // namespace

std::span<const std::string_view> feature_names(FitFamily family) { return features_of(family).names; }
std::span<const std::size_t> shape_key_features(FitFamily family) { return features_of(family).key; }
std::size_t size_feature(FitFamily family) { return features_of(family).size; }
std::size_t shape_features(FitFamily family) { return features_of(family).shape; }

std::int64_t expected_law(FitFamily family) {
  return family == FitFamily::kExperts ? 2 : 1;  // 2: with the traffic around the products
}

std::span<const SurfaceAxis> surface_axes(FitFamily family) {
  // Bends weigh what gave the least errors at shapes and sizes held back, of both GPUs and all types. A module's time
  // goes on with its heads, of which its weights are made.
  static constexpr std::array<SurfaceAxis, 3> kContextAxes{
      {{1, 1.0, 0.3}, {5, 1.0, 0.3}, {3, 2.0, 1.0}}};  // query, sequences x heads, heads
  static constexpr std::array<SurfaceAxis, 3> kGenerationAxes{
      {{1, 1.0, 0.3}, {0, 1.0, 0.3}, {2, 1.0, 0.3}}};  // keys, sequences, heads
  static constexpr std::array<SurfaceAxis, 4> kContextModuleAxes{
      {{1, 1.0, 1.0}, {5, 1.0, 1.0}, {3, 1.0, 1.0, 1}, {4, 1.0, 0.0}}};  // query, tokens, heads, quantised weights
  static constexpr std::array<SurfaceAxis, 4> kGenerationModuleAxes{
      {{2, 1.0, 1.0}, {0, 1.0, 1.0}, {3, 1.0, 1.0, 1}, {4, 1.0, 0.0}}};  // keys, sequences, heads, quantised weights
  switch (family) {
    case FitFamily::kLatentContextAttention:
    case FitFamily::kAbsorbedContextAttention:
      return kContextAxes;
    case FitFamily::kLatentGenerationAttention:
      return kGenerationAxes;
    case FitFamily::kLatentContextModule:
      return kContextModuleAxes;
    case FitFamily::kLatentGenerationModule:
      return kGenerationModuleAxes;
    default:
      return {};
  }
}

}  // namespace moesim
