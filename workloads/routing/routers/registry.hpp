#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "sim/config/codec.hpp"
#include "workloads/routing/routers/router.hpp"

namespace moesim {

/// One row of the table of routers, which `moesim list routers` shows.
struct RouterEntry {
  std::string_view name;
  std::string_view alias;  ///< a second name, as models' files have it; empty: none
  std::string_view summary;
  std::string_view source;
  /// Reads options strictly and writes them back in full, defaults included. False after noting a fault.
  std::function<bool(const Cursor& options, Json& resolved)> resolve;
  std::function<Json()> options_schema;
  std::function<Json()> default_options;
  /// From resolved options. Throws ConfigError at context.place for what does not go with the model.
  std::function<std::unique_ptr<TokenRouter>(const Json& resolved, const RouterContext& context)> make;
};

std::span<const RouterEntry> router_entries();
/// By name or alias; nullptr where there is none.
const RouterEntry* find_router(std::string_view name);

/// A router and its options, as a scenario says them: "switch" or {"switch": {"capacity_factor": 1.25}}.
struct RouterChoice {
  const RouterEntry* entry = nullptr;
  Json options;  ///< resolved

  [[nodiscard]] std::unique_ptr<TokenRouter> make(const RouterContext& context) const {
    return entry->make(options, context);
  }
};
/// With its default options. Throws ConfigError at `place` where there is none of that name.
RouterChoice router_by_name(std::string_view name, const Place& place);

template <>
struct Codec<RouterChoice> {
  static bool decode(const Cursor& cursor, const Rules& rules, RouterChoice& out);
  static Json encode(const RouterChoice& choice);
  static Json schema(const Rules& rules);
};

}  // namespace moesim
