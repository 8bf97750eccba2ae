#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "program.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

const std::string kDraftingRun =
    "run deepseek-v3-decode-h200 --set /step/decode/sequences_per_dp_rank=16 --set "
    "'/step/decode/speculative={\"draft_tokens\": 2, \"acceptance\": [0.85, 0.6]}' ";

bool mentions(const std::string& text, const std::string& line) { return text.find(line) != std::string::npos; }

}  // namespace

// 1 + 0.85 + 0.85·0.6 tokens. The module on each of 32 ranks: 8 of its 256 experts of 3·7168·2048, a shared one,
// attention of 187 million parameters and its up-projections once more, in 8 bits; router and projection, 7168·256 and
// 2·7168², in 16 bits.
TEST_CASE("run: the table shows drafts, what they are worth, and what they take") {
  const ScratchFolder scratch;
  const Outcome outcome = run_program(scratch.path(), kDraftingRun);
  REQUIRE(outcome.exit_code == 0);
  for (const char* line :
       {"decode, 16 sequences per data-parallel rank, context 4,096, 2 draft tokens a sequence\n",
        "  tokens per step             2.360 expected of each sequence\n", "  time per output token       ",
        "  drafting, all of it         ", "  draft module weights           809.5 MB\n"}) {
    INFO(line);
    CHECK(mentions(outcome.out, line));
  }
  const Outcome one = run_program(
      scratch.path(),
      "run deepseek-v3-decode-h200 --set '/step/decode/speculative={\"draft_tokens\": 1, \"acceptance\": 0.85}'");
  CHECK(mentions(one.out, ", 1 draft token a sequence\n"));
  CHECK(mentions(one.err,
                 "profile h200-sglang was measured with one new token of a sequence: attention of 2 is taken to run as "
                 "that of one with 2 times the heads"));
  const Outcome plain = run_program(scratch.path(), "run deepseek-v3-decode-h200");
  for (const char* word : {"draft", "tokens per step", "per output token"}) {
    CHECK_FALSE(mentions(plain.out, word));
  }
}

TEST_CASE("run: metrics and operators of drafts, whose times add up") {
  const ScratchFolder scratch;
  const Outcome outcome = run_program(scratch.path(), kDraftingRun + "--format json");
  REQUIRE(outcome.exit_code == 0);
  const auto result = nlohmann::json::parse(outcome.out);
  CHECK(metric(result, "tokens_per_step") == Approx(2.36).epsilon(1e-12));
  const double step = metric(result, "step_time");
  CHECK(metric(result, "time_per_output_token") == Approx(step / 2.36).epsilon(1e-12));
  CHECK(metric(result, "tokens_per_second") == Approx(32 * 16 * 2.36 / step).epsilon(1e-12));
  double all = 0.0;
  double drafts = 0.0;
  std::set<std::string> names;
  for (const auto& row : result.at("operators")) {
    const auto name = row.at("operator").get<std::string>();
    names.insert(name);
    all += row.at("value").get<double>();
    drafts += name.starts_with("draft: ") ? row.at("value").get<double>() : 0.0;
  }
  CHECK(all == Approx(step).epsilon(1e-9));
  CHECK(drafts == Approx(metric(result, "draft_time")).epsilon(1e-9));
  for (const char* name : {"verification", "draft: module input", "draft: attention", "draft: dispatch",
                           "draft: experts", "draft: combine", "draft: LM head"}) {
    INFO(name);
    CHECK(names.contains(name));
  }
  CHECK(result.at("scenario").at("step").at("decode").at("speculative").at("acceptance").size() == 2);
}

TEST_CASE("place: drafts are refused, as none of the model's layers makes them") {
  const ScratchFolder scratch;
  const Outcome outcome =
      run_program(scratch.path(),
                  "place deepseek-v3-placement --set "
                  "'/step={\"decode\": {\"sequences_per_dp_rank\": 8, \"context\": 1024, \"speculative\": "
                  "{\"draft_tokens\": 1, \"acceptance\": 0.8}}}'");
  CHECK(outcome.exit_code == 2);
  CHECK(mentions(outcome.err,
                 "#/step/decode/speculative/draft_tokens: expected 0, since placements are compared by the model's own "
                 "layers; found 1"));
}

TEST_CASE("schema: acceptance is a number or an array of numbers") {
  const ScratchFolder scratch;
  const auto schema = nlohmann::json::parse(run_program(scratch.path(), "schema scenario").out);
  const auto find = [](const nlohmann::json& root, const std::string& key) {
    const nlohmann::json flat = root.flatten();
    for (const auto& [path, unused] : flat.items()) {
      if (const std::size_t at = path.find('/' + key + '/'); at != std::string::npos) {
        return root.at(nlohmann::json::json_pointer(path.substr(0, at + 1 + key.size())));
      }
    }
    return nlohmann::json();
  };
  const nlohmann::json acceptance = find(schema, "acceptance");
  REQUIRE(acceptance.contains("oneOf"));
  CHECK(acceptance.at("oneOf").at(0) == R"({"type": "number", "minimum": 0.0, "maximum": 1.0})"_json);
  CHECK(acceptance.at("oneOf").at(1) ==
        R"({"type": "array", "minItems": 1, "items": {"type": "number", "minimum": 0.0, "maximum": 1.0}})"_json);
  CHECK(find(schema, "draft_tokens").at("type") == "integer");
}
