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

namespace {

/// The range is stated with few digits, and a few percent more of anything are no extrapolation.
constexpr double kSlack = 0.05;

/// By how much a feature, in most cases a logarithm to base 2, lies outside what was measured.
double beyond(const KernelFit& fit, std::size_t feature, double value) {
  const std::vector<double>& range = fit.range[feature];
  return std::max({range[0] - kSlack - value, value - range[1] - kSlack, 0.0});
}

}  // namespace

double fitted_factor(const Surface& surface, const TreeSum& trees, const CurveTerms& curves, const FitQuery& query,
                     const KernelFit& fit) {
  const auto values = query.features.values();
  double distance = 0.0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    distance = std::max(distance, beyond(fit, i, values[i]));
  }
  const double far = std::min(distance, 1.0);
  const double lowest = fit.lowest + far * (fit.usual_lowest.value_or(fit.lowest) - fit.lowest);
  const double highest = fit.highest + far * (fit.usual_highest.value_or(fit.highest) - fit.highest);
  return std::exp(std::clamp(surface.at(values) + trees.at(values) + curves.at(query), lowest, highest));
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
    if (fit.law.value_or(1) != expected_law(fit.family)) {
      faults.push_back({here("law"), fmt::format("expected {}, found {}: the profile was fitted by another version; "
                                                 "fit it again with moesim calibrate",
                                                 expected_law(fit.family), fit.law.value_or(1))});
    }
    if (fit.range.size() != names.size() || std::any_of(fit.range.begin(), fit.range.end(), [](const auto& pair) {
          return pair.size() != 2 || pair[0] > pair[1];
        })) {
      faults.push_back({here("range"), fmt::format("expected {} pairs, smallest and largest", names.size())});
    }
    const double usual_lowest = fit.usual_lowest.value_or(fit.lowest);
    const double usual_highest = fit.usual_highest.value_or(fit.highest);
    if (fit.lowest > usual_lowest || usual_lowest > usual_highest || usual_highest > fit.highest ||
        fit.highest > 20.0 || fit.lowest < -20.0) {
      faults.push_back({here("lowest"),
                        "expected lowest and highest in order, between -20 and 20, and the usual ones "
                        "between them"});
    }
    if (fit.edges.size() != names.size()) {
      faults.push_back({here("edges"), fmt::format("expected {} lists, found {}", names.size(), fit.edges.size())});
      continue;
    }
    Surface surface;
    if (!Surface::parse(fit.surface.value_or(""), fit.family, surface)) {
      faults.push_back({here("surface"), "expected a whole surface over the family's axes in digits of base 64"});
    }
    surfaces_.push_back(std::move(surface));
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
    fit.surface.reset();
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

std::optional<std::size_t> FittedKernels::find_like(const FittableKernel& kernel, DataType type) const {
  const FitFamily family = family_of(kernel).first;
  const auto first = find(family, type);
  const auto names = feature_names(family);
  const auto name = std::find(names.begin(), names.end(), "expert ranks");
  if (!first || name == names.end()) {
    return first;
  }
  const auto feature = static_cast<std::size_t>(name - names.begin());
  const double spread = fit_query(kernel, accelerator_).features.values()[feature];
  for (std::size_t i = *first; i < profile_.fits.size(); ++i) {
    const KernelFit& fit = profile_.fits[i];
    if (fit.family == family && fit.type == type && beyond(fit, feature, spread) <= 0.0) {
      return i;
    }
  }
  return first;
}

std::optional<FittedKernels::Choice> FittedKernels::choose(const FittableKernel& kernel,
                                                           std::string_view variant) const {
  const auto [family, type] = family_of(kernel);
  // Blocks of fp8 are fp8 to the tensor cores; the scales' few bytes are part of the kernel.
  const DataType sibling = type == DataType::kFp8Block ? DataType::kFp8
                           : type == DataType::kFp8    ? DataType::kFp8Block
                                                       : type;
  for (const DataType measured : {type, sibling}) {
    if (const auto fit = variant.empty() ? find_like(kernel, measured) : find(family, measured, variant)) {
      return Choice{*fit, kernel};
    }
  }
  const auto* experts = std::get_if<Experts>(&kernel);
  if (experts == nullptr || experts->layout == ExpertLayout::kSorted) {
    return std::nullopt;
  }
  return choose(sorted(*experts), variant);
}

