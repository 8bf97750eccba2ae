#include "workloads/routing/routers/registry.hpp"

#include <fmt/format.h>

#include <array>

#include "sim/core/suggest.hpp"
#include "workloads/routing/routers/catalogue.hpp"
#include "workloads/routing/routers/entry.hpp"

namespace moesim {

namespace {

std::vector<std::string_view> names() {
  std::vector<std::string_view> all;
  for (const RouterEntry& entry : router_entries()) {
    all.push_back(entry.name);
    if (!entry.alias.empty()) {
      all.push_back(entry.alias);
    }
  }
  return all;
}

}  // namespace

std::span<const RouterEntry> router_entries() {
  // Dense to sparse, then by date; models of today behind the algorithms that they use.
  static const std::array kEntries{soft_router(),
                                   noisy_top_k_router(),
                                   hierarchical_router(),
                                   routing_network_router(),
                                   gshard_router(),
                                   switch_router(),
                                   base_router(),
                                   sinkhorn_router(),
                                   hash_router(),
                                   v_moe_router(),
                                   glam_router(),
                                   nllb_router(),
                                   expert_choice_router(),
                                   softmax_top_k_router(),
                                   top_k_softmax_router(),
                                   sigmoid_top_k_router(),
                                   sigmoid_bias_top_k_router(),
                                   group_limited_top_k_router(),
                                   sparsemixer_router(),
                                   mixtral_router(),
                                   deepseek_v2_router(),
                                   deepseek_v3_router(),
                                   kimi_k2_router(),
                                   glm_router(),
                                   qwen2_router(),
                                   qwen3_router(),
                                   gpt_oss_router(),
                                   llama4_router(),
                                   dbrx_router(),
                                   olmoe_router(),
                                   arctic_router(),
                                   uniform_router(),
                                   power_law_router()};
  return kEntries;
}

const RouterEntry* find_router(std::string_view name) {
  for (const RouterEntry& entry : router_entries()) {
    if (entry.name == name || (!entry.alias.empty() && entry.alias == name)) {
      return &entry;
    }
  }
  return nullptr;
}

RouterChoice router_by_name(std::string_view name, const Place& place) {
  const RouterEntry* entry = find_router(name);
  if (entry == nullptr) {
    throw ConfigError(place, fmt::format("expected a router, found \"{}\"{}", name, suggestion(name, names())));
  }
  return {entry, entry->default_options()};
}

std::string with_defaults(Json schema, const Json& defaults) {
  for (const auto& [key, value] : defaults.items()) {
    schema["properties"][key]["default"] = value;
  }
  return schema.dump();
}

Document options_document(const std::string& options, const Place& place) {
  return Document::parse(place.file, options);
}

void expect_router(bool good, const RouterContext& context, std::string message) {
  if (!good) {
    throw ConfigError(context.place, std::move(message));
  }
}

bool Codec<RouterChoice>::decode(const Cursor& cursor, const Rules&, RouterChoice& out) {
  const detail::Names known = names();
  if (cursor.value().is_string()) {
    const auto& name = cursor.value().get_ref<const std::string&>();
    out.entry = find_router(name);
    if (out.entry == nullptr) {
      return detail::fail_name(cursor, known, name);
    }
    out.options = out.entry->default_options();
    return true;
  }
  const std::string* const key = detail::only_key(cursor, known, detail::BareName::kAllowed);
  if (key == nullptr) {
    return false;
  }
  out.entry = find_router(*key);
  return out.entry == nullptr ? detail::fail_tag(cursor, known, *key)
                              : out.entry->resolve(cursor.member(*key), out.options);
}

Json Codec<RouterChoice>::encode(const RouterChoice& choice) {
  return detail::tagged(choice.entry->name, Json::parse(choice.options));
}

Json Codec<RouterChoice>::schema(const Rules&) {
  Json options = Json::array({detail::names_schema(names())});
  for (const RouterEntry& entry : router_entries()) {
    for (const std::string_view name : {entry.name, entry.alias}) {
      if (!name.empty()) {
        Json schema = Json::parse(entry.options_schema());
        schema["description"] = fmt::format("{} ({})", entry.summary, entry.source);
        options.push_back(detail::tagged_schema(name, std::move(schema)));
      }
    }
  }
  return {{"oneOf", options}};
}

}  // namespace moesim
