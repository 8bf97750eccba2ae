#include "validate/kernels/blas.hpp"

#include <string>

namespace moesim::bench {
namespace {

void check_blas(cublasStatus_t status, const char* what) {
  if (status == CUBLAS_STATUS_SUCCESS) {
    return;
  }
  const std::string text = std::string(what) + ": " + cublasGetStatusString(status);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_ARCH_MISMATCH) {
    throw Unsupported(text);
  }
  if (status == CUBLAS_STATUS_ALLOC_FAILED) {
    throw OutOfMemory(text);
  }
  throw DeviceError(text);
}

template <class T>
void set(cublasLtMatmulDesc_t description, cublasLtMatmulDescAttributes_t attribute, const T& value) {
  check_blas(cublasLtMatmulDescSetAttribute(description, attribute, &value, sizeof value), "attribute of a product");
}

cublasLtMatrixLayout_t layout(cudaDataType_t type, std::int64_t rows, std::int64_t columns) {
  cublasLtMatrixLayout_t out = nullptr;
  check_blas(cublasLtMatrixLayoutCreate(&out, type, static_cast<std::uint64_t>(rows),
                                        static_cast<std::uint64_t>(columns), rows),
             "layout of a matrix");
  return out;
}

}  // namespace

Blas::Blas() : workspace_(kWorkspace) {
  check_blas(cublasLtCreate(&lt_), "cuBLASLt");
  check_blas(cublasCreate(&handle_), "cuBLAS");
  // A workspace of ours: the library must not allocate while a graph is recorded.
  check_blas(cublasSetWorkspace(handle_, workspace_.as(), kWorkspace), "workspace of cuBLAS");
}
Blas::~Blas() {
  static_cast<void>(cublasDestroy(handle_));
  static_cast<void>(cublasLtDestroy(lt_));
}

void Blas::run(const Groups& groups, cudaStream_t stream) {
  const std::size_t count = groups.rows.size();
  const std::vector<cublasOperation_t> transposed(count, CUBLAS_OP_T);
  const std::vector<cublasOperation_t> plain(count, CUBLAS_OP_N);
  const std::vector<int> n(count, groups.n);
  const std::vector<int> k(count, groups.k);
  const std::vector<int> one(count, 1);
  const std::vector<float> alpha(count, groups.alpha);
  const std::vector<float> beta(count, 0.0F);
  check_blas(cublasSetStream(handle_, stream), "stream of cuBLAS");
  check_blas(cublasSetWorkspace(handle_, workspace_.as(), kWorkspace),
             "workspace of cuBLAS");  // setting a stream drops it
  check_blas(cublasGemmGroupedBatchedEx(handle_, transposed.data(), plain.data(), n.data(), groups.rows.data(),
                                        k.data(), alpha.data(), groups.b, CUDA_R_16BF, k.data(), groups.a, CUDA_R_16BF,
                                        k.data(), beta.data(), groups.c, CUDA_R_16BF, n.data(), static_cast<int>(count),
                                        one.data(), CUBLAS_COMPUTE_32F),
             "grouped GEMM of cuBLAS");
}

template <>
void LtProduct::Release<cublasLtMatmulDescOpaque_t>::operator()(cublasLtMatmulDescOpaque_t* handle) const {
  static_cast<void>(cublasLtMatmulDescDestroy(handle));
}
template <>
void LtProduct::Release<cublasLtMatrixLayoutOpaque_t>::operator()(cublasLtMatrixLayoutOpaque_t* handle) const {
  static_cast<void>(cublasLtMatrixLayoutDestroy(handle));
}

LtProduct::LtProduct(Blas& blas, NumberType type, Output output, std::int64_t m, std::int64_t n, std::int64_t k,
                     int multiprocessors)
    : blas_(blas), type_(type) {
  cublasLtMatmulDesc_t description = nullptr;
  check_blas(cublasLtMatmulDescCreate(&description, CUBLAS_COMPUTE_32F, CUDA_R_32F), "description of a product");
  description_.reset(description);
  set(description, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T);
  set(description, CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_N);
  if (multiprocessors > 0) {
    set(description, CUBLASLT_MATMUL_DESC_SM_COUNT_TARGET, std::int32_t{multiprocessors});
  }
  if (type == NumberType::kFp8Block) {
    // The library's first operand is B, the weights.
    set(description, CUBLASLT_MATMUL_DESC_A_SCALE_MODE, std::int32_t{CUBLASLT_MATMUL_MATRIX_SCALE_BLK128x128_32F});
    set(description, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, std::int32_t{CUBLASLT_MATMUL_MATRIX_SCALE_VEC128_32F});
  }
  const cudaDataType_t in = type == NumberType::kBf16 ? CUDA_R_16BF : CUDA_R_8F_E4M3;
  b_.reset(layout(in, k, n));
  a_.reset(layout(in, k, m));
  c_.reset(layout(output == Output::kBf16 ? CUDA_R_16BF : CUDA_R_32F, n, m));

  cublasLtMatmulPreference_t preference = nullptr;
  check_blas(cublasLtMatmulPreferenceCreate(&preference), "preference of a product");
  const std::size_t workspace = Blas::kWorkspace;
  static_cast<void>(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                                         &workspace, sizeof workspace));
  cublasLtMatmulHeuristicResult_t result{};
  int found = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(blas.lt(), description, b_.get(), a_.get(), c_.get(),
                                                               c_.get(), preference, 1, &result, &found);
  static_cast<void>(cublasLtMatmulPreferenceDestroy(preference));
  if (status != CUBLAS_STATUS_SUCCESS || found == 0 || result.state != CUBLAS_STATUS_SUCCESS) {
    throw Unsupported(std::string("cuBLASLt has no algorithm for this product: ") + cublasGetStatusString(status));
  }
  algorithm_ = result.algo;
}

void LtProduct::run(const Operands& operands, cudaStream_t stream) {
  if (type_ != NumberType::kBf16) {
    set(description_.get(), CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, operands.b_scale);
    set(description_.get(), CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, operands.a_scale);
  }
  const float beta = 0.0F;
  check_blas(cublasLtMatmul(blas_.lt(), description_.get(), &operands.alpha, operands.b, b_.get(), operands.a, a_.get(),
                            &beta, operands.c, c_.get(), operands.c, c_.get(), &algorithm_, blas_.workspace(),
                            Blas::kWorkspace, stream),
             "product of cuBLASLt");
}

}  // namespace moesim::bench
