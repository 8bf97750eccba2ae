#include "sim/fluid/redundancy.hpp"

#include <algorithm>
#include <limits>
#include <numeric>

namespace moesim::fluid {
namespace {

constexpr double kNone = std::numeric_limits<double>::infinity();

void drop_caps(UseTable& table) {
  for (std::size_t flow = 0; flow < table.flow_count(); ++flow) {
    for (const UseTable::Use& use : table.uses_of(flow)) {
      if (table.cap[flow] * use.weight >= table.capacity[use.resource]) {
        table.cap[flow] = kNone;
        break;
      }
    }
  }
}

/// The search for a cover of one resource after the other.
class CoverSearch {
 public:
  explicit CoverSearch(const UseTable& table)
      : table_(table), kept_(table.resource_count(), 1), candidates_(table.resource_count()) {}

  /// Marks the resources that the others imply; returns the marks (0: dropped).
  const std::vector<char>& run() {
    // Many users and much capacity first: trunks fall to ports, not ports to the trunks of few.
    std::vector<std::uint32_t> order(table_.resource_count());
    std::iota(order.begin(), order.end(), 0U);
    std::stable_sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
      const std::size_t users_a = table_.users_of(a).size();
      const std::size_t users_b = table_.users_of(b).size();
      return users_a != users_b ? users_a > users_b : table_.capacity[a] > table_.capacity[b];
    });
    for (const std::uint32_t resource : order) {
      kept_[resource] = covered(resource) ? 0 : 1;
    }
    return kept_;
  }

 private:
  struct Candidate {
    std::uint32_t users = 0;  ///< shared with the resource in question
    double ratio = 0.0;       ///< greatest w_{a,r}/w_{a,s} among them
    std::uint32_t chosen_for = std::numeric_limits<std::uint32_t>::max();
  };

  void count_candidates(std::uint32_t resource) {
    for (const UseTable::User& user : table_.users_of(resource)) {
      for (const UseTable::Use& use : table_.uses_of(user.flow)) {
        candidates_[use.resource].users = 0;
        candidates_[use.resource].ratio = 0.0;
      }
    }
    for (const UseTable::User& user : table_.users_of(resource)) {
      for (const UseTable::Use& use : table_.uses_of(user.flow)) {
        Candidate& candidate = candidates_[use.resource];
        ++candidate.users;
        candidate.ratio = std::max(candidate.ratio, user.weight / use.weight);
      }
    }
  }

  bool covered(std::uint32_t resource) {
    count_candidates(resource);
    const double capacity = table_.capacity[resource];
    double total = 0.0;
    for (const UseTable::User& user : table_.users_of(resource)) {
      // The cap covers one activity; another resource, the cheapest per activity that it covers.
      double least = user.weight * table_.cap[user.flow];
      Candidate* best = nullptr;
      double price = least;
      for (const UseTable::Use& use : table_.uses_of(user.flow)) {
        Candidate& candidate = candidates_[use.resource];
        if (use.resource == resource || kept_[use.resource] == 0) {
          continue;
        }
        if (candidate.chosen_for == resource) {
          best = &candidate;  // already paid for
          price = 0.0;
          break;
        }
        const double all = table_.capacity[use.resource] * candidate.ratio;
        if (all / candidate.users < price) {
          price = all / candidate.users;
          least = all;
          best = &candidate;
        }
      }
      if (best != nullptr && best->chosen_for != resource) {
        best->chosen_for = resource;
        total += least;
      } else if (best == nullptr) {
        total += least;
      }
      if (!(total <= capacity)) {
        return false;
      }
    }
    return true;
  }

  const UseTable& table_;
  std::vector<char> kept_;
  std::vector<Candidate> candidates_;
};

}  // namespace

void UseTable::index_users() {
  first_user.assign(resource_count() + 1, 0);
  for (const Use& use : uses) {
    ++first_user[use.resource + 1];
  }
  std::partial_sum(first_user.begin(), first_user.end(), first_user.begin());
  users.resize(uses.size());
  std::vector<std::uint32_t> next(first_user.begin(), first_user.end() - 1);
  for (std::uint32_t flow = 0; flow < flow_count(); ++flow) {
    for (const Use& use : uses_of(flow)) {
      users[next[use.resource]++] = User{flow, use.weight};
    }
  }
}

void drop_redundant(UseTable& table) {
  drop_caps(table);
  CoverSearch search(table);
  const std::vector<char>& kept = search.run();

  std::vector<std::uint32_t> renamed(table.resource_count());
  std::uint32_t count = 0;
  for (std::size_t resource = 0; resource < table.resource_count(); ++resource) {
    if (kept[resource] != 0) {
      table.capacity[count] = table.capacity[resource];
      renamed[resource] = count++;
    }
  }
  table.capacity.resize(count);

  std::uint32_t written = 0;
  for (std::size_t flow = 0; flow < table.flow_count(); ++flow) {
    const std::uint32_t begin = table.first_use[flow];
    const std::uint32_t end = table.first_use[flow + 1];
    table.first_use[flow] = written;
    for (std::uint32_t i = begin; i < end; ++i) {
      const UseTable::Use use = table.uses[i];
      if (kept[use.resource] != 0) {
        table.uses[written++] = UseTable::Use{renamed[use.resource], use.weight};
      }
    }
  }
  table.first_use.back() = written;
  table.uses.resize(written);
  table.index_users();
}

}  // namespace moesim::fluid
