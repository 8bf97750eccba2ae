#pragma once

#include <cublasLt.h>
#include <cublas_v2.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "validate/kernels/device.hpp"
#include "validate/kernels/shapes.hpp"

/// cuBLAS and cuBLASLt as far as the cases need them. All matrices are row-major: C[m, n] = alpha·A[m, k]·B[n, k]ᵀ,
/// which the libraries see column-major as Cᵀ = B·Aᵀ with their first operand transposed, the layout that fp8 needs.
namespace moesim::bench {

enum class Output { kBf16, kFloat };

class Blas {
 public:
  Blas();
  Blas(const Blas&) = delete;
  Blas& operator=(const Blas&) = delete;
  ~Blas();

  static constexpr std::size_t kWorkspace = std::size_t{64} << 20;
  [[nodiscard]] cublasLtHandle_t lt() const { return lt_; }
  [[nodiscard]] void* workspace() const { return workspace_.as(); }

  /// One GEMM for each group: C_g[rows_g, n] = alpha·A_g·B_gᵀ in bf16. Pointers are arrays on the device, [groups].
  struct Groups {
    std::vector<int> rows;  ///< above zero
    int n = 0;
    int k = 0;
    float alpha = 1.0F;
    const void* const* a = nullptr;
    const void* const* b = nullptr;
    void* const* c = nullptr;
  };
  void run(const Groups& groups, cudaStream_t stream);

 private:
  cublasLtHandle_t lt_ = nullptr;
  cublasHandle_t handle_ = nullptr;
  DeviceBuffer workspace_;
};

/// A dense product whose algorithm the library's heuristic has chosen.
class LtProduct {
 public:
  struct Operands {
    const void* a = nullptr;
    const void* b = nullptr;
    void* c = nullptr;
    /// On the device. fp8: one value each, null for 1. fp8_block: a [k/128, m] (m contiguous), b [n/128, k/128 rounded
    /// up to a multiple of 4].
    const float* a_scale = nullptr;
    const float* b_scale = nullptr;
    float alpha = 1.0F;
  };

  /// Throws Unsupported where the library has no algorithm. `multiprocessors` 0: all.
  LtProduct(Blas& blas, NumberType type, Output output, std::int64_t m, std::int64_t n, std::int64_t k,
            int multiprocessors = 0);
  void run(const Operands& operands, cudaStream_t stream);

 private:
  template <class T>
  struct Release {
    void operator()(T* handle) const;
  };
  using Description = std::unique_ptr<cublasLtMatmulDescOpaque_t, Release<cublasLtMatmulDescOpaque_t>>;
  using Layout = std::unique_ptr<cublasLtMatrixLayoutOpaque_t, Release<cublasLtMatrixLayoutOpaque_t>>;

  Blas& blas_;
  NumberType type_;
  Description description_;
  Layout a_;
  Layout b_;
  Layout c_;
  cublasLtMatmulAlgo_t algorithm_{};
};

}  // namespace moesim::bench
