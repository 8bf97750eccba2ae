#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/kernels/curves.hpp"
#include "models/kernels/fit_errors.hpp"
#include "models/kernels/fit_query.hpp"
#include "models/kernels/profile.hpp"
#include "models/kernels/surface.hpp"
#include "models/kernels/trees.hpp"
#include "sim/core/error.hpp"
#include "sim/core/quantity.hpp"

/// Kernel costs fitted to measurements. With `light` the kernel's time at the speed of light (the longer of work at
/// the peak rate and traffic at the HBM's bandwidth) and `floor` the shortest kernel of the family:
///
///   time = (floor + expected) · exp(min(max(s + trees(features) + curve, lowest), highest)),  and never less than
///   light
///
/// with `expected` what work and traffic are likely to take (FitQuery; at least light), `s` a surface over a few
/// features for families whose utilisation is smooth there (Surface; else 0), and `curve`, for a shape that
/// was measured, what the trees leave of it along its sizes (CurveTerms): implementations change between shapes in ways
/// that no feature tells.
///
/// Measured tables hold shapes that run several times slower than all their like, because the library had not tuned
/// itself to them: aiconfigurator's collector of TensorRT-LLM's experts takes any tuning cache whose file name begins
/// with a shape's type, width, width by TP and experts by EP (collector/trtllm/collect_moe.py, glob of cache_path), so
/// that shapes which share these, and 1 expert that finds the file of 16 or 128, seem to run on no tuned tactic. Which
/// shape came first, and so which was tuned, is no feature of the kernel. Trees are not fitted to those
/// (KernelFit::set_aside counts their rows), so that shapes that were never measured are taken to be tuned; their own
/// curves say what was measured.
///
/// With that, light / time, the utilisation, is bounded, and held at the nearest known shapes' beyond the measured ones
/// (aiconfigurator's rule). What trees say there, though, may be what one odd shape at the border had: with the
/// distance from what was measured the bounds close, until at twice (or half) a feature's range only the factors remain
/// that four fifths of the measurements have. On another accelerator the trees see the measured one's features and
/// light is its own: utilisation is what carries over.
namespace moesim {

/// One family of kernels of one type and implementation.
struct KernelFit {
  FitFamily family = FitFamily::kGemm;
  DataType type = DataType::kBf16;
  std::string variant;              ///< implementation, and what else sets it apart from others of the family and type
  std::optional<std::int64_t> law;  ///< expected_law(); absent: the first
  std::size_t rows = 0;
  std::optional<std::size_t> set_aside;  ///< rows of shapes far slower than their like
  Duration floor;
  double lowest = 0.0;
  double highest = 0.0;
  std::optional<double> usual_lowest;  ///< as lowest and highest, of four fifths of the measurements
  std::optional<double> usual_highest;
  std::vector<std::string> features;
  std::vector<std::vector<double>> range;      ///< [features]: smallest and largest value measured
  std::vector<std::vector<double>> edges;      ///< [features]: thresholds
  std::optional<std::string> surface;          ///< Surface::text, of families that have one
  std::string trees;                           ///< TreeSum::text
  std::string curves;                          ///< CurveTerms::text
  std::optional<FitErrors> in_grid;            ///< other sizes of shapes that were fitted
  std::optional<FitErrors> out_of_grid;        ///< shapes that were not
  std::optional<FitErrors> out_of_grid_usual;  ///< of these, rows that were not set aside

