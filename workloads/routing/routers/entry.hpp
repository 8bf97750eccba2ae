#pragma once

#include <memory>

#include "sim/config/codec.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "workloads/routing/routers/registry.hpp"

namespace moesim {

/// The schema of an object with other defaults, as text.
std::string with_defaults(Json schema, const Json& defaults);
/// JSON as a document in its own right, for what was resolved before.
Document options_document(const std::string& options, const Place& place);

/// A row of the table from a described struct of options and a class made of (options, context). `preset` holds the
/// defaults of this router; several routers may share a class.
template <class Options, class Class>
RouterEntry router_entry(std::string_view name, std::string_view alias, std::string_view summary,
                         std::string_view source, Options preset = {}) {
  RouterEntry entry{name, alias, summary, source, {}, {}, {}, {}};
  const auto decode = [preset](const Cursor& cursor, Options& out) {
    out = preset;
    return Codec<Options>::decode(cursor, {}, out);
  };
  entry.resolve = [decode](const Cursor& cursor, std::string& resolved) {
    Options options;
    const bool good = decode(cursor, options);
    resolved = Codec<Options>::encode(options).dump();
    return good;
  };
  entry.default_options = [preset] { return Codec<Options>::encode(preset).dump(); };
  entry.options_schema = [preset] { return with_defaults(Codec<Options>::schema({}), Codec<Options>::encode(preset)); };
  entry.make = [decode](const std::string& resolved, const RouterContext& context) -> std::unique_ptr<TokenRouter> {
    const Document document = options_document(resolved, context.place);
    std::vector<Diagnostic> faults;
    Options options;
    decode(Cursor(document, faults), options);
    ensure(faults.empty(), "resolved options of a router are right");
    return std::make_unique<Class>(options, context);
  };
  return entry;
}

/// Throws ConfigError at the router's place unless `good`.
void expect_router(bool good, const RouterContext& context, std::string message);

}  // namespace moesim
