#include "validate/kernels/plan.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <span>
#include <utility>

#include "sim/core/error.hpp"
#include "sim/core/random.hpp"
#include "validate/fit/expert_rows.hpp"

namespace moesim::bench {
namespace {

constexpr double kMostBytes = 60e9;  // that one case may occupy
constexpr double kMostFlops = 40e12;

std::string text(std::int64_t value) { return std::to_string(value); }

/// Exponents are given with two digits, as aiconfigurator's tables have them.
std::string distribution(double exponent) {
  if (exponent == 0.0) {
    return "balanced";
  }
  const auto hundredths = static_cast<int>(std::lround(exponent * 100.0));
  std::string digits = std::to_string(hundredths / 100) + "." + std::to_string(hundredths / 10 % 10);
  if (hundredths % 10 != 0) {
    digits += std::to_string(hundredths % 10);
  }
  return "power_law_" + digits;
}

class Builder {
 public:
  void add(Group group, int level, std::string id, Shape shape) {
    cases_.push_back({group, level, std::string(name_of(group)) + "/" + id, std::move(shape)});
  }
  /// Where it is not too large for any GPU.
  void add_if_fits(Group group, int level, std::string id, Shape shape) {
    const auto* const experts = std::get_if<ExpertsCase>(&shape);
    const Needs needs =
        experts == nullptr || !experts->rows.empty() ? needs_of(shape) : needs_of(*experts, drawn_rows(*experts));
    if (needs.resident < kMostBytes && needs.flops < kMostFlops) {
      add(group, level, std::move(id), std::move(shape));
    }
  }
  /// As rows_of(), each load drawn once.
  const std::vector<std::int64_t>& drawn_rows(const ExpertsCase& experts) {
    return drawn_.of({.tokens = experts.tokens,
                      .experts_per_token = experts.layer.k,
                      .experts = experts.layer.experts,
                      .expert_parallel = experts.expert_parallel,
                      .exponent = experts.exponent});
  }
  std::vector<Case> take() {
    std::stable_sort(cases_.begin(), cases_.end(), [](const Case& a, const Case& b) {
      return a.level != b.level ? a.level < b.level : a.group < b.group;
    });
    return std::move(cases_);
  }

