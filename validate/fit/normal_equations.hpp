#pragma once

#include <cstddef>

namespace moesim {

/// x of a·x = b by Gaussian elimination, a [n, n] positive definite, so that no pivoting is needed: the damped normal
/// equations of a least-squares step. Matrix and Vector are indexed as a[i][j] and b[i], and b knows its size.
template <class Matrix, class Vector>
Vector solve_positive_definite(Matrix a, Vector b) {
  const std::size_t n = b.size();
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t row = i + 1; row < n; ++row) {
      const double factor = a[row][i] / a[i][i];
      for (std::size_t column = i; column < n; ++column) {
        a[row][column] -= factor * a[i][column];
      }
      b[row] -= factor * b[i];
    }
  }
  for (std::size_t i = n; i-- > 0;) {
    for (std::size_t column = i + 1; column < n; ++column) {
      b[i] -= a[i][column] * b[column];
    }
    b[i] /= a[i][i];
  }
  return b;
}

}  // namespace moesim
