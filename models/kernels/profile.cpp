#include "models/kernels/profile.hpp"

#include <fmt/format.h>

#include <cmath>
#include <span>

#include "sim/config/codec.hpp"
#include "sim/config/decode.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"

namespace moesim {

template struct DescribedCodec<RooflineProfile>;

std::span<const EmbeddedFile> profile_files();

namespace {

void check_points(const std::vector<EfficiencyPoint>& points, const Place& place, std::vector<Diagnostic>& faults) {
  for (std::size_t i = 1; i < points.size(); ++i) {
    const double step = points[i].traffic / points[i - 1].traffic;
    const double gain = points[i].efficiency / points[i - 1].efficiency;
    const Place here{place.file, place.pointer + "/" + std::to_string(i)};
    if (!(step > 1.0)) {
      faults.push_back({here, "expected more traffic than at the point before"});
    } else if (gain > step) {
      // Time between the points goes as traffic/efficiency.
      faults.push_back(
          {here, fmt::format("expected an efficiency of at most {:.4g}, found {}: with more, a kernel that "
                             "moves more bytes would take less time",
                             points[i - 1].efficiency * step, points[i].efficiency)});
    }
  }
}

/// Lists by rising ranks, and points at which more bytes take no less time.
void check_domains(const DomainTable& table, const Place& place, std::vector<Diagnostic>& faults) {
  for (const auto& [kind, terms] : table) {
    for (std::size_t i = 0; i < terms.size(); ++i) {
      const Place here{place.file, fmt::format("{}/{}/{}", place.pointer, name_of(kind), i)};
      if (i > 0 && terms[i].ranks <= terms[i - 1].ranks) {
        faults.push_back({{here.file, here.pointer + "/ranks"}, "expected more ranks than in the terms before"});
      }
      std::vector<EfficiencyPoint> points;
      for (const PortEfficiency& point : terms[i].efficiency) {
        points.push_back({point.bytes, point.efficiency});
      }
      check_points(points, {here.file, here.pointer + "/efficiency"}, faults);
    }
    if (terms.empty()) {
      faults.push_back(
          {{place.file, fmt::format("{}/{}", place.pointer, name_of(kind))}, "expected terms, found none"});
    }
  }
}

}  // namespace

Operator operator_of(const Kernel& kernel) {
  // An expert block is priced by its grouped GEMMs' terms, and so are an indexer's scores: one library's kernels, with
  // the same instructions in fp8 (DeepGEMM). Attention's backward kernel is priced by its forward one.
  static_assert(std::variant_size_v<Kernel> == EnumNames<Operator>::names.size() + 3);
  if (std::holds_alternative<ContextAttentionBackward>(kernel)) {
    return Operator::kContextAttention;
  }
  const bool grouped = std::holds_alternative<Experts>(kernel) || std::holds_alternative<IndexScores>(kernel);
  return grouped ? Operator::kGroupedGemm : EnumNames<Operator>::names[kernel.index()].first;
}

std::string title_of(const Kernel& kernel) {
  const std::string priced(name_of(operator_of(kernel)));
  return std::holds_alternative<IndexScores>(kernel) ? "an indexer's scores (priced as " + priced + ")" : priced;
}

const Catalogue& profile_catalogue() {
  static const Catalogue catalogue("profile", profile_files());
  return catalogue;
}

void check_profile(const RooflineProfile& profile, const Place& place) {
  std::vector<Diagnostic> faults;
  for (const auto& [op, name] : EnumNames<Operator>::names) {
    const Place operator_place{place.file, fmt::format("{}/operators/{}", place.pointer, name)};
    const auto found = profile.operators.find(op);
    if (found == profile.operators.end() || found->second.types.empty()) {
      faults.push_back({operator_place, "expected terms for this kind of kernel, found none"});
      continue;
    }
    for (const auto& [type, terms] : found->second.types) {
      check_points(terms.memory_efficiency,
                   {place.file, fmt::format("{}/types/{}/memory_efficiency", operator_place.pointer, name_of(type))},
                   faults);
    }
  }
  for (const auto& [collective, name] : EnumNames<ProfiledCollective>::names) {
    const auto found = profile.communication.collective.find(collective);
    if (found == profile.communication.collective.end() || found->second.empty()) {
      faults.push_back({{place.file, fmt::format("{}/communication/collective", place.pointer)},
                        fmt::format("expected the key \"{}\", found none", name)});
    }
  }
  const Place domains{place.file, place.pointer + "/communication/in_domain"};
  check_domains(profile.communication.in_domain, domains, faults);
  for (const auto& [accelerator, table] : profile.communication.in_domain_on) {
    check_domains(table, {domains.file, fmt::format("{}_on/{}", domains.pointer, accelerator)}, faults);
  }
  if (!faults.empty()) {
    throw ConfigError(std::move(faults));
  }
}

RooflineProfile load_profile(const ProfileChoice& choice, const Place& place) {
  const Document document = std::holds_alternative<ProfileFile>(choice)
                                ? Document::read(std::get<ProfileFile>(choice).value.resolved)
                                : profile_catalogue().find(std::get<ProfileName>(choice).value, place);
  auto profile = decode_document<RooflineProfile>(document);
  check_profile(profile, {document.name(), ""});
  return profile;
}

}  // namespace moesim
