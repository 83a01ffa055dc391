// What a library of kernels offers: plain structs and functions, so that one module can load any instruction set's.

#pragma once

#include <cstddef>
#include <cstdint>

#include "cell.h"

namespace unrolled {

// Letters: T steps, B batch, G gates, H units, S parts of the state. Arrays lie densely in C order; null where not
// given.
template <class Real>
struct UnrollOperands {
  long T, B, H;
  int threads;
  bool reverse;
  const CompiledCell* cell;
  const Real* x;               // (T, B, G*H), or with `rows` a table (U, G*H)
  const int64_t* rows;         // (T, B) which row of the table is x there, or null
  const Real* weight_hh;       // (G*H, H)
  const Real* bias_hh;         // (G*H) or null
  const Real* const* state;    // S times (B, H)
  const int64_t* lengths;      // (B) or null
  const Real* recurrent_mask;  // (B, H) or null
  const Real* const* zoneout;  // S times (T, B, H) or null
};

// What the way back needs; made by `unroll` where given, sizes by `unroll_tape_sizes`.
template <class Real>
struct UnrollTape {
  Real* kept;           // per step and block of units a tile
  Real* late_kept;      // likewise, null without late gates
  Real* operands;       // (T, B, H) or null where the outputs are the operands of the next step
  Real* late_operands;  // (T, B, H) or null without late gates
};
struct UnrollTapeSizes {
  long kept, late_kept, operands, late_operands;  // in numbers; 0 where null
};

template <class Real>
struct UnrollGradientArrays {
  const Real* outputs;           // (T, B, H), of the forward pass
  const Real* d_outputs;         // (T, B, H)
  const Real* const* d_state;    // S times (B, H)
  Real* d_x;                     // (T, B, G*H)
  Real* d_weight_hh;             // (G*H, H)
  Real* d_bias_hh;               // (G*H) or null
  Real* const* d_initial_state;  // S times (B, H)
};

// c (m, n) = (add ? c : 0) + a b; a and b with strides in numbers. bias (n) is added to every row where given.
template <class Real>
struct ProductOperands {
  long m, n, depth;
  int threads;
  const Real* a;
  long a_row, a_column;
  const Real* b;
  long b_row, b_column;
  const Real* bias;
  Real* c;
};

// Output layer, softmax and loss. With d_losses or `mean` also the gradients; `mean` takes every d_loss as 1 / rows.
template <class Real>
struct CrossEntropyOperands {
  long rows, H, V;
  int threads;
  bool mean;
  const Real* inputs;      // (rows, H)
  const Real* weight;      // (V, H)
  const Real* bias;        // (V) or null
  const int64_t* targets;  // (rows)
  const Real* d_losses;    // (rows) or null
  Real* losses;            // (rows)
  Real* d_inputs;          // (rows, H) or null
  Real* d_weight;          // (V, H) or null
  Real* d_bias;            // (V) or null
};

// A language model in PyTorch's layout: for each of L layers weight_ih (G*H, I), weight_hh (G*H, H) and biases (G*H) or
// null.
template <class Real>
struct ModelOperands {
  const CompiledCell* cell;
  long V, E, L;
  int threads;
  long table_bytes;       // that the rows of the token table may take; tokens past that are not kept
  const long* units;      // H of each layer
  const Real* embedding;  // (V, E); has to stay where it is while the model lives
  const Real* const* weight_ih;
  const Real* const* weight_hh;
  const Real* const* bias_ih;
  const Real* const* bias_hh;
  const Real* output_weight;  // (V, H)
  const Real* output_bias;    // (V)
};

// N sequences of tokens, one after the other, M in all. State: for each layer its parts, each (N, H); null for zeros.
template <class Real>
struct ReadOperands {
  long N;
  int threads;
  long batch;              // most sequences side by side; 0: what is fast
  const int64_t* lengths;  // (N), at least 1
  const int64_t* inputs;   // (M)
  const int64_t* targets;  // (M) or null
  const Real* const* state;
  Real* const* last_state;
  double* losses;   // (M) with targets
  int64_t* ranks;   // (M) or null
  Real* outputs;    // (M, H) of the last layer, or null
  bool (*stops)();  // asked by the calling thread now and then: true gives up
};

// How a token is chosen: see sampling.py.
struct Choice {
  double temperature;
  long top_k;  // 0: all
  double top_p;
  bool greedy;
};

// NumPy's bit generators as they present themselves to C (numpy/random/bitgen.h, NumPy 1.17 and later).
struct BitGenerator {
  void* state;
  uint64_t (*next_uint64)(void*);
  uint32_t (*next_uint32)(void*);
  double (*next_double)(void*);
  uint64_t (*next_raw)(void*);
};

template <class Real>
struct DecodeOperands {
  long B;
  const Real* const* state;  // for each layer its parts, each (B, H)
  const int64_t* tokens;     // (B), the first to be fed
  const int64_t* forbidden;
  long forbidden_count;
  long stop;  // a row ends with this token; -1: with none
  Choice choice;
  BitGenerator* const* generators;  // B
};

// What came of some steps of decoding.
struct Decoded {
  long steps;       // made
  long failed_row;  // for which no token could be chosen, or -1
  double highest;   // its highest allowed score
};

template <class Real>
struct Item;

template <class Real>
struct Functions {
  UnrollTapeSizes (*unroll_tape_sizes)(const UnrollOperands<Real>&);
  void (*unroll)(const UnrollOperands<Real>&, const UnrollTape<Real>&, Real* outputs, Real* const* last_state);
  void (*unroll_backward)(const UnrollOperands<Real>&, const UnrollTape<Real>&, const UnrollGradientArrays<Real>&);
  void (*product)(const ProductOperands<Real>&);
  void (*linear_cross_entropy)(const CrossEntropyOperands<Real>&);
  // to[i] = from[index[i]], rows of `width` numbers
  void (*gather_rows)(int threads, const Real* from, const int64_t* index, long count, long width, Real* to);
  // to (rows, width) = for each row the sum of from[i] over all i with index[i] = row, in order of i
  void (*sum_rows)(int threads, const Real* from, const int64_t* index, long count, long width, Real* to, long rows);
  // to (width) = sum of all rows of from (count, width)
  void (*sum_all_rows)(int threads, const Real* from, long count, long width, Real* to);
  // See update.h.
  double (*sum_of_squares)(int threads, const Item<Real>* items, long count);
  void (*sgd)(int threads, const Item<Real>* items, long count, double rate, double scale);
  void (*momentum)(int threads, const Item<Real>* items, long count, double rate, double scale, double momentum);
  void (*adamw)(int threads, const Item<Real>* items, long count, double rate, double scale, double beta1, double beta2,
                double epsilon, double weight_decay);
  // A language model packed for use; see model.h, reading.h, decoding.h.
  void* (*make_model)(const ModelOperands<Real>&);
  void (*end_model)(void* model);
  void (*read)(void* model, const ReadOperands<Real>&);
  // scores (rows, V) of the next token from the last layer's h, (rows, H)
  void (*score_next)(void* model, int threads, const Real* outputs, long rows, Real* scores);
  void* (*make_decoding)(void* model, const DecodeOperands<Real>&);
  void (*end_decoding)(void* decoding);
  // At most `steps` steps, fewer when `seconds` are over or all rows have ended; tokens (steps, B), -1 past a row's
  // end.
  Decoded (*decode)(void* decoding, int threads, long steps, double seconds, int64_t* tokens);
};

struct Kernels {
  int lanes;  // of float
  Functions<float> f32;
  Functions<double> f64;
  void* (*take)(std::size_t bytes);  // memory that is used again; see buffers.h
  void (*give)(void* block);
};

}  // namespace unrolled
