#include "models/kernels/profile.hpp"

#include <catch2/catch.hpp>
#include <filesystem>

#include "sim/config/decode.hpp"
#include "sim/config/describe.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/core/file.hpp"
#include "sim/core/quantity.hpp"
#include "tests/scratch.hpp"

using namespace moesim;

namespace {
const Place kHere{"scenario.json", "/kernels"};

RooflineProfile built_in() { return load_profile(ProfileName{"roofline"}, kHere); }

std::string fault_of(const RooflineProfile& profile) {
  try {
    check_profile(profile, {"mine.json", ""});
  } catch (const ConfigError& error) {
    REQUIRE(error.diagnostics().size() == 1);
    return error.diagnostics().front().text();
  }
  return "";
}
}  // namespace

TEST_CASE("Every profile of the catalogue is sound and names its sources") {
  REQUIRE(profile_catalogue().contains("roofline"));
  for (const std::string_view name : profile_catalogue().names()) {
    CAPTURE(name);
    const RooflineProfile profile = load_profile(ProfileName{std::string(name)}, kHere);
    CHECK(profile.name == name);
    CHECK(profile.sources.contains("*"));
    for (const auto& [op, terms] : profile.operators) {
      CHECK_FALSE(terms.source.empty());
      CHECK(terms.smallest < terms.largest);
    }
  }
}

TEST_CASE("A profile written out is read back the same") {
  const Json written = Codec<RooflineProfile>::encode(built_in());
  const auto again = decode_document<RooflineProfile>(Document::parse("again", written.dump()));
  CHECK(Codec<RooflineProfile>::encode(again) == written);
}

TEST_CASE("A profile is chosen by name or by file") {
  const auto path = moesim::test::scratch_path("moesim_profile_test.json");
  RooflineProfile changed = built_in();
  changed.name = "mine";
  write_file(path, Codec<RooflineProfile>::encode(changed).dump());
  CHECK(load_profile(ProfileFile{{path.string(), path}}, kHere).name == "mine");
  std::filesystem::remove(path);

  CHECK(load_profile(ProfileChoice{}, kHere).name == "roofline");
  CHECK_THROWS_WITH(load_profile(ProfileName{"rooflin"}, kHere),
                    "scenario.json#/kernels: expected the name of a profile, found \"rooflin\"; did you mean "
                    "\"roofline\"?");
}

TEST_CASE("An efficiency that outgrows the traffic is refused") {
  // From 1 MB at .1 to 2 MB at .2 the time stays the same; with more at 2 MB it would fall.
  RooflineProfile profile = built_in();
  auto& points = profile.operators[Operator::kGemm].types[DataType::kBf16].memory_efficiency;
  points = {{bytes(1e6), 0.1}, {bytes(2e6), 0.2}};
  CHECK(fault_of(profile).empty());
  points[1].efficiency = 0.21;
  CHECK(fault_of(profile) ==
        "mine.json#/operators/gemm/types/bf16/memory_efficiency/1: expected an efficiency of at most 0.2, found 0.21: "
        "with more, a kernel that moves more bytes would take less time");
  points[1] = {bytes(1e6), 0.1};
  CHECK(fault_of(profile) ==
        "mine.json#/operators/gemm/types/bf16/memory_efficiency/1: expected more traffic than at the point before");
}

TEST_CASE("A profile lacks no kind of kernel and no collective") {
  RooflineProfile profile = built_in();
  profile.operators.erase(Operator::kStreaming);
  CHECK(fault_of(profile) == "mine.json#/operators/streaming: expected terms for this kind of kernel, found none");
  profile = built_in();
  profile.communication.collective.erase(ProfiledCollective::kAllGather);
  CHECK(fault_of(profile) == "mine.json#/communication/collective: expected the key \"all_gather\", found none");
}

TEST_CASE("Kernels know their operator") {
  CHECK(operator_of(Gemm{}) == Operator::kGemm);
  CHECK(operator_of(GroupedGemm{}) == Operator::kGroupedGemm);
  CHECK(operator_of(ContextAttention{}) == Operator::kContextAttention);
  CHECK(operator_of(GenerationAttention{}) == Operator::kGenerationAttention);
  CHECK(operator_of(LatentGenerationAttention{}) == Operator::kLatentGenerationAttention);
  CHECK(operator_of(Streaming{}) == Operator::kStreaming);
}
