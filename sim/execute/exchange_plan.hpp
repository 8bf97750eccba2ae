#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "sim/core/quantity.hpp"
#include "sim/execute/network_terms.hpp"
#include "sim/fluid/fluid_system.hpp"
#include "sim/program/program.hpp"

namespace moesim {

/// What all exchanges of one shape have in common, however many bytes each of their transfers has: which transfers a
/// Send sets off and in what order, what each of them takes, and what waits for what. The layers of a step exchange
/// between the same ranks, so that this is found once and looked up ever after.
struct ExchangePlan {
  /// What one transfer takes on its way.
  struct Way {
    std::uint32_t first = 0;  ///< in `uses` and `shares`
    std::uint32_t count = 0;
    Duration delay;
    enum class Domain : std::uint8_t { kRank, kNode, kNetwork } domain = Domain::kRank;  ///< within which it stays
  };
  std::vector<Way> ways;       ///< [transfers]
  std::vector<Use> uses;       ///< what a byte a second takes: of links, and of the sender's communication units
  std::vector<double> shares;  ///< [uses]: what part of the payload the link carries; 0 for units

  std::vector<std::uint32_t> first_started;  ///< [ranks + 1] into started
  std::vector<std::uint32_t> started;        ///< transfers by starter, each starter's by delay, then by index
  std::vector<std::uint32_t> receiving;      ///< [ranks]: transfers to each
  enum class Starters : std::uint8_t { kOne, kSeveral } starters = Starters::kOne;  ///< of a transfer, at most

  // Where no hop follows another these are empty.
  std::vector<std::uint32_t> parts;       ///< [transfers]: its own bytes, and hops before it
  std::vector<std::uint32_t> first_then;  ///< [transfers + 1] into then
  std::vector<std::uint32_t> then;        ///< later hops by earlier hop

  [[nodiscard]] std::span<const Use> uses_of(const Way& way) const {
    return std::span(uses).subspan(way.first, way.count);
  }
};

/// Makes the plans of a program's exchanges, and keeps the last few.
class ExchangePlans {
 public:
  /// `units`: [ranks], the resources of the ranks' communication units. All references are kept.
  ExchangePlans(NetworkTerms& terms, const std::vector<ResourceId>& units) : terms_(terms), units_(units) {}

  /// `exchange` is to live as long as this.
  std::shared_ptr<const ExchangePlan> plan(const Exchange& exchange, const ExchangeTerms& terms);

 private:
  struct Known {
    const Exchange* like;
    ExchangeTerms terms;
    std::shared_ptr<const ExchangePlan> plan;
  };
  [[nodiscard]] ExchangePlan make(const Exchange& exchange, const ExchangeTerms& terms);

  NetworkTerms& terms_;
  const std::vector<ResourceId>& units_;
  std::vector<Known> known_;
  std::size_t next_ = 0;  ///< to be replaced
};

}  // namespace moesim
