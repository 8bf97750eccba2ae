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
                                 "waves up 128"sv,
                                 "tail up 128"sv,
                                 "waves down 128"sv,
                                 "tail down 128"sv,
                                 "waves up 256"sv,
                                 "tail up 256"sv,
                                 "weights"sv,
                                 "power law"sv,
                                 "expert ranks"sv,
                                 "intensity"sv,
                                 "light"sv};
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

}  // namespace

std::span<const std::string_view> feature_names(FitFamily family) {
  switch (family) {
    case FitFamily::kGemm:
      return kGemm;
    case FitFamily::kBatchedGemm:
      return kBatched;
    case FitFamily::kExperts:
      return kExperts;
    case FitFamily::kContextAttention:
      return kContext;
    case FitFamily::kLatentContextAttention:
      return kLatentContext;
    case FitFamily::kGenerationAttention:
      return kGeneration;
    case FitFamily::kLatentGenerationAttention:
      return kLatentGeneration;
    case FitFamily::kLatentContextModule:
    case FitFamily::kLatentGenerationModule:
      break;
  }
  return kModule;
}

std::span<const std::size_t> shape_key_features(FitFamily family) {
  static constexpr std::array<std::size_t, 2> kWidths{1, 2};                // n, k
  static constexpr std::array<std::size_t, 3> kBatchedWidths{1, 2, 3};      // n, k, batch
  static constexpr std::array<std::size_t, 6> kLayer{4, 5, 6, 7, 8, 20};    // experts, widths, power law
  static constexpr std::array<std::size_t, 5> kHeads{0, 3, 4, 5, 6};        // sequences, heads, head width, window
  static constexpr std::array<std::size_t, 5> kDecodeHeads{0, 2, 3, 4, 5};  // the same
  static constexpr std::array<std::size_t, 2> kLatentHeads{0, 3};           // sequences, heads
  static constexpr std::array<std::size_t, 2> kLatentDecodeHeads{0, 2};
  static constexpr std::array<std::size_t, 3> kModuleHeads{0, 3, 4};  // sequences, heads, type of the weights
  switch (family) {
    case FitFamily::kGemm:
      return kWidths;
    case FitFamily::kBatchedGemm:
      return kBatchedWidths;
    case FitFamily::kExperts:
      return kLayer;
    case FitFamily::kContextAttention:
      return kHeads;
    case FitFamily::kGenerationAttention:
      return kDecodeHeads;
    case FitFamily::kLatentContextAttention:
      return kLatentHeads;
    case FitFamily::kLatentGenerationAttention:
      return kLatentDecodeHeads;
    case FitFamily::kLatentContextModule:
    case FitFamily::kLatentGenerationModule:
      break;
  }
  return kModuleHeads;
}

std::size_t shape_features(FitFamily family) {
  switch (family) {
    case FitFamily::kGemm:
    case FitFamily::kLatentGenerationAttention:
      return 3;
    case FitFamily::kBatchedGemm:
    case FitFamily::kLatentContextAttention:
      return 4;
    case FitFamily::kExperts:
      return 9;
    case FitFamily::kContextAttention:
      return 7;
    case FitFamily::kGenerationAttention:
      return 6;
    case FitFamily::kLatentContextModule:
    case FitFamily::kLatentGenerationModule:
      break;
  }
  return 5;
}

}  // namespace moesim
