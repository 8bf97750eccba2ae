#include <fmt/format.h>

#include "sim/config/document.hpp"
#include "workloads/routing/routers/training.hpp"

namespace moesim {

std::vector<TrainingRecord> mean_over_layers(const TrainingLog& log) {
  std::vector<TrainingRecord> means;
  std::size_t layers = 0;
  for (std::size_t i = 0; i < log.records.size(); i += layers) {
    const std::size_t step = log.records[i].step;
    layers = 0;
    while (i + layers < log.records.size() && log.records[i + layers].step == step) {
      ++layers;
    }
    TrainingRecord mean{.step = step};
    const auto share = 1.0 / static_cast<double>(layers);
    for (std::size_t l = i; l < i + layers; ++l) {
      const TrainingRecord& record = log.records[l];
      mean.loss += record.loss * share;
      mean.max_over_mean += record.max_over_mean * share;
      mean.variation += record.variation * share;
      mean.dropped += record.dropped * share;
      mean.unserved += record.unserved * share;
      mean.unused_experts += record.unused_experts * share;
      mean.entropy += record.entropy * share;
    }
    means.push_back(mean);
  }
  return means;
}

std::string training_weights(const TrainingLog& log) {
  const LossWeights& w = log.weights;
  const std::initializer_list<std::pair<std::string_view, double>> all = {
      {"importance", w.importance.value_or(0.0)},
      {"load", w.load.value_or(0.0)},
      {"balance", w.balance.value_or(0.0)},
      {"gshard", w.gshard.value_or(0.0)},
      {"device", w.device.value_or(0.0)},
      {"communication", w.communication.value_or(0.0)},
      {"z", w.z.value_or(0.0)},
      {"mean_entropy", w.mean_entropy.value_or(0.0)},
      {"token_entropy", w.token_entropy.value_or(0.0)},
      {"skill", w.skill.value_or(0.0)},
      {"bias rate", log.bias_rate}};
  std::string text;
  for (const auto& [name, weight] : all) {
    if (weight > 0.0) {
      text += fmt::format("{}{} {:g}", text.empty() ? "" : ", ", name, weight);
    }
  }
  return text.empty() ? "none" : text;
}

std::string training_csv(const TrainingLog& log) {
  std::string text = "step,layer,loss,max_over_mean,variation,dropped,unserved,unused_experts,entropy_bits\n";
  for (const TrainingRecord& r : log.records) {
    text += fmt::format("{},{},{:.9g},{:.6g},{:.6g},{:.6g},{:.6g},{},{:.6g}\n", r.step, r.layer, r.loss,
                        r.max_over_mean, r.variation, r.dropped, r.unserved, r.unused_experts, r.entropy);
  }
  return text;
}

Json training_json(const TrainingLog& log) {
  Json json = {{"weights", training_weights(log)}, {"records", Json::array()}, {"drop_rates", Json::array()}};
  for (const TrainingRecord& r : log.records) {
    json["records"].push_back({{"step", r.step},
                               {"layer", r.layer},
                               {"loss", r.loss},
                               {"max_over_mean", r.max_over_mean},
                               {"variation", r.variation},
                               {"dropped", r.dropped},
                               {"unserved", r.unserved},
                               {"unused_experts", r.unused_experts},
                               {"entropy_bits", r.entropy}});
  }
  for (const TrainingLog::DropRate& rate : log.drop_rates) {
    json["drop_rates"].push_back({{"capacity_factor", rate.capacity_factor}, {"dropped", rate.dropped}});
  }
  return json;
}

}  // namespace moesim
