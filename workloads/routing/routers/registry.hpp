#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "sim/config/describe.hpp"
#include "workloads/routing/routers/router.hpp"

namespace moesim {

/// One row of the table of routers, which `moesim list routers` shows.
struct RouterEntry {
  std::string_view name;
  std::string_view alias;  ///< a second name, as models' files have it; empty: none
  std::string_view summary;
  std::string_view source;
  /// Reads options strictly and gives them back in full, defaults included, as JSON. False after noting a fault.
  std::function<bool(const Cursor& options, std::string& resolved)> resolve;
  std::function<std::string()> options_schema;   ///< a JSON Schema
  std::function<std::string()> default_options;  ///< JSON
  /// From resolved options. Throws ConfigError at context.place for what does not go with the model.
  std::function<std::unique_ptr<TokenRouter>(const std::string& resolved, const RouterContext& context)> make;
};

std::span<const RouterEntry> router_entries();
/// By name or alias; nullptr where there is none.
const RouterEntry* find_router(std::string_view name);

/// A router and its options, as a scenario says them: "switch" or {"switch": {"capacity_factor": 1.25}}.
struct RouterChoice {
  const RouterEntry* entry = nullptr;
  std::string options;  ///< resolved, as JSON

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
