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
  /// A transfer that a rank's Send sets off, or would if others had sent too, and what it takes on its way.
  struct Start {
    std::uint32_t transfer = 0;
    RankId to;
    Duration delay;
    std::uint32_t first = 0;  ///< in `uses` and `shares`
    std::uint32_t count = 0;
    enum class Domain : std::uint8_t { kRank, kNode, kNetwork } domain = Domain::kRank;  ///< within which it stays
  };
  std::vector<Start> starts;               ///< by starter, each one's by delay, then by transfer
  std::vector<std::uint32_t> first_start;  ///< [ranks + 1] into starts
  std::vector<Use> uses;                   ///< what a byte a second takes: of links, of the sender's units
  std::vector<double> shares;              ///< [uses]: what part of the payload the link carries; 0 for units
  std::vector<std::uint32_t> starters_of;  ///< [transfers]; empty where all have one
  std::vector<std::uint32_t> receiving;    ///< [ranks]: transfers to each
  std::vector<std::uint32_t> carried;      ///< [ranks]: transfers to each and from each

  // Where no hop follows another these are empty.
  std::vector<std::uint32_t> parts;       ///< [transfers]: its own bytes, and hops before it
  std::vector<std::uint32_t> first_then;  ///< [transfers + 1] into then
  std::vector<std::uint32_t> then;        ///< later hops by earlier hop

  [[nodiscard]] std::span<const Use> uses_of(const Start& start) const {
    return std::span(uses).subspan(start.first, start.count);
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
  void add_uses(const Transfer& transfer, const ExchangeTerms& terms, ExchangePlan::Start& start, ExchangePlan& plan);

  NetworkTerms& terms_;
  const std::vector<ResourceId>& units_;
  std::vector<Known> known_;
  std::size_t next_ = 0;  ///< to be replaced
};

}  // namespace moesim
