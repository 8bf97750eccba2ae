#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace moesim::fluid {

/// Why a link need not be looked at: each of its flows also uses one of a set of other links, the cover, which together
/// allow no more than it does,
///
///   Σ_f w_{f,L}·x_f ≤ Σ_{K in cover} C_K · max_{f over K} w_{f,L}/w_{f,K} ≤ C_L
///
/// (the trunk of a leaf switch that is as wide as its ports together; a cable between two ports of its own speed).
/// Remains true when flows leave.
class Cover {
 public:
  struct Member {
    std::uint32_t link;
    double allowed;
  };

  void clear() {
    members_.clear();
    total_ = 0.0;
    failed_ = false;
  }
  void fail() { failed_ = true; }
  [[nodiscard]] bool failed() const { return failed_; }
  [[nodiscard]] const std::vector<Member>& members() const { return members_; }

  /// A flow uses the covered link, of `capacity`, and `link`; `allowed` is C_K·w_L/w_K.
  void extend(std::uint32_t link, double allowed, double capacity) {
    if (failed_) {
      return;
    }
    const auto member = std::find_if(members_.begin(), members_.end(), [&](const auto& m) { return m.link == link; });
    if (member == members_.end()) {
      members_.push_back(Member{link, allowed});
      total_ += allowed;
    } else if (allowed > member->allowed) {
      total_ += allowed - member->allowed;
      member->allowed = allowed;
    }
    failed_ = !(total_ <= capacity);
  }

 private:
  std::vector<Member> members_;  ///< few: more would not fit
  double total_ = 0.0;
  bool failed_ = false;
};

}  // namespace moesim::fluid
