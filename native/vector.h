// Vectors of the instruction set that this file is compiled for, and the few functions in which cells are written.
//
// GCC's and Clang's vector extensions stand for all of AVX-512, AVX2, SSE2 and NEON: one source. A vector is a
// register; an array that lives in memory is read with `load` and written with `store`, which ask for no alignment.

#pragma once

#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

namespace unrolled {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
constexpr int kRegisters = 32;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
constexpr int kRegisters = 16;
#else
constexpr int kVectorBytes = 16;
constexpr int kRegisters = 16;
#endif

template <class T>
struct VectorOf {
  typedef T type __attribute__((vector_size(kVectorBytes)));
};
template <>
struct VectorOf<int32_t> {
  typedef int32_t type __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using Vector = typename VectorOf<T>::type;

template <class T>
constexpr int kLanes = kVectorBytes / int(sizeof(T));

template <class T>
inline Vector<T> load(const T* from) {
  Vector<T> v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

template <class T>
inline void store(T* to, Vector<T> v) {
  std::memcpy(to, &v, sizeof v);
}

// One number in all lanes. Minus nothing, for that leaves every number as it is and costs no instruction; plus nothing
// would make 0 of -0, so that compilers have to add.
template <class T>
inline Vector<T> splat(T value) {
  return value - Vector<T>{};
}

// a b + c, rounded once where the instruction set can do that. It is asked for by name, for nothing else is ever
// contracted
// (-ffp-contract=off): compilers do it in one tile and not in another, and results would depend on a tile's size.
#if defined(__AVX512F__)
inline Vector<float> fused(Vector<float> a, Vector<float> b, Vector<float> c) { return _mm512_fmadd_ps(a, b, c); }
inline Vector<double> fused(Vector<double> a, Vector<double> b, Vector<double> c) { return _mm512_fmadd_pd(a, b, c); }
#elif defined(__AVX2__)
inline Vector<float> fused(Vector<float> a, Vector<float> b, Vector<float> c) { return _mm256_fmadd_ps(a, b, c); }
inline Vector<double> fused(Vector<double> a, Vector<double> b, Vector<double> c) { return _mm256_fmadd_pd(a, b, c); }
#elif defined(__aarch64__)
inline Vector<float> fused(Vector<float> a, Vector<float> b, Vector<float> c) { return vfmaq_f32(c, a, b); }
inline Vector<double> fused(Vector<double> a, Vector<double> b, Vector<double> c) { return vfmaq_f64(c, a, b); }
#else
template <class V>
inline V fused(V a, V b, V c) {
  return a * b + c;
}
#endif

template <class V>
inline V maximum(V a, V b) {
  return a > b ? a : b;
}

// Whether a comparison of two vectors holds in any lane.
template <class Mask>
inline bool any(Mask holds) {
  bool any = false;
  for (int lane = 0; lane < int(sizeof(Mask) / sizeof(holds[0])); ++lane) any |= holds[lane] != 0;
  return any;
}

// Turn a square of vectors, so that row i becomes lane i: blocks off the diagonal change places, halves first.
template <class V, int Half, int... Lane>
inline void swap_blocks(V& a, V& b, std::integer_sequence<int, Lane...>) {
  constexpr int W = sizeof...(Lane);
  const V upper = __builtin_shufflevector(a, b, (Lane & Half ? W + Lane - Half : Lane)...);
  b = __builtin_shufflevector(a, b, (Lane & Half ? W + Lane : Lane + Half)...);
  a = upper;
}
template <class V, int Half, int W>
inline void swap_all_blocks(V (&rows)[W]) {
  if constexpr (Half > 0) {
    for (int i = 0; i < W; ++i)
      if (!(i & Half)) swap_blocks<V, Half>(rows[i], rows[i + Half], std::make_integer_sequence<int, W>());
    swap_all_blocks<V, Half / 2, W>(rows);
  }
}
template <class V, long W>
inline void transpose(V (&rows)[W]) {
  swap_all_blocks<V, int(W) / 2, int(W)>(rows);
}

// tanh as x P(x^2) / Q(x^2) on |x| <= 9, past which float32 knows no more than +-1. The coefficients make the largest
// relative error least (2e-8 before rounding; native/fit_tanh.py found them); in float32 it is below 5e-7. Not a number
// stays not a number: the comparison keeps x where it is unordered.
inline Vector<float> tanh(Vector<float> x) {
  const Vector<float> bound = splat(9.0f);
  x = x > bound ? bound : x;
  x = x < -bound ? -bound : x;
  const Vector<float> z = x * x;
  Vector<float> p = fused(z, splat(1.3354352290662064e-08f), splat(2.0608851627912372e-05f));
  p = fused(p, z, splat(0.0034955739974975586f));
  p = fused(p, z, splat(0.1338101327419281f));
  p = fused(p, z, splat(1.0f));
  Vector<float> q = fused(z, splat(7.776429242767335e-07f), splat(0.00032856117468327284f));
  q = fused(q, z, splat(0.025876928120851517f));
  q = fused(q, z, splat(0.46714329719543457f));
  q = fused(q, z, splat(1.0f));
  return x * p / q;
}

// The library's own, lane by lane: float64 is for digits, not for speed.
inline Vector<double> tanh(Vector<double> x) {
  for (int lane = 0; lane < kLanes<double>; ++lane) x[lane] = std::tanh(x[lane]);
  return x;
}

// 1 / (1 + exp(-a)); cannot overflow, whatever the sign of a.
inline Vector<float> sigmoid(Vector<float> a) { return 0.5f * tanh(0.5f * a) + 0.5f; }
inline Vector<double> sigmoid(Vector<double> a) { return 0.5 * tanh(0.5 * a) + 0.5; }

// max(a, 0), where what is not a number stays so, and its slope, 0 at 0.
template <class V>
inline V relu(V a) {
  return a < V{} ? V{} : a;
}
template <class V>
inline V is_positive(V a) {
  return a > V{} ? V{} + 1 : V{};
}

}  // namespace unrolled
