#include "sim/training/types.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace moesim {

namespace {

/// What products are computed in, tokens and their gradients sent in, parameters kept and gathered in.
constexpr std::array kProducts{DataType::kFp32, DataType::kBf16, DataType::kFp16, DataType::kFp8, DataType::kFp8Block};
/// Gradients, which are added up over micro-batches and ranks; in fp8 with one scale for all ranks (FP8-LM, Peng et
/// al. 2023, arXiv 2310.18313). Blocks with scales of their own cannot be added.
constexpr std::array kSums{DataType::kFp32, DataType::kBf16, DataType::kFp16, DataType::kFp8};
/// Master weights take updates much smaller than themselves.
constexpr std::array kMasters{DataType::kFp32, DataType::kBf16, DataType::kFp16};
/// Of activations of 16 bits.
constexpr std::array kKept{DataType::kBf16, DataType::kFp16, DataType::kFp8, DataType::kFp8Block};

std::string text_of(std::span<const DataType> types) {
  std::string text;
  for (std::size_t i = 0; i < types.size(); ++i) {
    text += fmt::format("{}\"{}\"", i == 0 ? "" : i + 1 == types.size() ? " or " : ", ", name_of(types[i]));
  }
  return text;
}

bool is_one_of(std::span<const DataType> types, DataType type) {
  return std::find(types.begin(), types.end(), type) != types.end();
}

class TypeCheck {
 public:
  explicit TypeCheck(const Place& place) : place_(place) {}

  void expect(std::span<const DataType> types, std::string_view pointer, DataType found) {
    if (!is_one_of(types, found)) {
      faults_.push_back({below(place_, pointer),
                         fmt::format("expected {} in training, found \"{}\"", text_of(types), name_of(found))});
    }
  }
  /// Of products' operands: what the file says, or else the released model does.
  void expect_of_model(std::string_view pointer, std::optional<DataType> said, DataType released) {
    if (said) {
      expect(kProducts, pointer, *said);
    } else if (!is_one_of(kProducts, released)) {
      faults_.push_back({below(place_, pointer), fmt::format("expected {} in training, found none, and \"{}\" in the "
                                                             "released model",
                                                             text_of(kProducts), name_of(released))});
    }
  }
  void stop() {
    if (!faults_.empty()) {
      throw ConfigError(std::move(faults_));
    }
  }

 private:
  const Place& place_;
  std::vector<Diagnostic> faults_;
};

}  // namespace

void check_types(const Training& training, const ReleasedTypes& released, const Place& place) {
  TypeCheck check(place);
  const Precision& precision = training.precision;
  check.expect_of_model("/precision/weights", precision.weights, precision.matrix_weights(released));
  // What follows the weights where nothing else is said has no fault of its own.
  if (precision.experts || released.experts) {
    check.expect_of_model("/precision/experts", precision.experts, precision.expert_weights(released));
  }
  if (precision.attention || released.attention) {
    check.expect_of_model("/precision/attention", precision.attention, precision.attention_weights(released));
  }
  check.expect(kMasters, "/precision/embedding", precision.embedding);
  check.expect(kProducts, "/precision/activations", precision.activations);
  check.expect(kProducts, "/precision/dispatch", precision.dispatch);
  check.expect(kProducts, "/precision/combine", precision.combine);
  check.expect(kSums, "/gradients/weights", training.gradients.weights);
  check.expect(kProducts, "/gradients/dispatch", training.gradients.dispatch);
  check.expect(kProducts, "/gradients/combine", training.gradients.combine);
  if (training.kept_activations) {
    check.expect(kKept, "/kept_activations", *training.kept_activations);
  }
  const OptimizerConfig& optimizer = training.optimizer;
  check.expect(kSums, "/optimizer/reduce_type", optimizer.reduce_type);
  check.expect(kProducts, "/optimizer/parameters", optimizer.parameters);
  check.expect(kMasters, "/optimizer/master", optimizer.master);
  check.expect(kProducts, "/optimizer/first_moment", optimizer.first_moment);
  check.expect(kProducts, "/optimizer/second_moment", optimizer.second_moment);
  check.stop();
}

}  // namespace moesim