  static constexpr std::string_view kDoc =
      "time = (floor + expected) exp(trees(features) + curve(shape)); never below the time at the accelerator's peaks";
  template <class F>
  static void describe(F& f) {
    f.required("family", &KernelFit::family, "Kind of kernel");
    f.required("type", &KernelFit::type, "Type of the weights or of the cache");
    f.required("variant", &KernelFit::variant, "Implementation", Rules::not_empty());
    f.optional("law", &KernelFit::law, "Number of the law that `expected` follows (default: 1)");
    f.required("rows", &KernelFit::rows, "Measurements fitted to");
    f.optional("set_aside", &KernelFit::set_aside,
               "Of these, rows of shapes far slower than their like, which the trees were not fitted to");
    f.required("floor", &KernelFit::floor, "The shortest kernel", Rules::above_zero());
    f.required("lowest", &KernelFit::lowest, "Lower bound of the trees' sum");
    f.required("highest", &KernelFit::highest, "Upper bound of the trees' sum");
    f.optional("usual_lowest", &KernelFit::usual_lowest, "Lower bound far outside the range; absent: as inside");
    f.optional("usual_highest", &KernelFit::usual_highest, "Upper bound far outside the range; absent: as inside");
    f.required("features", &KernelFit::features,
               "What the trees look at; logarithms to base 2 but for tails and sizes modulo 16");
    f.required("range", &KernelFit::range, "Smallest and largest value measured, by feature");
    f.required("edges", &KernelFit::edges, "Thresholds, by feature");
    f.optional("surface", &KernelFit::surface,
               "What is smooth along the family's axes, before the trees (models/kernels/surface.hpp says how)");
    f.required("trees", &KernelFit::trees, "Trees in preorder (models/kernels/trees.hpp says how)", Rules::not_empty());
    f.optional("curves", &KernelFit::curves,
               "What the trees leave of measured shapes, along their sizes (models/kernels/curves.hpp says how)");
    f.optional("in_grid", &KernelFit::in_grid, "Errors at held-back sizes of shapes that were fitted");
    f.optional("out_of_grid", &KernelFit::out_of_grid, "Errors at held-back shapes");
    f.optional("out_of_grid_usual", &KernelFit::out_of_grid_usual,
               "Errors at held-back shapes, of the rows that were not set aside");
  }
};

/// How kernels fare beside those of communication, as measured.
struct ContentionFit {
  ContentionTerms terms;
  std::size_t rows = 0;
  std::optional<FitErrors> unseen_units;  ///< of slowdowns beside numbers of compute units that were held back

  template <class F>
  static void describe(F& f) {
    f.required("terms", &ContentionFit::terms, "What kernels need of the GPU to run at their own speed");
    f.required("rows", &ContentionFit::rows, "Measurements fitted to");
    f.optional("unseen_units", &ContentionFit::unseen_units,
               "Errors of slowdowns beside numbers of compute units that were held back");
  }
};

struct FittedProfile {
  std::string name;
  std::string accelerator;  ///< in the catalogue
  std::string framework;
  std::string framework_version;
  std::string base = "roofline";  ///< profile for what is not fitted: terms, or another's fits with its own base
  std::vector<KernelFit> fits;    ///< of several for one family and type, the first measured with such a spread
  std::optional<ContentionFit> contention = std::nullopt;  ///< absent: the base's
  std::map<std::string, std::string> sources;

  /// Whether experts were timed as whole operators, from hidden states to hidden states, as aiconfigurator's collectors
  /// do; those of our own measurements are the two products and what is between them (validate/kernels/README.md).
  [[nodiscard]] bool has_whole_experts() const { return framework != kOwnFramework; }
  static constexpr std::string_view kOwnFramework = "moesim";

  static constexpr std::string_view kDoc = "Kernel costs fitted to measurements on one accelerator";
  template <class F>
  static void describe(F& f) {
    f.tag("schema", "moesim.fitted-profile/1");
    f.required("name", &FittedProfile::name, "Name in the catalogue", Rules::not_empty());
    f.required("accelerator", &FittedProfile::accelerator, "What was measured on", Rules::not_empty());
    f.optional("framework", &FittedProfile::framework, "Whose kernels");
    f.optional("framework_version", &FittedProfile::framework_version, "And which version of it");
    f.optional("base", &FittedProfile::base, "Profile of what is not fitted: other kernels, communication");
    f.required("fits", &FittedProfile::fits, "By family, type and implementation", Rules::not_empty());
    f.optional("contention", &FittedProfile::contention, "Kernels beside those of communication; absent: the base's");
    f.required("sources", &FittedProfile::sources, "Where the measurements come from");
  }
};
extern template struct DescribedCodec<FittedProfile>;

const Catalogue& fitted_catalogue();

/// A fit ready to predict. Checks it against this program's features and its own trees.
class FittedKernels {
 public:
  /// Throws ConfigError at `place` with all faults.
  FittedKernels(const FittedProfile& profile, const Place& place);

  [[nodiscard]] const FittedProfile& profile() const { return profile_; }
  [[nodiscard]] const Accelerator& accelerator() const { return accelerator_; }

