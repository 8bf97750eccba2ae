#include "models/hardware/hardware.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cctype>

#include "sim/config/document.hpp"
#include "sim/core/error.hpp"

namespace moesim {
namespace {

/// "H100 SXM" → "h100-sxm".
std::string file_name(std::string name) {
  for (char& c : name) {
    c = c == ' ' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return name;
}

/// Sources and `unverified` speak of fields that the file has: "memory" or "peak/fp8".
void check_provenance(const Json& json) {
  REQUIRE(json.at("sources").contains("*"));
  std::vector<std::string> fields;
  for (const auto& [field, source] : json.at("sources").items()) {
    CHECK(source.get<std::string>().size() > 5);
    if (field != "*") {
      fields.push_back(field);
    }
  }
  for (const auto& field : json.value("unverified", Json::array())) {
    fields.push_back(field.get<std::string>());
  }
  for (const std::string& field : fields) {
    INFO(field);
    CHECK(json.contains(Json::json_pointer("/" + field)));
  }
}

}  // namespace

TEST_CASE("Every accelerator of the catalogue decodes, under its own name, with a source for every figure") {
  const auto names = accelerator_catalogue().names();
  CHECK(names.size() >= 22);
  for (const std::string_view name : names) {
    INFO(name);
    const Accelerator accelerator = find_accelerator(name, {"test", ""});
    CHECK(file_name(accelerator.name) == name);
    CHECK(accelerator.peak.contains(DataType::kBf16));
    check_provenance(accelerator_catalogue().find(name, {"test", ""}).root());
  }
}

TEST_CASE("Every NIC of the catalogue decodes, under its own name, with a source for every figure") {
  CHECK(nic_catalogue().names().size() >= 3);
  for (const std::string_view name : nic_catalogue().names()) {
    INFO(name);
    CHECK(file_name(find_nic(name, {"test", ""}).name) == name);
    check_provenance(nic_catalogue().find(name, {"test", ""}).root());
  }
}

TEST_CASE("The H100's peak is what its tensor cores multiply") {
  // 132 SMs × 4 tensor cores × 512 fp16 multiply-adds a cycle × 2 FLOP × 1.83 GHz (boost clock with tensor cores
  // busy) = 989.4 TFLOP/s; fp8 doubles it, TF32 halves it.
  const Accelerator h100 = find_accelerator("h100-sxm", {"test", ""});
  const double expected = h100.compute_units * 4 * 512 * 2.0 * 1.83e9;
  CHECK(h100.peak.at(DataType::kBf16).base() == Approx(expected).epsilon(1e-3));
  CHECK(h100.peak.at(DataType::kFp8).base() == Approx(2 * expected).epsilon(1e-3));
  CHECK(h100.peak.at(DataType::kFp32).base() == Approx(expected / 2).epsilon(2e-3));
}

TEST_CASE("Scale-up bandwidth is the sum of the links, each direction") {
  // NVLink 4: 18 links of 25 GB/s each direction. TPU v4: 6 ICI links of 45 GB/s. No NVLink on the PCIe card.
  CHECK(find_accelerator("h100-sxm", {"test", ""}).scale_up_bandwidth.base() == Approx(18 * 25e9));
  CHECK(find_accelerator("tpu-v4", {"test", ""}).scale_up_bandwidth.base() == Approx(6 * 45e9));
  CHECK(find_accelerator("a100-pcie-80gb", {"test", ""}).scale_up_bandwidth.base() == 0.0);
  // NDR: 4 lanes of 100 Gb/s = 50 GB/s.
  CHECK(find_nic("connectx-7-ndr", {"test", ""}).bandwidth.base() == Approx(4 * 100e9 / 8));
}

TEST_CASE("An unknown accelerator is the user's fault, with a suggestion") {
  try {
    find_accelerator("h100-sxn", {"scenario.json", "/cluster/accelerator"});
    FAIL("found");
  } catch (const ConfigError& error) {
    REQUIRE(error.diagnostics().size() == 1);
    CHECK(error.diagnostics()[0].place.pointer == "/cluster/accelerator");
    CHECK_THAT(error.what(), Catch::Contains("expected the name of") && Catch::Contains("did you mean \"h100-sxm\"?"));
  }
  CHECK_THROWS_AS(find_nic("token-ring", {"scenario.json", ""}), ConfigError);
}

TEST_CASE("Elements of block formats include their scales") {
  CHECK(element_size(DataType::kFp32).base() == 4.0);
  CHECK(element_size(DataType::kBf16).base() == 2.0);
  CHECK(element_size(DataType::kFp8).base() == 1.0);
  // 32 elements of 4 bits and one scale of 8 bits: (32·4 + 8) / 8 = 17 B per 32 elements.
  CHECK(element_size(DataType::kMxFp4).base() == Approx(17.0 / 32).epsilon(1e-12));
  // 16 elements and one scale: (16·4 + 8) / 8 = 9 B per 16.
  CHECK(element_size(DataType::kNvFp4).base() == Approx(9.0 / 16).epsilon(1e-12));
  // 32 elements of 4 bits and one scale of 16 bits: (32·4 + 16) / 8 = 18 B per 32, 4.5 bits each.
  CHECK(element_size(DataType::kInt4).base() == Approx(18.0 / 32).epsilon(1e-12));
  // DeepSeek-V3 sends 7168 channels as 7168 B and 7168/128 = 56 floats: 7392 B a token.
  CHECK(7168 * activation_element_size(DataType::kFp8Block).base() == Approx(7168 + 56 * 4).epsilon(1e-12));
  CHECK(activation_element_size(DataType::kBf16).base() == 2.0);
}

}  // namespace moesim
