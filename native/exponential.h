// exp over vectors, for softmax.

#pragma once

#include "vector.h"

namespace unrolled {

// 2^n e^r with x = n ln 2 + r, |r| <= ln(2)/2, and a polynomial of degree 6 whose largest relative error is least (2e-9
// before rounding). For x <= 0; below -87 it is as good as 0. Not a number stays not a number.
inline Vector<float> exponential(Vector<float> x) {
  const Vector<float> least = splat(-87.0f);
  x = x < least ? least : x;
  const Vector<float> magic = splat(12582912.0f);  // 1.5 * 2^23: the lowest bits of what it is added to then hold n
  const Vector<float> shifted = fused(x, splat(1.44269504f), magic), n = shifted - magic;
  Vector<float> r = fused(n, splat(-0.693145752f), x);
  r = fused(n, splat(-1.42860677e-6f), r);  // ln 2 in two parts, the first with room for n
  Vector<float> p = fused(r, splat(0.0013836792204529047f), splat(0.008374856784939766f));
  p = fused(p, r, splat(0.041668228805065155f));
  p = fused(p, r, splat(0.16666419804096222f));
  p = fused(p, r, splat(0.49999991059303284f));
  p = fused(p, r, splat(1.0f));
  p = fused(p, r, splat(1.0f));
  Vector<int32_t> bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits << 23) + (127 << 23);
  Vector<float> power;
  std::memcpy(&power, &bits, sizeof power);
  return p * power;
}

inline Vector<double> exponential(Vector<double> x) {
  for (int lane = 0; lane < kLanes<double>; ++lane) x[lane] = std::exp(x[lane]);
  return x;
}

}  // namespace unrolled