FittedKernels::Prediction FittedKernels::predict(std::size_t index, const FittableKernel& kernel,
                                                 const Accelerator& accelerator,
                                                 std::optional<DataType> stands_for) const {
  const KernelFit& fit = profile_.fits[index];
  const FitQuery query = fit_query(kernel, accelerator_);
  const bool measured_here = &accelerator == &accelerator_ || accelerator.name == accelerator_.name;
  const FitQuery here = stands_for      ? fit_query(with_weight(kernel, *stands_for), accelerator)
                        : measured_here ? query
                                        : fit_query(kernel, accelerator);
  const double factor = fitted_factor(surfaces_[index], trees_[index], curves_[index], query, fit);
  const Duration light = here.light();
  Prediction out{.time = std::max(factor * (fit.floor + here.expected), light),
                 .light = light,
                 .floor = fit.floor,
                 .bound = here.compute > here.memory ? Bound::kCompute : Bound::kMemory};
  const auto values = query.features.values();
  out.in_range = true;
  for (std::size_t i = 0; i < values.size(); ++i) {
    out.in_range = out.in_range && beyond(fit, i, values[i]) <= 0.0;
  }
  return out;
}

std::vector<std::string> FittedKernels::outside(std::size_t index, const FittableKernel& kernel) const {
  const KernelFit& fit = profile_.fits[index];
  const FitQuery query = fit_query(kernel, accelerator_);
  const auto values = query.features.values();
  std::vector<std::string> out;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (beyond(fit, i, values[i]) > 0.0) {
      out.push_back(fit.features[i]);
    }
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
    const Place at{document->name(), "/base"};
    if (fitted_catalogue().contains(profile.base)) {
      const auto behind = decode_document<FittedProfile>(fitted_catalogue().find(profile.base, at));
      if (fitted_catalogue().contains(behind.base)) {
        throw ConfigError(at, fmt::format("expected a profile whose own base has no fits, found \"{}\"", profile.base));
      }
      out.behind = std::make_shared<FittedKernels>(behind, at);
      out.base = load_profile(ProfileName{behind.base}, at);
    } else {
      out.base = load_profile(ProfileName{profile.base}, at);
    }
    out.name = profile.name;
  } else {
    out.base = load_profile(choice, place);
    out.name = out.base.name;
  }
  out.communication = out.base.communication;
  for (const auto& fitted : {out.fitted, out.behind}) {
    if (fitted != nullptr && fitted->profile().contention) {
      out.communication.contention = fitted->profile().contention->terms;
      break;
    }
  }
  return out;
}

std::optional<KernelProfile::Choice> KernelProfile::choose(const FittableKernel& kernel,
                                                           std::string_view variant) const {
  for (const auto& from : {fitted, behind}) {
    if (auto choice = from ? from->choose(kernel, variant) : std::nullopt) {
      return Choice{from, *std::move(choice)};
    }
  }
  return std::nullopt;
}

std::optional<KernelProfile::Choice> KernelProfile::choose_on(const Accelerator& accelerator,
                                                              const FittableKernel& kernel) const {
  const std::optional<DataType> type = weight_of(kernel);
  const bool four_bits = type == DataType::kNvFp4 || type == DataType::kMxFp4;
  const bool measured = four_bits && fitted && fitted->accelerator().peak.contains(*type);
  if (four_bits && !measured && accelerator.peak.contains(*type)) {
    const DataType like = std::holds_alternative<Experts>(kernel) ? DataType::kFp8 : DataType::kFp8Block;
    std::optional<Choice> found = choose(with_weight(kernel, like));
    if (found) {
      found->choice.stands_for = type;
    }
    return found;
  }
  return choose(kernel);
}