  /// Index of the fit of this variant, else the first of the family and type; std::nullopt if there is none.
  [[nodiscard]] std::optional<std::size_t> find(FitFamily family, DataType type, std::string_view variant = {}) const;

  /// A fit, and the kernel as that fit knows it.
  struct Choice {
    std::size_t fit = 0;
    FittableKernel kernel;
    std::optional<DataType> stands_for = std::nullopt;  ///< the weights' type, where the kernel has another
  };
  /// find_like() for the kernel, or find() of a variant. For fp8, scaled by tensor or by block, the other's fit where
  /// its own is missing; for experts behind a dispatch, where none of those were measured, the fit of experts that sort
  /// tokens themselves.
  [[nodiscard]] std::optional<Choice> choose(const FittableKernel& kernel, std::string_view variant = {}) const;

  struct Prediction {
    Duration time;
    Duration light;
    Duration floor;
    Bound bound = Bound::kMemory;  ///< of `light`
    bool in_range = false;
  };
  /// Names of the features in which a kernel lies outside what was measured.
  [[nodiscard]] std::vector<std::string> outside(std::size_t index, const FittableKernel& kernel) const;
  /// At the utilisation that the fit has for the kernel; with weights of the type `stands_for` in its place, if given.
  [[nodiscard]] Prediction predict(std::size_t index, const FittableKernel& kernel, const Accelerator& accelerator,
                                   std::optional<DataType> stands_for = std::nullopt) const;

 private:
  /// Of several implementations of a family and type, the first that was measured with experts spread over as many
  /// ranks as the kernel's, else the first: servers choose one by that. vLLM runs FlashInfer's experts where ranks have
  /// experts of their own and Triton's where each has a part of all (kernel_source of its tables).
  [[nodiscard]] std::optional<std::size_t> find_like(const FittableKernel& kernel, DataType type) const;

  FittedProfile profile_;
  Accelerator accelerator_;
  std::vector<Surface> surfaces_;   // [fits]
  std::vector<TreeSum> trees_;      // [fits]
  std::vector<CurveTerms> curves_;  // [fits]
};

/// What a ProfileChoice leads to: terms for everything, and fits for the kernels that were measured.
struct KernelProfile {
  RooflineProfile base;
  CommunicationProfile communication;           ///< of the base, with the contention that was fitted
  std::shared_ptr<const FittedKernels> fitted;  ///< nullptr in a profile without fits
  std::shared_ptr<const FittedKernels> behind;  ///< of a base that is fitted too: for what `fitted` has no fit for
  std::string name;

  struct Choice {
    std::shared_ptr<const FittedKernels> from;
    FittedKernels::Choice choice;
  };
  /// The fit that predicts a kernel: of the profile, else of its base.
  [[nodiscard]] std::optional<Choice> choose(const FittableKernel& kernel, std::string_view variant = {}) const;
  /// The same for a kernel on an accelerator that may not be the measured one. Where that multiplies 4-bit weights with
  /// inputs quantised in blocks and the measured one cannot (nvfp4; mxfp4 with mxfp8 on Blackwell), what was measured
  /// says nothing of it: those kernels expanded weights to 16 bits (Triton, Marlin). Kernels of fp8 stand in, at their
  /// utilisation of our type's peak and bytes. For experts those with one scale: tensor cores apply the blocks' scales
  /// themselves (PTX ISA, tcgen05.mma with block scaling), where Hopper's kernels add up blocks of fp8 on ordinary
  /// cores (DeepSeek-V3 report, arXiv 2412.19437, section 3.3.2). For products those of blocks, which were measured
  /// with the one kernel that quantises their input.
  [[nodiscard]] std::optional<Choice> choose_on(const Accelerator& accelerator, const FittableKernel& kernel) const;
};

/// Throws ConfigError: unknown name, bad file, or a profile that contradicts itself.
KernelProfile load_kernel_profile(const ProfileChoice& choice, const Place& place);

std::unique_ptr<CostModel> make_cost_model(const KernelProfile& profile, const Accelerator& accelerator);

/// exp of the sum of surface, trees and curve, within the bounds of the fit.
double fitted_factor(const Surface& surface, const TreeSum& trees, const CurveTerms& curves, const FitQuery& query,
                     const KernelFit& fit);

}  // namespace moesim
