#include "models/kernels/fitted.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <span>
#include <variant>

#include "sim/config/codec.hpp"
#include "sim/config/decode.hpp"
#include "sim/config/document.hpp"
#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"
#include "sim/core/suggest.hpp"

namespace moesim {

template struct DescribedCodec<FitErrors>;
template struct DescribedCodec<FittedProfile>;

std::span<const EmbeddedFile> fitted_files();

const Catalogue& fitted_catalogue() {
  static const Catalogue catalogue("fitted profile", fitted_files());
  return catalogue;
}

double fitted_factor(const TreeSum& trees, const CurveTerms& curves, const FitQuery& query, double lowest,
                     double highest) {
  return std::exp(std::clamp(trees.at(query.features.values()) + curves.at(query), lowest, highest));
}

FittedKernels::FittedKernels(const FittedProfile& profile, const Place& place)
    : profile_(profile),
      accelerator_(find_accelerator(profile.accelerator, {place.file, place.pointer + "/accelerator"})) {
  std::vector<Diagnostic> faults;
  for (std::size_t i = 0; i < profile_.fits.size(); ++i) {
    KernelFit& fit = profile_.fits[i];
    const auto here = [&](std::string_view field) {
      return Place{place.file, fmt::format("{}/fits/{}/{}", place.pointer, i, field)};
    };
    const auto names = feature_names(fit.family);
    if (!std::equal(names.begin(), names.end(), fit.features.begin(), fit.features.end())) {
      faults.push_back({here("features"), fmt::format("expected the {} features of {} that this version knows, found "
                                                      "others: the profile was fitted by another version; fit it "
                                                      "again with moesim calibrate",
                                                      names.size(), name_of(fit.family))});
      continue;
    }
    if (fit.range.size() != names.size() || std::any_of(fit.range.begin(), fit.range.end(), [](const auto& pair) {
          return pair.size() != 2 || pair[0] > pair[1];
        })) {
      faults.push_back({here("range"), fmt::format("expected {} pairs, smallest and largest", names.size())});
    }
    if (fit.lowest > fit.highest || fit.highest > 20.0 || fit.lowest < -20.0) {
      faults.push_back({here("lowest"), "expected lowest and highest in order, between -20 and 20"});
    }
    if (fit.edges.size() != names.size()) {
      faults.push_back({here("edges"), fmt::format("expected {} lists, found {}", names.size(), fit.edges.size())});
      continue;
    }
    TreeSum trees;
    std::string fault;
    if (!TreeSum::parse(fit.trees, std::move(fit.edges), trees, fault)) {
      faults.push_back({here("trees"), fault});
    }
    trees_.push_back(std::move(trees));
    CurveTerms curves;
    if (!CurveTerms::parse(fit.curves, curves)) {
      faults.push_back({here("curves"), "expected whole curves in digits of base 64"});
    }
    curves_.push_back(std::move(curves));
    fit.curves.clear();
    fit.trees.clear();  // parsed: not kept twice
  }
  if (!faults.empty()) {
    throw ConfigError(std::move(faults));
  }
}

std::optional<std::size_t> FittedKernels::find(FitFamily family, DataType type, std::string_view variant) const {
  std::optional<std::size_t> first;
  for (std::size_t i = 0; i < profile_.fits.size(); ++i) {
    const KernelFit& fit = profile_.fits[i];
    if (fit.family == family && fit.type == type) {
      if (fit.variant == variant) {
        return i;
      }
      first = first ? first : i;
    }
  }
  return first;
}

FittedKernels::Prediction FittedKernels::predict(std::size_t index, const FittableKernel& kernel,
                                                 const Accelerator& accelerator) const {
  const KernelFit& fit = profile_.fits[index];
  const FitQuery query = fit_query(kernel, accelerator_);
  const bool measured_here = &accelerator == &accelerator_ || accelerator.name == accelerator_.name;
  const FitQuery here = measured_here ? query : fit_query(kernel, accelerator);
  const double factor = fitted_factor(trees_[index], curves_[index], query, fit.lowest, fit.highest);
  const Duration light = here.light();
  Prediction out{.time = std::max(factor * (fit.floor + here.expected), light), .light = light, .floor = fit.floor};
  const auto values = query.features.values();
  out.in_range = true;
  for (std::size_t i = 0; i < shape_features(fit.family); ++i) {
    constexpr double kSlack = 1e-3;  // the range is stated with few digits
    out.in_range = out.in_range && values[i] >= fit.range[i][0] - kSlack && values[i] <= fit.range[i][1] + kSlack;
  }
  return out;
}

KernelProfile load_kernel_profile(const ProfileChoice& choice, const Place& place) {
  KernelProfile out;
  const auto* name = std::get_if<ProfileName>(&choice);
  std::optional<Document> document;
  if (name == nullptr) {
    document = Document::read(std::get<ProfileFile>(choice).value.resolved);
  } else if (fitted_catalogue().contains(name->value)) {
    document = fitted_catalogue().find(name->value, place);
  } else if (!profile_catalogue().contains(name->value)) {
    std::vector<std::string_view> known = profile_catalogue().names();
    const auto fitted = fitted_catalogue().names();
    known.insert(known.end(), fitted.begin(), fitted.end());
    throw ConfigError(place, fmt::format("expected a profile of the catalogue, found \"{}\"{}", name->value,
                                         suggestion(name->value, known)));
  }
  const Json* schema = document && document->root().is_object() && document->root().contains("schema")
                           ? &document->root().at("schema")
                           : nullptr;
  const bool is_fitted =
      schema != nullptr && schema->is_string() && schema->get<std::string>().starts_with("moesim.fitted-profile/");
  if (is_fitted) {
    const auto profile = decode_document<FittedProfile>(*document);
    out.fitted = std::make_shared<FittedKernels>(profile, Place{document->name(), ""});
    out.base = load_profile(ProfileName{profile.base}, {document->name(), "/base"});
    out.name = profile.name;
  } else {
    out.base = load_profile(choice, place);
    out.name = out.base.name;
  }
  out.communication = out.base.communication;
  return out;
}

namespace {

class FittedModel final : public CostModel {
 public:
  FittedModel(const KernelProfile& profile, const Accelerator& accelerator)
      : fitted_(profile.fitted), accelerator_(accelerator), base_(make_cost_model(profile.base, accelerator)) {
    if (accelerator.name != fitted_->accelerator().name) {
      unmeasured_ = fmt::format("profile {} was fitted on {}; its utilisations are taken to hold on {} too",
                                fitted_->profile().name, fitted_->accelerator().name, accelerator.name);
    }
  }

