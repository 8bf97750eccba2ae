#include "sim/training/types.hpp"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

using namespace moesim;

namespace {

std::vector<std::string> faults_of(const Training& training, const ReleasedTypes& released = {}) {
  std::vector<std::string> texts;
  try {
    check_types(training, released, {"test", ""});
  } catch (const ConfigError& error) {
    for (const Diagnostic& fault : error.diagnostics()) {
      texts.push_back(fault.text());
    }
  }
  return texts;
}

constexpr DataType kAll[] = {DataType::kFp32, DataType::kBf16,  DataType::kFp16,  DataType::kFp8, DataType::kFp8Block,
                             DataType::kInt8, DataType::kMxFp4, DataType::kNvFp4, DataType::kInt4};

/// Those that a setting takes.
template <class Set>
std::string taken(Set set) {
  std::string names;
  for (const DataType type : kAll) {
    Training training;
    set(training, type);
    if (faults_of(training).empty()) {
      names += std::string(names.empty() ? "" : " ") + std::string(name_of(type));
    }
  }
  return names;
}

}  // namespace

TEST_CASE("types that training takes, setting by setting", "[training]") {
  const std::string products = "fp32 bf16 fp16 fp8 fp8-block";
  CHECK(taken([](Training& t, DataType type) { t.precision.weights = type; }) == products);
  CHECK(taken([](Training& t, DataType type) { t.precision.experts = type; }) == products);
  CHECK(taken([](Training& t, DataType type) { t.precision.attention = type; }) == products);
  CHECK(taken([](Training& t, DataType type) { t.precision.embedding = type; }) == "fp32 bf16 fp16");
  CHECK(taken([](Training& t, DataType type) { t.precision.activations = type; }) == products);
  CHECK(taken([](Training& t, DataType type) { t.precision.dispatch = type; }) == products);
  CHECK(taken([](Training& t, DataType type) { t.precision.combine = type; }) == products);
  CHECK(taken([](Training& t, DataType type) { t.gradients.weights = type; }) == "fp32 bf16 fp16 fp8");
  CHECK(taken([](Training& t, DataType type) { t.gradients.dispatch = type; }) == products);
  CHECK(taken([](Training& t, DataType type) { t.gradients.combine = type; }) == products);
  CHECK(taken([](Training& t, DataType type) { t.kept_activations = type; }) == "bf16 fp16 fp8 fp8-block");
  CHECK(taken([](Training& t, DataType type) { t.optimizer.reduce_type = type; }) == "fp32 bf16 fp16 fp8");
  CHECK(taken([](Training& t, DataType type) { t.optimizer.parameters = type; }) == products);
  CHECK(taken([](Training& t, DataType type) { t.optimizer.master = type; }) == "fp32 bf16 fp16");
  CHECK(taken([](Training& t, DataType type) { t.optimizer.first_moment = type; }) == products);
  CHECK(taken([](Training& t, DataType type) { t.optimizer.second_moment = type; }) == products);
}

TEST_CASE("types that are refused are said where they stand, all at once", "[training]") {
  Training training;
  training.precision.weights = DataType::kInt8;
  training.gradients.weights = DataType::kFp8Block;
  CHECK(faults_of(training) ==
        std::vector<std::string>{R"(test#/precision/weights: expected "fp32", "bf16", "fp16", "fp8" or "fp8-block" in )"
                                 R"(training, found "int8")",
                                 R"(test#/gradients/weights: expected "fp32", "bf16", "fp16" or "fp8" in training, )"
                                 R"(found "fp8-block")"});
}

// GPT-OSS has its experts in mxfp4: a training says what it computes them in.
TEST_CASE("types of the released model are checked where the training leaves them open", "[training]") {
  Training training;
  const ReleasedTypes four_bits{.weights = DataType::kBf16, .experts = DataType::kMxFp4, .attention = std::nullopt};
  CHECK(faults_of(training, four_bits) ==
        std::vector<std::string>{R"(test#/precision/experts: expected "fp32", "bf16", "fp16", "fp8" or "fp8-block" in )"
                                 R"(training, found none, and "mxfp4" in the released model)"});
  training.precision.experts = DataType::kBf16;
  CHECK(faults_of(training, four_bits).empty());
}