 private:
  std::vector<Case> cases_;
  ExpertRows drawn_;
};

void add_ceilings(Builder& out) {
  constexpr std::array<std::pair<HbmCase::Access, const char*>, 3> kAccesses{
      {{HbmCase::Access::kRead, "read"}, {HbmCase::Access::kWrite, "write"}, {HbmCase::Access::kCopy, "copy"}}};
  for (std::int64_t bytes = std::int64_t{1} << 32; bytes >= std::int64_t{1} << 20; bytes /= 4) {
    for (const auto& [access, name] : kAccesses) {
      out.add(Group::kHbm, 0, std::string(name) + "/" + text(bytes >> 20) + "MiB", HbmCase{access, bytes});
    }
  }
  out.add(Group::kLaunch, 0, "stream", LaunchCase{LaunchCase::Way::kStream});
  out.add(Group::kLaunch, 0, "graph", LaunchCase{LaunchCase::Way::kGraph});
}

std::string gemm_id(const GemmCase& gemm) {
  return std::string(name_of(gemm.type)) + "/m" + text(gemm.m) + "_n" + text(gemm.n) + "_k" + text(gemm.k);
}

void add_gemms(Builder& out) {
  using Widths = std::pair<std::int64_t, std::int64_t>;  // n, k
  // DeepSeek-V3's projections and shared expert, Qwen3-235B's, Mixtral's, Llama-3-70B's feed-forward, squares.
  const std::vector<Widths> core{{8192, 8192},  {4096, 4096}, {2112, 7168}, {7168, 16384},
                                 {24576, 1536}, {9216, 4096}, {4096, 7168}, {7168, 2048}};
  const std::vector<Widths> more{{4096, 8192}, {6144, 4096}, {28672, 8192}, {8192, 28672}, {36864, 7168}, {7168, 18432},
                                 {2048, 2048}, {3072, 2048}, {5120, 2880},  {16384, 512},  {129280, 7168}};
  const std::vector<std::int64_t> coarse{8192, 4096, 1024, 256, 64, 16, 1};
  const std::vector<std::int64_t> fine{2,   4,   8,   24,  32,   48,   96,   128,  160,  192,  320,
                                       384, 512, 768, 640, 1536, 2048, 2560, 3072, 6144, 16384};
  const std::vector<std::int64_t> odd{113, 129, 257, 513, 1025, 2049, 2561, 4097};
  const std::array<NumberType, 3> types{NumberType::kBf16, NumberType::kFp8, NumberType::kFp8Block};
  const auto add = [&](int level, const std::vector<Widths>& widths, const std::vector<std::int64_t>& sizes) {
    for (const std::int64_t m : sizes) {
      for (const auto& [n, k] : widths) {
        for (const NumberType type : types) {
          const GemmCase gemm{type, m, n, k};
          out.add_if_fits(Group::kGemm, level + (type == NumberType::kFp8Block ? 1 : 0), gemm_id(gemm), gemm);
        }
      }
    }
  };
  add(0, core, coarse);
  add(1, core, fine);
  add(1, more, coarse);
  add(2, more, fine);
  add(2, {core[0], core[1], core[6]}, odd);
}

std::string experts_id(const ExpertsCase& e) {
  return std::string(e.layer.name) + "/" + std::string(name_of(e.kernel)) + "/" + std::string(name_of(e.type)) + "/t" +
         text(e.tokens) + "_ep" + text(e.expert_parallel) + "_tp" + text(e.tensor_parallel) + "_" +
         distribution(e.exponent);
}

/// Which kernels can compute in which type: cuBLAS has no grouped fp8, and bf16 expert by expert is worse than grouped.
constexpr std::array<std::pair<ExpertKernel, NumberType>, 7> kExpertWays{{
    {ExpertKernel::kOwn, NumberType::kBf16},
    {ExpertKernel::kCublasLt, NumberType::kFp8},
    {ExpertKernel::kOwn, NumberType::kFp8Block},
    {ExpertKernel::kHopper, NumberType::kBf16},
    {ExpertKernel::kHopper, NumberType::kFp8Block},
    {ExpertKernel::kCublasGrouped, NumberType::kBf16},
    {ExpertKernel::kOwn, NumberType::kFp8},
}};
constexpr std::size_t kCoreWays = 5;

void add_experts(Builder& out) {
  constexpr double kSteep = 1.2;
  constexpr double kMild = 1.01;
  const auto add = [&](int level, std::size_t layers, std::size_t ways, const std::vector<int>& ranks,
                       const std::vector<int>& splits, const std::vector<std::int64_t>& tokens,
                       const std::vector<double>& exponents) {
    for (const std::int64_t count : tokens) {
      for (std::size_t layer = 0; layer < layers; ++layer) {
        const LayerShape& shape = layer_shapes()[layer];
        for (const int ep : ranks) {
          for (const int tp : splits) {
            for (const double exponent : exponents) {
              for (std::size_t way = 0; way < ways; ++way) {
                ExpertsCase experts{.layer = shape,
                                    .kernel = kExpertWays[way].first,
                                    .type = kExpertWays[way].second,
                                    .tokens = count,
                                    .expert_parallel = ep,
                                    .tensor_parallel = tp,
                                    .exponent = exponent};
                if (shape.experts % ep == 0 && shape.intermediate / tp % 128 == 0) {
                  out.add_if_fits(Group::kExperts, level, experts_id(experts), std::move(experts));
                }
              }
            }
          }
        }
      }
    }
  };
  const std::vector<std::int64_t> coarse{64, 1024, 8192, 8, 256, 1};
  const std::vector<std::int64_t> fine{2, 4, 16, 32, 128, 512, 2048, 4096, 16384, 32768};
  add(0, 3, kCoreWays, {8, 1}, {1}, coarse, {0.0, kSteep});
  add(1, 3, kExpertWays.size(), {32, 4}, {1}, coarse, {0.0, kSteep});
  add(1, layer_shapes().size(), kCoreWays, {8, 1}, {1}, fine, {0.0, kSteep});
  add(1, 3, kExpertWays.size(), {8, 1}, {1}, coarse, {kMild});
  add(2, layer_shapes().size(), kExpertWays.size(), {1, 2, 4, 8, 16, 32, 64}, {1}, coarse, {0.0, kMild, kSteep});
  add(2, 3, kExpertWays.size(), {1, 8}, {2, 4, 8}, coarse, {0.0, kSteep});
  add(2, layer_shapes().size(), kExpertWays.size(), {16, 64, 128}, {1}, fine, {0.0, kSteep});
}

void add_attention(Builder& out) {
  struct Heads {
    int heads;
    int kv_heads;
    int width;
  };
  // Qwen3-235B, Mixtral, Llama-3-70B, each whole and split eight ways; OLMoE; gpt-oss.
  const std::vector<Heads> heads{{64, 4, 128}, {32, 8, 128}, {64, 8, 128},  {8, 1, 128},
                                 {16, 2, 128}, {4, 1, 128},  {16, 16, 128}, {64, 8, 64}};
  const auto decode = [&](int level, std::size_t kinds, const std::vector<int>& sequences,
                          const std::vector<int>& lengths) {
    for (const int length : lengths) {
      for (const int count : sequences) {
        for (std::size_t kind = 0; kind < kinds; ++kind) {
          const DecodeCase d{count, length, heads[kind].heads, heads[kind].kv_heads, heads[kind].width};
          const std::string id = "b" + text(count) + "_s" + text(length) + "_h" + text(d.heads) + "_kv" +
                                 text(d.kv_heads) + "_d" + text(d.head_dim);
          if (needs_of(d).bytes < 20e9) {
            out.add_if_fits(Group::kDecode, level, id, d);
          }
        }
      }
    }
  };
  decode(0, 4, {64, 1, 16, 256}, {4096, 1024, 16384});
  decode(1, heads.size(), {4, 8, 32, 128, 64, 1, 16, 256}, {256, 512, 2048, 8192, 32768, 4096});
  decode(2, heads.size(), {1, 2, 4, 8, 512}, {128, 1536, 6144, 65536, 131072});

  const auto latent = [&](int level, const std::vector<int>& counts, const std::vector<int>& sequences,
                          const std::vector<int>& lengths) {
    for (const int length : lengths) {
      for (const int count : sequences) {
        for (const int head_count : counts) {
          const LatentDecodeCase d{count, length, head_count};
          if (needs_of(d).bytes < 20e9) {
            out.add_if_fits(Group::kLatentDecode, level,
                            "b" + text(count) + "_s" + text(length) + "_h" + text(head_count), d);
          }
        }
      }
    }
  };
  latent(0, {128, 16}, {64, 1, 16, 128}, {4096, 1024, 16384});
  latent(1, {128, 64, 32, 16}, {4, 8, 32, 256, 64, 1}, {256, 512, 2048, 8192, 32768, 4096});
  latent(2, {128, 64, 32, 16}, {1, 2, 4, 512}, {128, 1536, 6144, 65536, 131072});

  const auto prefill = [&](int level, const std::vector<int>& sequences, const std::vector<int>& lengths) {
    const std::vector<Heads> kinds{{64, 4, 128}, {128, 128, 192}, {32, 8, 128}, {16, 16, 192}, {8, 1, 128}};
    for (const int length : lengths) {
      for (const int count : sequences) {
        for (const Heads& kind : kinds) {
          const PrefillCase p{count, length, kind.heads, kind.kv_heads, kind.width};
          out.add_if_fits(Group::kPrefill, level,
                          "b" + text(count) + "_s" + text(length) + "_h" + text(p.heads) + "_kv" + text(p.kv_heads) +
                              "_d" + text(p.key_width),
                          p);
        }
      }
    }
  };
  prefill(0, {1, 4}, {4096, 1024, 256});
  prefill(1, {1, 2, 8}, {128, 512, 2048, 8192, 1536});
  prefill(2, {1, 4, 16, 64}, {16, 64, 192, 3072, 6144, 16384});
}

void add_layers(Builder& out) {
  using Part = LayerCase::Part;
  const auto add = [&](int level, std::size_t layers, const std::vector<std::int64_t>& tokens) {
    for (const std::int64_t count : tokens) {
      for (std::size_t layer = 0; layer < layers; ++layer) {
        for (const Part part : {Part::kRouter, Part::kTopK, Part::kSort, Part::kPermute, Part::kUnpermute,
                                Part::kSwiGlu, Part::kSwiGluFp8, Part::kRmsNorm}) {
          const LayerCase c{part, layer_shapes()[layer], count};
          out.add_if_fits(Group::kLayer, level,
                          std::string(name_of(part)) + "/" + std::string(c.layer.name) + "/t" + text(count), c);
        }
      }
    }
  };
  add(0, 2, {64, 4096});
  add(1, 3, {1, 16, 256, 1024, 16384});
  add(2, layer_shapes().size(), {1, 8, 32, 128, 512, 2048, 8192});
}

void add_contention(Builder& out) {
  using Work = ContentionCase::Work;
  using Rival = ContentionCase::Rival;
  const auto add = [&](int level, const std::vector<int>& counts) {
    for (const int count : counts) {
      for (const Work work : {Work::kGemm, Work::kDecodeExperts, Work::kPrefillExperts, Work::kDecodeAttention}) {
        for (const Rival rival : {Rival::kSpin, Rival::kStream}) {
          out.add(Group::kContention, level,
                  std::string(name_of(work)) + "/" + (rival == Rival::kSpin ? "spin" : "stream") + "/sm" + text(count),
                  ContentionCase{work, rival, count});
        }
      }
    }
  };
  add(0, {20, 8, 32});
  add(1, {2, 4, 12, 16, 24, 40, 48, 64});
}

void add_collectives(Builder& out) {
  using Op = CollectiveCase::Op;
  for (std::int64_t bytes = std::int64_t{1} << 30; bytes >= 1 << 10; bytes /= 4) {
    for (const int gpus : {2, 4, 8}) {
      for (const Op op : {Op::kAllToAll, Op::kAllReduce, Op::kAllGather, Op::kReduceScatter, Op::kSendReceive}) {
        out.add(Group::kCollective, 0, std::string(name_of(op)) + "/n" + text(gpus) + "_" + text(bytes) + "B",
                CollectiveCase{op, gpus, bytes});
      }
    }
  }
}

/// 0, n/2, n/4, 3n/4, n/8 …: every prefix is spread over all.
std::vector<std::int64_t> spread_order(std::int64_t count) {
  std::vector<std::int64_t> order;
  std::vector<bool> taken(static_cast<std::size_t>(count));
  for (std::int64_t parts = 1; std::cmp_less(order.size(), count); parts *= 2) {
    for (std::int64_t part = 0; part < parts; ++part) {
      const std::int64_t at = part * count / parts;
      if (!taken[static_cast<std::size_t>(at)]) {
        taken[static_cast<std::size_t>(at)] = true;
        order.push_back(at);
      }
    }
  }
  return order;
}

/// `counts`(layer, batch) → rows per expert of that batch.
template <class Counts>
std::vector<Case> replay(const ReplayOptions& options, std::int64_t layers, std::int64_t tokens, const char* source,
                         const Counts& counts) {
  Builder out;
  const std::vector<std::int64_t> order = spread_order(layers);
  for (std::size_t place = 0; place < order.size(); ++place) {
    constexpr std::size_t kFirst = 4;  // layers that count as the core
    const std::int64_t layer = order[place];
    for (const std::int64_t batch : options.tokens) {
      const std::int64_t size = std::min(batch, tokens);
      for (const int ranks : options.expert_parallel) {
        if (options.layer.experts % ranks != 0) {
          throw ConfigError({"--ep", ""}, "expected ranks that share " + std::to_string(options.layer.experts) +
                                              " experts evenly, found " + std::to_string(ranks));
        }
        const std::vector<std::int64_t> all = counts(layer, size);
        for (int rank = 0; rank < ranks; ++rank) {
          for (std::size_t way = 0; way < kCoreWays; ++way) {
            ExpertsCase experts{.layer = options.layer,
                                .kernel = kExpertWays[way].first,
                                .type = kExpertWays[way].second,
                                .tokens = size,
                                .expert_parallel = ranks,
                                .rows = rank_rows(all, ranks, rank),
                                .replayed_layer = layer,
                                .replayed_rank = rank};
            const std::string id = std::string(source) + "/" + std::string(name_of(experts.kernel)) + "/" +
                                   std::string(name_of(experts.type)) + "/t" + text(size) + "_ep" + text(ranks) +
                                   "_layer" + text(layer) + "_rank" + text(rank);
            out.add_if_fits(Group::kReplay, place < kFirst ? 0 : 1, id, std::move(experts));
          }
        }
      }
    }
  }
  return out.take();
}

}  // namespace

std::string_view name_of(Group group) {
  switch (group) {
    case Group::kHbm:
      return "hbm";
    case Group::kLaunch:
      return "launch";
    case Group::kGemm:
      return "gemm";
    case Group::kReplay:
      return "replay";
    case Group::kExperts:
      return "experts";
    case Group::kDecode:
      return "decode";
    case Group::kLatentDecode:
      return "mla_decode";
    case Group::kPrefill:
      return "prefill";
    case Group::kLayer:
      return "layer";
    case Group::kContention:
      return "contention";
    case Group::kCollective:
      return "collective";
  }
  return "";
}

std::vector<Case> plan() {
  Builder out;
  add_ceilings(out);
  add_gemms(out);
  add_experts(out);
  add_attention(out);
  add_layers(out);
  add_contention(out);
  add_collectives(out);
  std::vector<Case> cases = out.take();
  // The same shape can stand in several lists: the first, which is the most urgent, counts.
  std::vector<Case> unique;
  unique.reserve(cases.size());
  std::vector<std::size_t> order(cases.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return cases[a].id < cases[b].id; });
  std::vector<bool> repeated(cases.size());
  for (std::size_t i = 1; i < order.size(); ++i) {
    repeated[order[i]] = cases[order[i]].id == cases[order[i - 1]].id;
  }
  for (std::size_t i = 0; i < cases.size(); ++i) {
    if (!repeated[i]) {
      unique.push_back(std::move(cases[i]));
    }
  }
  return unique;
}

