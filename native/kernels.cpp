// One library of kernels: what this file includes, for the instruction set that it is compiled for.

#include "kernels.h"

#include <pthread.h>

#include "backward.h"
#include "cross_entropy.h"
#include "decoding.h"
#include "forward.h"
#include "reading.h"
#include "update.h"

namespace unrolled {
namespace {

template <class T>
UnrollTapeSizes unroll_tape_sizes(const UnrollOperands<T>& o) {
  const Sizes<T> s(o);
  const long tiles = s.steps * s.blocks * s.batch * s.W, arrays = s.steps * s.batch * s.units;
  const bool holds_back = o.lengths || o.recurrent_mask || o.zoneout;
  return {tiles * s.cell.kept, tiles * s.cell.late_kept, holds_back ? arrays : 0, s.late ? arrays : 0};
}

template <class T>
void unroll(const UnrollOperands<T>& o, const UnrollTape<T>& tape, T* outputs, T* const* last_state) {
  Forward<T>(o, tape, outputs, last_state).run();
}

template <class T>
void unroll_backward(const UnrollOperands<T>& o, const UnrollTape<T>& tape, const UnrollGradientArrays<T>& gradients) {
  Backward<T>(o, tape, gradients).run();
}

template <class T>
void product_with_bias(const ProductOperands<T>& o) {
  const View<T> a{o.a, o.a_row, o.a_column}, b{o.b, o.b_row, o.b_column};
  const ProductScratch<T> scratch(panel_numbers<T>(o.n, o.depth), is_ready(a) ? 0 : row_numbers<T>(o.m, o.depth));
  with_team(o.m * o.n * o.depth < 65536 ? 1 : o.threads, [&](const Team& team) {
    for (auto [i, end] = team.share(o.bias ? o.m : 0); i < end; ++i) std::copy(o.bias, o.bias + o.n, o.c + i * o.n);
    product(team, scratch, o.m, o.n, o.depth, a, b, Result<T>{o.c, o.n}, o.bias != nullptr);
  });
}

template <class T>
void linear_cross_entropy(const CrossEntropyOperands<T>& o) {
  CrossEntropy<T>(o).run();
}

template <class T>
void score_rows(void* model, int threads, const T* outputs, long rows, T* scores) {
  const Model<T>& m = *static_cast<Model<T>*>(model);
  const Scratch<T> all(rows * m.padded());
  with_team(m.useful_threads(rows, threads), [&](const Team& team) {
    score_next<T>(team, m, outputs, m.units(), rows, m.output_bias, false, all);
    team.wait();
    for (auto [r, end] = team.share(rows); r < end; ++r)
      std::copy(all + r * m.padded(), all + r * m.padded() + m.vocabulary, scores + r * m.vocabulary);
  });
}

template <class T>
constexpr Functions<T> kFunctions = {
    unroll_tape_sizes<T>,
    unroll<T>,
    unroll_backward<T>,
    product_with_bias<T>,
    linear_cross_entropy<T>,
    [](int threads, const T* from, const int64_t* index, long count, long width, T* to) {
      with_team(threads, [&](const Team& team) { gather_rows(team, from, index, count, width, to); });
    },
    [](int threads, const T* from, const int64_t* index, long count, long width, T* to, long rows) {
      with_team(threads, [&](const Team& team) { sum_rows(team, from, index, count, width, to, rows); });
    },
    [](int threads, const T* from, long count, long width, T* to) {
      with_team(threads, [&](const Team& team) { sum_all_rows(team, from, count, width, to); });
    },
    sum_of_squares<T>,
    sgd<T>,
    momentum<T>,
    adamw<T>,
    [](const ModelOperands<T>& o) -> void* { return new Model<T>(o); },
    [](void* model) { delete static_cast<Model<T>*>(model); },
    [](void* model, const ReadOperands<T>& o) { Reading<T>(*static_cast<Model<T>*>(model), o).run(); },
    score_rows<T>,
    [](void* model, const DecodeOperands<T>& o) -> void* { return new Decoding<T>(*static_cast<Model<T>*>(model), o); },
    [](void* decoding) { delete static_cast<Decoding<T>*>(decoding); },
    [](void* decoding, int threads, long steps, double seconds, int64_t* tokens) {
      return static_cast<Decoding<T>*>(decoding)->run(threads, steps, seconds, tokens);
    },
};

// A process that forks takes the lock of the buffers along, and leaves its threads behind.
[[maybe_unused]] const int kAtFork = pthread_atfork([] { buffers().lock(); }, [] { buffers().unlock(); },
                                                    [] {
                                                      buffers().unlock();
                                                      is_forked() = true;
                                                    });

const Kernels kKernels = {
    kLanes<float>,
    kFunctions<float>,
    kFunctions<double>,
    [](std::size_t bytes) { return buffers().take(bytes); },
    [](void* block) { buffers().give(block); },
};

}  // namespace
}  // namespace unrolled

extern "C" __attribute__((visibility("default"))) const unrolled::Kernels* unrolled_kernels() {
  return &unrolled::kKernels;
}