namespace {

/// New tokens of a sequence that a kernel of generation attends with; 1 for other kernels.
std::int64_t queries_of(const Kernel& kernel) {
  if (const auto* grouped = std::get_if<GenerationAttention>(&kernel)) {
    return grouped->query;
  }
  const auto* latent = std::get_if<LatentGenerationAttention>(&kernel);
  return latent != nullptr ? latent->query : 1;
}

/// The dense product that stands for a grouped one, of which no table has any: as many tiles of as much depth. Over the
/// rows, all experts' rows, each expert's filled up to whole tiles, which libraries ask for (deepseek-ai/DeepGEMM,
/// README, "aligned to the GEMM M block size"); over the depth, the activated experts' gradients one above the other,
/// each as deep as they are on average.
Gemm dense_like(const GroupedGemm& grouped) {
  constexpr std::int64_t kTile = 128;
  std::int64_t activated = 0;
  std::int64_t rows = 0;
  std::int64_t filled = 0;
  for (const std::int64_t count : grouped.rows) {
    activated += count > 0 ? 1 : 0;
    rows += count;
    filled += (count + kTile - 1) / kTile * kTile;
  }
  Gemm dense{.m = filled, .n = grouped.n, .k = grouped.k, .weight = grouped.weight, .activation = grouped.activation};
  if (grouped.over == GroupedOver::kDepth && activated > 0) {
    dense.m = activated * grouped.k;
    dense.k = (rows + activated - 1) / activated;
    dense.product = Product::kAdded;
  }
  return dense;
}

class FittedModel final : public CostModel {
 public:
  FittedModel(const KernelProfile& profile, const Accelerator& accelerator)
      : profile_(profile), accelerator_(accelerator), base_(make_cost_model(profile.base, accelerator)) {}

  [[nodiscard]] KernelCost cost(const Kernel& kernel) const override {
    if (const auto* backward = std::get_if<ContextAttentionBackward>(&kernel)) {
      return backward_cost(this->cost(backward->forward), *backward, profile_.base.attention_backward_rate,
                           accelerator_.memory_bandwidth);
    }
    if (const auto* grouped = std::get_if<GroupedGemm>(&kernel); grouped != nullptr && lookup(dense_like(*grouped))) {
      return cost_of_grouped(*grouped);
    }
    KernelCost cost = base_->cost(kernel);
    const auto found = lookup(kernel);
    if (!found || !(cost.time > Duration{})) {
      cost.confidence =
          found || std::holds_alternative<Streaming>(kernel) ? cost.confidence : Confidence::kExtrapolated;
      return cost;
    }
    const auto& [from, choice] = *found;
    const FittedKernels::Prediction prediction = predict(*found);
    // Traffic beyond what HBM can carry in that time would hold the kernel up again where links are shared.
    cost.time = std::max(prediction.time, cost.demand.traffic / accelerator_.memory_bandwidth);
    cost.busy = cost.time - std::min(prediction.floor, cost.time - prediction.light);
    cost.bound = prediction.bound;
    cost.confidence = prediction.in_range && measured_here(*from) && queries_of(kernel) == 1
                          ? Confidence::kMeasured
                          : Confidence::kExtrapolated;
    return cost;
  }

