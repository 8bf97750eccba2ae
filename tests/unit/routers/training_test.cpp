#include "workloads/routing/routers/training.hpp"

#include <cmath>
#include <limits>
#include <sstream>

#include "tests/unit/routers/fixture.hpp"

using namespace moesim;
using namespace moesim::test;

namespace {

constexpr std::size_t kTrainedExperts = 16;

TokenModelOptions text() {
  TokenModelOptions options;
  options.vocabulary = 500;
  options.topics = 8;
  options.width = 8;
  options.common = 0.4;  // much in common: some experts are everybody's favourites
  return options;
}

/// Only what a test asks for.
TrainingOptions without_skill() {
  TrainingOptions options;
  options.losses.skill = 0.0;
  return options;
}

struct Trained {
  TrainingLog log;
  GateMatrix gates;
};

Trained trained(const std::string& name, const std::string& router_options, const TrainingOptions& options,
                std::size_t k = 1, std::size_t threads = 1) {
  const TokenModel model(text());
  RouterContext context = context_of(kTrainedExperts, k);
  context.vocabulary = &model.vocabulary();
  const auto router = make_router(name, router_options, context);
  Trained result{{}, GateMatrix::untrained(2, 8, kTrainedExperts, 1.5, 1)};
  result.log = train(model, result.gates, *router, options, 1, TaskPool(threads));
  return result;
}

double late(const TrainingLog& log, double TrainingRecord::* member) {
  const auto steps = mean_over_layers(log);
  double sum = 0.0;
  for (std::size_t i = steps.size() - 10; i < steps.size(); ++i) {
    sum += steps[i].*member / 10.0;
  }
  return sum;
}

}  // namespace

TEST_CASE("training: each balancing loss evens out the load") {
  TrainingOptions options = without_skill();
  options.steps = 120;
  options.batch_tokens = 256;
  options.learning_rate = 0.02;
  const double before = trained("switch", R"({"balance_loss": 0})", options).log.records.front().max_over_mean;
  // Without losses nothing changes but the text: still as uneven.
  CHECK(late(trained("switch", R"({"balance_loss": 0})", options).log, &TrainingRecord::max_over_mean) > 0.7 * before);
  CHECK(before > 3.0);
  options.losses.balance = 0.1;
  const TrainingLog balanced = trained("switch", "{}", options).log;
  CHECK(late(balanced, &TrainingRecord::max_over_mean) < 0.6 * before);
  CHECK(late(balanced, &TrainingRecord::dropped) < 0.7 * balanced.records.front().dropped);
  options.losses.balance = 0.0;
  options.losses.mean_entropy = 0.1;
  CHECK(late(trained("switch", "{}", options).log, &TrainingRecord::max_over_mean) < 0.6 * before);
  options.losses = without_skill().losses;
  const TrainingLog noisy = trained("noisy-top-k", R"({"importance_loss": 0.1, "load_loss": 0.1})", options, 2).log;
  CHECK(late(noisy, &TrainingRecord::max_over_mean) < 0.7 * noisy.records.front().max_over_mean);
}

TEST_CASE("training: the more a balancing loss weighs against what experts learn, the more even the load") {
  TrainingOptions options;  // with the skill that stands for the language model
  options.steps = 200;
  options.batch_tokens = 256;
  double before = std::numeric_limits<double>::infinity();
  for (const double weight : {0.0, 0.001, 0.01}) {
    CAPTURE(weight);
    options.losses.balance = weight;
    const TrainingLog log = trained("switch", "{}", options).log;
    const double uneven = late(log, &TrainingRecord::max_over_mean);
    CHECK(uneven < 0.9 * before);
    before = uneven;
  }
  CHECK(before < 2.5);  // of a first step above 3
  options.losses.balance = 0.01;
  CHECK(training_weights(trained("switch", "{}", options).log) == "balance 0.01, skill 0.03");
}