  [[nodiscard]] KernelCost cost(const Kernel& kernel) const override {
    KernelCost cost = base_->cost(kernel);
    const auto found = lookup(kernel);
    if (!found || !(cost.time > Duration{})) {
      cost.confidence =
          found || std::holds_alternative<Streaming>(kernel) ? cost.confidence : Confidence::kExtrapolated;
      return cost;
    }
    const FittedKernels::Prediction prediction = fitted_->predict(found->fit, found->kernel, accelerator_);
    const FitQuery query = fit_query(found->kernel, accelerator_);
    // Traffic beyond what HBM can carry in that time would hold the kernel up again where links are shared.
    cost.time = std::max(prediction.time, cost.demand.traffic / accelerator_.memory_bandwidth);
    cost.busy = cost.time - std::min(prediction.floor, cost.time - prediction.light);
    cost.bound = query.compute > query.memory ? Bound::kCompute : Bound::kMemory;
    cost.confidence = prediction.in_range && unmeasured_.empty() ? Confidence::kMeasured : Confidence::kExtrapolated;
    return cost;
  }

  [[nodiscard]] std::vector<std::string> warnings(const Kernel& kernel) const override {
    const auto found = lookup(kernel);
    if (!found) {
      std::vector<std::string> all = base_->warnings(kernel);
      if (!std::holds_alternative<Streaming>(kernel)) {
        all.push_back(fmt::format("profile {} has no fit for {}: its base profile's terms are used",
                                  fitted_->profile().name, name_of(operator_of(kernel))));
      }
      return all;
    }
    std::vector<std::string> all;
    if (!unmeasured_.empty()) {
      all.push_back(unmeasured_);
    }
    if (!fitted_->predict(found->fit, found->kernel, accelerator_).in_range) {
      const KernelFit& fit = fitted_->profile().fits[found->fit];
      all.push_back(
          fmt::format("a {} in {} lies outside the shapes that profile {} was fitted on: the utilisation of "
                      "the nearest is taken",
                      name_of(fit.family), name_of(fit.type), fitted_->profile().name));
    }
    return all;
  }

 private:
  struct Found {
    std::size_t fit;
    FittableKernel kernel;
  };

  [[nodiscard]] std::optional<Found> lookup(const Kernel& kernel) const {
    std::optional<FittableKernel> fittable_kernel = fittable(kernel);
    if (!fittable_kernel) {
      return std::nullopt;
    }
    const FitQuery query = fit_query(*fittable_kernel, fitted_->accelerator());
    std::optional<std::size_t> fit = fitted_->find(query.family, query.type);
    // Heads of an absorbed projection run as separate GEMMs where no batched one was measured.
    if (!fit) {
      return std::nullopt;
    }
    return Found{*fit, std::move(*fittable_kernel)};
  }

  std::shared_ptr<const FittedKernels> fitted_;
  Accelerator accelerator_;
  std::unique_ptr<CostModel> base_;
  std::string unmeasured_;
};

}  // namespace

std::unique_ptr<CostModel> make_cost_model(const KernelProfile& profile, const Accelerator& accelerator) {
  if (!profile.fitted) {
    return make_cost_model(profile.base, accelerator);
  }
  return std::make_unique<FittedModel>(profile, accelerator);
}

}  // namespace moesim
