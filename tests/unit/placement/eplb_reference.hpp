#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <vector>

/// deepseek-ai/EPLB's eplb.py, line by line, with loops where it has tensors: slow and plain, to hold ours against.
/// fp32 throughout, stable descending sorts, first of equal minima and maxima.
namespace moesim::test {

struct ReferenceResult {
  std::vector<int> phy2log;
  std::vector<std::vector<int>> log2phy;  // as wide as this layer's largest count
  std::vector<int> logcnt;
};

struct ReferencePacking {
  std::vector<int> pack;
  std::vector<int> rank;
};

inline ReferencePacking reference_balanced_packing(const std::vector<float>& weight, int num_packs) {
  const int num_groups = static_cast<int>(weight.size());
  const int groups_per_pack = num_groups / num_packs;
  ReferencePacking result{std::vector<int>(weight.size(), -1), std::vector<int>(weight.size(), 0)};
  if (groups_per_pack == 1) {
    std::iota(result.pack.begin(), result.pack.end(), 0);
    return result;
  }
  std::vector<int> indices(weight.size());
  std::iota(indices.begin(), indices.end(), 0);
  std::stable_sort(indices.begin(), indices.end(), [&](int a, int b) { return weight[a] > weight[b]; });
  std::vector<float> pack_weights(num_packs, 0.0F);
  std::vector<int> pack_items(num_packs, 0);
  for (const int group : indices) {
    int pack = -1;
    for (int i = 0; i < num_packs; ++i) {
      if (pack_items[i] < groups_per_pack && (pack < 0 || pack_weights[i] < pack_weights[pack])) {
        pack = i;
      }
    }
    result.pack[group] = pack;
    result.rank[group] = pack_items[pack];
    pack_weights[pack] += weight[group];
    ++pack_items[pack];
  }
  return result;
}

struct ReferenceReplication {
  std::vector<int> phy2log;
  std::vector<int> rank;
  std::vector<int> logcnt;
};

inline ReferenceReplication reference_replicate_experts(const std::vector<float>& weight, int num_phy) {
  const int num_log = static_cast<int>(weight.size());
  ReferenceReplication result{std::vector<int>(num_phy), std::vector<int>(num_phy, 0), std::vector<int>(num_log, 1)};
  std::iota(result.phy2log.begin(), result.phy2log.end(), 0);
  for (int i = num_log; i < num_phy; ++i) {
    int redundant = 0;
    for (int e = 1; e < num_log; ++e) {
      if (weight[e] / static_cast<float>(result.logcnt[e]) >
          weight[redundant] / static_cast<float>(result.logcnt[redundant])) {
        redundant = e;
      }
    }
    result.phy2log[i] = redundant;
    result.rank[i] = result.logcnt[redundant];
    ++result.logcnt[redundant];
  }
  return result;
}

inline std::vector<int> reference_inverse(const std::vector<int>& perm) {
  std::vector<int> inverse(perm.size());
  for (std::size_t i = 0; i < perm.size(); ++i) {
    inverse[perm[i]] = static_cast<int>(i);
  }
  return inverse;
}

inline ReferenceResult reference_rebalance(const std::vector<float>& weight, int num_replicas, int num_groups,
                                           int num_nodes, int num_gpus) {
  if (num_groups % num_nodes != 0) {
    num_groups = 1;
    num_nodes = 1;
  }
  const int num_log = static_cast<int>(weight.size());
  const int group_size = num_log / num_groups;
  const int groups_per_node = num_groups / num_nodes;
  const int phy_per_gpu = num_replicas / num_gpus;

  std::vector<float> tokens_per_group(num_groups, 0.0F);
  for (int e = 0; e < num_log; ++e) {
    tokens_per_group[e / group_size] += weight[e];
  }
  const ReferencePacking groups = reference_balanced_packing(tokens_per_group, num_nodes);
  std::vector<int> log2mlog(num_log);
  for (int e = 0; e < num_log; ++e) {
    const int g = e / group_size;
    log2mlog[e] = (groups.pack[g] * groups_per_node + groups.rank[g]) * group_size + e % group_size;
  }
  const std::vector<int> mlog2log = reference_inverse(log2mlog);

  ReferenceResult result;
  result.phy2log.resize(num_replicas);
  result.logcnt.resize(num_log);
  std::vector<int> pphyrank(num_replicas);
  const int mlogs = num_log / num_nodes;
  const int phys = num_replicas / num_nodes;
  for (int node = 0; node < num_nodes; ++node) {
    std::vector<float> tokens_per_mlog(mlogs);
    for (int m = 0; m < mlogs; ++m) {
      tokens_per_mlog[m] = weight[mlog2log[node * mlogs + m]];
    }
    const ReferenceReplication copies = reference_replicate_experts(tokens_per_mlog, phys);
    std::vector<float> tokens_per_phy(phys);
    for (int p = 0; p < phys; ++p) {
      const int m = copies.phy2log[p];
      tokens_per_phy[p] = tokens_per_mlog[m] / static_cast<float>(copies.logcnt[m]);
    }
    const ReferencePacking gpus = reference_balanced_packing(tokens_per_phy, num_gpus / num_nodes);
    std::vector<int> phy2pphy(phys);
    for (int p = 0; p < phys; ++p) {
      phy2pphy[p] = gpus.pack[p] * phy_per_gpu + gpus.rank[p];
    }
    const std::vector<int> pphy2phy = reference_inverse(phy2pphy);
    for (int pp = 0; pp < phys; ++pp) {
      const int p = pphy2phy[pp];
      result.phy2log[node * phys + pp] = mlog2log[node * mlogs + copies.phy2log[p]];
      pphyrank[node * phys + pp] = copies.rank[p];
    }
    for (int m = 0; m < mlogs; ++m) {
      result.logcnt[mlog2log[node * mlogs + m]] = copies.logcnt[m];
    }
  }
  const int maxlogcnt = *std::max_element(result.logcnt.begin(), result.logcnt.end());
  result.log2phy.assign(num_log, std::vector<int>(maxlogcnt, -1));
  for (int p = 0; p < num_replicas; ++p) {
    result.log2phy[result.phy2log[p]][pphyrank[p]] = p;
  }
  return result;
}

}  // namespace moesim::test