  [[nodiscard]] std::vector<std::string> warnings(const Kernel& kernel) const override {
    if (const auto* backward = std::get_if<ContextAttentionBackward>(&kernel)) {
      return warnings(backward->forward);
    }
    if (const auto* grouped = std::get_if<GroupedGemm>(&kernel); grouped != nullptr && lookup(dense_like(*grouped))) {
      std::vector<std::string> all = warnings(dense_like(*grouped));
      all.push_back(fmt::format("profile {} has no fit for {}: dense products of as many tiles stand in", profile_.name,
                                title_of(kernel)));
      return all;
    }
    const auto found = lookup(kernel);
    if (!found) {
      std::vector<std::string> all = base_->warnings(kernel);
      if (!std::holds_alternative<Streaming>(kernel)) {
        all.push_back(fmt::format("profile {} has no fit for {}: its base profile's terms are used", profile_.name,
                                  title_of(kernel)));
      }
      return all;
    }
    const auto& [from, choice] = *found;
    std::vector<std::string> all;
    if (!measured_here(*from)) {
      all.push_back(fmt::format("profile {} was fitted on {}; its utilisations are taken to hold on {} too",
                                from->profile().name, from->accelerator().name, accelerator_.name));
    }
    if (choice.stands_for) {
      all.push_back(fmt::format("{} was not measured multiplying {}: the utilisation of its kernels in {} is taken",
                                from->accelerator().name, name_of(*choice.stands_for),
                                name_of(*weight_of(choice.kernel))));
    }
    if (const std::int64_t queries = queries_of(kernel); queries > 1) {
      all.push_back(
          fmt::format("profile {} was measured with one new token of a sequence: attention of {} is taken to run as "
                      "that of one with {} times the heads",
                      from->profile().name, queries, queries));
    }
    if (const auto outside = from->outside(choice.fit, choice.kernel); !outside.empty()) {
      const KernelFit& fit = from->profile().fits[choice.fit];
      all.push_back(
          fmt::format("a {} in {} lies outside the shapes that profile {} was fitted on ({}): its utilisation is held "
                      "to what is usual there",
                      name_of(fit.family), name_of(fit.type), from->profile().name, fmt::join(outside, ", ")));
    }
    // Some shapes were measured at a small part of what others reach, such as those that a library has not been tuned
    // for.
    constexpr double kSlow = 4.0;
    constexpr Duration kLong = seconds(100e-6);  // below, fixed parts that are none of the shape's count
    const KernelCost predicted = cost(kernel);
    const Duration light = predict(*found).light;
    if (predicted.busy > kLong && predicted.busy > kSlow * light) {
      all.push_back(fmt::format(
          "profile {} has {} in {} take more than {:.0f} times what their bytes and operations take "
          "at full speed, as kernels of such shapes did where it was measured",
          from->profile().name, name_of(operator_of(kernel)), name_of(family_of(choice.kernel).second), kSlow));
    }
    return all;
  }

 private:
  /// At the utilisation of the dense product that stands for it: as long as that takes, and longer as far as more bytes
  /// take longer at full speed, since every expert has weights of its own.
  [[nodiscard]] KernelCost cost_of_grouped(const GroupedGemm& grouped) const {
    const auto light = [this](const KernelCost& cost) {
      return std::max(cost.peak_time, cost.demand.traffic / accelerator_.memory_bandwidth);
    };
    KernelCost own = base_->cost(grouped);
    if (!(own.time > Duration{})) {
      return own;
    }
    const KernelCost dense = cost(dense_like(grouped));
    const bool moves_longer = own.demand.traffic / accelerator_.memory_bandwidth > own.peak_time;
    const double longer = std::max(1.0, light(own) / light(dense));
    own.busy = dense.busy * longer;
    own.time = dense.time - dense.busy + own.busy;
    own.bound = moves_longer ? Bound::kMemory : dense.bound;
    own.confidence = Confidence::kExtrapolated;
    return own;
  }

  [[nodiscard]] std::optional<KernelProfile::Choice> lookup(const Kernel& kernel) const {
    const std::optional<FittableKernel> fittable_kernel = fittable(kernel);
    return fittable_kernel ? profile_.choose_on(accelerator_, *fittable_kernel) : std::nullopt;
  }

  [[nodiscard]] FittedKernels::Prediction predict(const KernelProfile::Choice& found) const {
    const auto& [from, choice] = found;
    return from->predict(choice.fit, choice.kernel, accelerator_, choice.stands_for);
  }

  [[nodiscard]] bool measured_here(const FittedKernels& fits) const {
    return fits.accelerator().name == accelerator_.name;
  }

  KernelProfile profile_;
  Accelerator accelerator_;
  std::unique_ptr<CostModel> base_;
};

}  // namespace

std::unique_ptr<CostModel> make_cost_model(const KernelProfile& profile, const Accelerator& accelerator) {
  if (!profile.fitted) {
    return make_cost_model(profile.base, accelerator);
  }
  return std::make_unique<FittedModel>(profile, accelerator);
}

}  // namespace moesim