TEST_CASE("training: token entropy sharpens, z-loss shrinks logits") {
  TrainingOptions options = without_skill();
  options.steps = 60;
  options.batch_tokens = 128;
  options.losses.token_entropy = 1.0;
  const TrainingLog sharp = trained("switch", R"({"balance_loss": 0})", options).log;
  CHECK(late(sharp, &TrainingRecord::entropy) < 0.7 * sharp.records.front().entropy);
  options.losses = without_skill().losses;
  options.losses.z = 1.0;
  const Trained shrunk = trained("switch", R"({"balance_loss": 0})", options);
  double square = 0.0;
  for (const float weight : shrunk.gates.weights) {
    square += weight * weight;
  }
  double untrained = 0.0;
  for (const float weight : GateMatrix::untrained(2, 8, kTrainedExperts, 1.5, 1).weights) {
    untrained += weight * weight;
  }
  CHECK(square < untrained);
}

TEST_CASE("training: experts that get tokens get better, and without balance the others starve") {
  TrainingOptions options = without_skill();
  options.steps = 200;
  options.batch_tokens = 256;
  options.learning_rate = 0.02;
  options.losses.balance = 0.0;
  const TrainingLog alone = trained("switch", "{}", options).log;
  options.losses.skill = 1.0;
  const TrainingLog starved = trained("switch", "{}", options).log;
  CHECK(late(starved, &TrainingRecord::unused_experts) > late(alone, &TrainingRecord::unused_experts) + 1.0);
}

TEST_CASE("training: the selection bias moves by gamma against the load, and evens it out without touching W") {
  TrainingOptions options = without_skill();
  options.steps = 1;
  options.batch_tokens = 256;
  options.losses.balance = 0.0;
  options.bias_rate = 0.25;
  const std::string one_block = R"({"groups": 1, "groups_per_token": 1})";
  const Trained once = trained("deepseek-v3", one_block, options, 2);
  for (const float bias : once.gates.bias) {
    CHECK((bias == 0.25F || bias == -0.25F || bias == 0.0F));
  }
  CHECK(once.gates.weights == GateMatrix::untrained(2, 8, kTrainedExperts, 1.5, 1).weights);
  options.steps = 150;
  options.bias_rate = 0.01;
  const Trained longer = trained("deepseek-v3", one_block, options, 2);
  CHECK(late(longer.log, &TrainingRecord::max_over_mean) < 0.7 * longer.log.records.front().max_over_mean);
  CHECK(longer.gates.weights == once.gates.weights);
}

TEST_CASE("training: the same with any number of threads") {
  TrainingOptions options = without_skill();
  options.steps = 5;
  options.batch_tokens = 64;
  const Trained one = trained("switch", "{}", options);
  const Trained two = trained("switch", "{}", options, 1, 2);
  CHECK(one.gates.weights == two.gates.weights);
  CHECK(training_csv(one.log) == training_csv(two.log));
}

TEST_CASE("training: tables have one line a record, and what is dropped falls with the capacity factor") {
  TrainingOptions options = without_skill();
  options.steps = 9;
  options.batch_tokens = 128;
  options.record_every = 4;
  const TrainingLog log = trained("switch", "{}", options).log;
  CHECK(log.records.size() == 3 * 2);  // steps 0, 4, 8; two layers
  const std::string csv = training_csv(log);
  CHECK(std::count(csv.begin(), csv.end(), '\n') == 7);
  CHECK(csv.starts_with("step,layer,loss,max_over_mean,"));
  const Json json = training_json(log);
  CHECK(json.at("records").size() == 6);
  CHECK(json.at("records").at(5).at("step") == 8);
  for (std::size_t i = 1; i < log.drop_rates.size(); ++i) {
    CHECK(log.drop_rates[i].dropped <= log.drop_rates[i - 1].dropped);
  }
  CHECK(log.drop_rates.front().dropped > 0.0);
  const auto means = mean_over_layers(log);
  REQUIRE(means.size() == 3);
  CHECK(means[1].max_over_mean == Approx(0.5 * (log.records[2].max_over_mean + log.records[3].max_over_mean)));
}

TEST_CASE("training: the load loss needs noise") {
  TrainingOptions options = without_skill();
  options.steps = 1;
  options.losses.load = 0.1;
  CHECK_THROWS_WITH(trained("switch", "{}", options),
                    "the load loss is defined for routers with noise on their logits, and this one has none");
}
