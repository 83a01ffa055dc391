// Rows of a table by index, and sums over rows. Sums run in the order of the rows, whoever computes them.

#pragma once

#include <cstdint>

#include "product.h"

namespace unrolled {

constexpr long kRowsASum = 64;  // rows that are added up before their sum joins the others: keeps rounding small

// to (width) = the sum of all rows of from (count, width).
template <class T>
void sum_all_rows(const Team& team, const T* from, long count, long width, T* to) {
  constexpr long kColumns = 16 * kLanes<T>;  // as many columns at once as have their sums in registers or close by
  for (auto [part, end] = team.share(ceil_div(width, kColumns)); part < end; ++part) {
    const long first = part * kColumns, columns = std::min(kColumns, width - first);
    T total[kColumns] = {}, sum[kColumns];
    for (long start = 0; start < count; start += kRowsASum) {
      std::fill(sum, sum + kColumns, T(0));
      for (long i = start; i < std::min(count, start + kRowsASum); ++i) {
        const T* row = from + i * width + first;
        for (long j = 0; j < columns; ++j) sum[j] += row[j];
      }
      for (long j = 0; j < columns; ++j) total[j] += sum[j];
    }
    std::copy(total, total + columns, to + first);
  }
}

// to[i] = from[index[i]], rows of `width` numbers.
template <class T>
void gather_rows(const Team& team, const T* from, const int64_t* index, long count, long width, T* to) {
  for (auto [i, end] = team.share(count); i < end; ++i)
    std::copy(from + index[i] * width, from + (index[i] + 1) * width, to + i * width);
}

// to (rows, width): row r is the sum of from[i] over all i with index[i] = r, in order of i.
template <class T>
void sum_rows(const Team& team, const T* from, const int64_t* index, long count, long width, T* to, long rows) {
  // Each thread has columns of its own, whole cache lines where there are enough.
  const auto [first, end] = team.share(ceil_div(width, kLanes<T>));
  const long begin = first * kLanes<T>, columns = std::min(width, end * kLanes<T>) - begin;
  if (columns <= 0) return;
  for (long r = 0; r < rows; ++r) std::fill(to + r * width + begin, to + r * width + begin + columns, T(0));
  for (long i = 0; i < count; ++i) {
    T* sum = to + index[i] * width + begin;
    const T* row = from + i * width + begin;
    for (long j = 0; j < columns; ++j) sum[j] += row[j];
  }
}

}  // namespace unrolled