std::vector<Case> replay_plan(const Routing& routing, const ReplayOptions& options) {
  if (routing.k != options.layer.k || routing.highest >= options.layer.experts) {
    throw ConfigError({"--model", ""},
                      "expected a layer that chooses " + std::to_string(routing.k) + " of at least " +
                          std::to_string(routing.highest + 1) + " experts, found " + std::string(options.layer.name) +
                          " with " + std::to_string(options.layer.k) + " of " + std::to_string(options.layer.experts));
  }
  return replay(options, routing.layers, routing.tokens, "recorded", [&](std::int64_t layer, std::int64_t size) {
    // From the middle, where both prompts and answers are likely.
    return expert_counts(routing, layer, (routing.tokens - size) / 2, size, options.layer.experts);
  });
}

std::vector<Case> generated_replay_plan(const ReplayOptions& options, std::uint64_t seed) {
  constexpr std::int64_t kLayers = 4;
  constexpr double kExponent = 0.8;  // popularity of the r-th expert falls as r^−0.8
  return replay(options, kLayers, std::int64_t{1} << 20, "generated", [&](std::int64_t layer, std::int64_t size) {
    RandomStream random(seed, "replayed layer", static_cast<std::uint64_t>(layer));
    const auto experts = static_cast<std::size_t>(options.layer.experts);
    std::vector<double> popularity(experts);
    for (std::size_t e = 0; e < experts; ++e) {
      popularity[e] = std::pow(static_cast<double>(e + 1), -kExponent);
    }
    random.shuffle(std::span<double>(popularity));
    std::vector<std::int64_t> counts(experts);
    std::vector<double> keys(experts);
    std::vector<std::size_t> order(experts);
    for (std::int64_t token = 0; token < size; ++token) {
      // k different experts: the smallest of exponential variates over popularity (Efraimidis and Spirakis 2006).
      for (std::size_t e = 0; e < experts; ++e) {
        keys[e] = random.exponential() / popularity[e];
        order[e] = e;
      }
      std::nth_element(order.begin(), order.begin() + options.layer.k, order.end(),
                       [&](std::size_t a, std::size_t b) { return keys[a] < keys[b]; });
      for (int j = 0; j < options.layer.k; ++j) {
        ++counts[order[static_cast<std::size_t>(j)]];
      }
    }
    return counts;
  });
}

