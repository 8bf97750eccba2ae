#include "validate/kernels/harness.hpp"

namespace moesim::bench {

/// Layers that no model has: experts without a row and with one, more rows than a tile and one more than a tile, widths
/// that are no multiples of a tile, every tile height.
std::vector<Shape> check_shapes() {
  std::vector<Shape> out;
  for (const auto access : {HbmCase::Access::kRead, HbmCase::Access::kWrite, HbmCase::Access::kCopy}) {
    out.emplace_back(HbmCase{access, (1 << 20) + 16});
  }
  for (const NumberType type : {NumberType::kBf16, NumberType::kFp8, NumberType::kFp8Block}) {
    out.emplace_back(GemmCase{type, 300, 512, 768});
    out.emplace_back(GemmCase{type, 4, 256, 128});
    const LayerShape layer{"check", 400, 240, 6, 2, RouterScore::kSoftmax, 1, 1};
    const std::vector<std::vector<std::int64_t>> loads{
        {0, 1, 17, 0, 5, 16}, {129, 0, 60, 64, 1, 65}, {300, 128, 129, 0, 0, 257}, {0, 0, 0, 0, 0, 3}};
    for (const std::vector<std::int64_t>& rows : loads) {
      for (const ExpertKernel kernel :
           {ExpertKernel::kOwn, ExpertKernel::kHopper, ExpertKernel::kCublasGrouped, ExpertKernel::kCublasLt}) {
        const bool grouped = kernel == ExpertKernel::kCublasGrouped;
        const bool library_fp8 = kernel == ExpertKernel::kCublasLt && type == NumberType::kFp8;
        if (kernel == ExpertKernel::kOwn || kernel == ExpertKernel::kHopper || (grouped && type == NumberType::kBf16) ||
            library_fp8) {
          out.emplace_back(ExpertsCase{.layer = layer, .kernel = kernel, .type = type, .tokens = 300, .rows = rows});
        }
      }
    }
  }
  using Part = LayerCase::Part;
  for (const LayerShape& layer : layer_shapes()) {
    for (const Part part : {Part::kRouter, Part::kTopK, Part::kSort, Part::kPermute, Part::kUnpermute, Part::kSwiGlu,
                            Part::kSwiGluFp8, Part::kRmsNorm}) {
      out.emplace_back(LayerCase{part, layer, 37});
    }
  }
  out.emplace_back(DecodeCase{3, 1, 8, 2, 128});
  out.emplace_back(DecodeCase{2, 777, 64, 4, 128});
  out.emplace_back(DecodeCase{1, 5000, 32, 8, 128});
  out.emplace_back(DecodeCase{5, 300, 48, 2, 64});
  out.emplace_back(DecodeCase{40, 130, 16, 16, 128});
  out.emplace_back(LatentDecodeCase{2, 333, 128});
  out.emplace_back(LatentDecodeCase{1, 1500, 16});
  out.emplace_back(LatentDecodeCase{20, 40, 40});
  for (const int width : {128, 192}) {
    out.emplace_back(PrefillCase{2, 200, 4, 2, width});
    out.emplace_back(PrefillCase{1, 129, 2, 2, width});
    out.emplace_back(PrefillCase{3, 1, 2, 1, width});
  }
  return out;
}

}  // namespace moesim::bench