std::optional<LayerShape> layer_of(const Routing& routing) {
  for (const LayerShape& shape : layer_shapes()) {
    if (shape.k == routing.k && shape.experts > routing.highest && shape.experts < 2 * (routing.highest + 1)) {
      return shape;
    }
  }
  return std::nullopt;
}

bool matches(std::string_view pattern, std::string_view id) {
  // `*` at both ends is understood; the parts between stars must follow each other.
  std::size_t at = 0;
  while (!pattern.empty()) {
    const std::size_t star = std::min(pattern.find('*'), pattern.size());
    const std::string_view part = pattern.substr(0, star);
    const std::size_t found = id.find(part, at);
    if (found == std::string_view::npos) {
      return false;
    }
    at = found + part.size();
    pattern.remove_prefix(std::min(star + 1, pattern.size()));
  }
  return true;
}

std::vector<Case> selected(std::vector<Case> cases, const std::vector<std::string>& patterns) {
  if (patterns.empty()) {
    return cases;
  }
  std::vector<Diagnostic> faults;
  std::vector<bool> kept(cases.size());
  for (const std::string& pattern : patterns) {
    bool any = false;
    for (std::size_t i = 0; i < cases.size(); ++i) {
      if (matches(pattern, cases[i].id)) {
        kept[i] = true;
        any = true;
      }
    }
    if (!any) {
      faults.push_back(
          {{"--only", ""},
           "expected a part of some case's name (--list shows them), found \"" + pattern + "\", which none has"});
    }
  }
  if (!faults.empty()) {
    throw ConfigError(std::move(faults));
  }
  std::vector<Case> out;
  for (std::size_t i = 0; i < cases.size(); ++i) {
    if (kept[i]) {
      out.push_back(std::move(cases[i]));
    }
  }
  return out;
}

}  // namespace moesim::bench
