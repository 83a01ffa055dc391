// What stands between the gradients and the next step: their norm, and the update of all parameters, each in one pass
// over memory and one parallel region over the whole list of tensors.
//
// `scale`, the factor of clipping, is multiplied into each gradient as it is read; gradients are not written. Whatever
// the number of threads, the bits are the same: tensors are cut into blocks of a fixed size. Formulas are those of
// torch.optim. Build with -fno-math-errno, or square roots are taken one by one.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "team.h"
#include "vector.h"

namespace unrolled {

// One tensor. Python writes a list of them as a table of 64-bit integers (engines/native/update.py), so that the order
// of the fields counts. Fields that a function does not need are not looked at.
template <class T>
struct Item {
  T* parameter;
  const T* gradient;
  T* mean;              // of the gradient: momentum's buffer, AdamW's exp_avg
  T* square;            // AdamW's exp_avg_sq
  float* step;          // AdamW's count of updates, which goes up by one
  const int64_t* rows;  // which rows of the parameter the gradient's are, each once; null where it has them all
  int64_t width;        // of a row, where there are rows
  int64_t count;        // elements of the gradient
};
static_assert(sizeof(Item<float>) == 8 * sizeof(int64_t));

constexpr long kBlock = 4096;
constexpr long kBlocksAThread = 8;  // fewer than these are not worth another thread

inline long blocks_of(long elements) { return (elements + kBlock - 1) / kBlock; }

template <class T>
long blocks_of(const Item<T>* items, long count) {
  long blocks = 0;
  for (long i = 0; i < count; ++i) blocks += blocks_of(items[i].count);
  return blocks;
}

// Run body(number of the block, number of the item, begin, end) for all blocks of all items, shared out.
template <class T, class Body>
void for_blocks(int threads, const Item<T>* items, long count, const Body& body) {
  const long blocks = blocks_of(items, count);
  threads = int(std::clamp(blocks / kBlocksAThread, 1L, long(threads)));
  with_team(threads, [&](const Team& team) {
    const Team::Range share = team.share(blocks);
    long first = 0;  // block of the item
    for (long i = 0; i < count; ++i) {
      const long next = first + blocks_of(items[i].count);
      for (long block = std::max(first, share.begin); block < std::min(next, share.end); ++block) {
        const long begin = (block - first) * kBlock;
        body(block, i, begin, std::min(begin + kBlock, long(items[i].count)));
      }
      first = next;
    }
  });
}

// As many numbers as make a vector of double.
template <class T>
struct Piece {
  typedef T type __attribute__((vector_size(kLanes<double> * sizeof(T))));
};

template <class T>
double sum_of_squares(const T* values, long count) {
  constexpr int kLong = kLanes<double>, kSums = 4;  // several sums, so that one need not wait for the other
  Vector<double> sums[kSums] = {};
  long i = 0;
  for (; i + kSums * kLong <= count; i += kSums * kLong) {
    for (int k = 0; k < kSums; ++k) {
      typename Piece<T>::type piece;
      std::memcpy(&piece, values + i + k * kLong, sizeof piece);
      const Vector<double> wide = __builtin_convertvector(piece, Vector<double>);
      sums[k] += wide * wide;
    }
  }
  double total = 0;
  for (; i < count; ++i) total += double(values[i]) * double(values[i]);
  const Vector<double> sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  for (int lane = 0; lane < kLong; ++lane) total += sum[lane];
  return total;
}

// Of the elements of all gradients, in double.
template <class T>
double sum_of_squares(int threads, const Item<T>* items, long count) {
  std::vector<double> sums(blocks_of(items, count));
  for_blocks(threads, items, count, [&](long block, long i, long begin, long end) {
    sums[block] = sum_of_squares(items[i].gradient + begin, end - begin);
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

// Rules: what happens to a vector of a parameter and to the parts of its state.

template <class T>
struct Sgd {
  static constexpr int kStates = 0;
  T rate, scale;
  void operator()(Vector<T>& parameter, Vector<T> gradient, Vector<T>&, Vector<T>&) const {
    parameter -= rate * (scale * gradient);
  }
};

template <class T>
struct Momentum {
  static constexpr int kStates = 1;
  T rate, scale, momentum;
  void operator()(Vector<T>& parameter, Vector<T> gradient, Vector<T>& mean, Vector<T>&) const {
    mean = momentum * mean + scale * gradient;
    parameter -= rate * mean;
  }
};

template <class V>
inline V square_root(V v) {
  for (int lane = 0; lane < int(sizeof v / sizeof v[0]); ++lane) v[lane] = std::sqrt(v[lane]);
  return v;
}

template <class T>
struct AdamW {
  static constexpr int kStates = 2;
  T scale, beta1, beta2, epsilon, keep;  // keep: what weight decay leaves of a parameter
  T rate, root;                          // corrected for the bias of the means: rate / (1 - beta1^t), sqrt(1 - beta2^t)
  void operator()(Vector<T>& parameter, Vector<T> gradient, Vector<T>& mean, Vector<T>& square) const {
    gradient = scale * gradient;
    mean += (1 - beta1) * (gradient - mean);
    square = beta2 * square + (1 - beta2) * gradient * gradient;
    parameter = keep * parameter - rate * mean / (square_root(square) / root + epsilon);
  }
};

template <class T, class Rule>
void apply(const Rule& rule, T* parameter, const T* gradient, T* mean, T* square, long count) {
  constexpr int kLong = kLanes<T>;
  long i = 0;
  for (; i + kLong <= count; i += kLong) {
    Vector<T> p = load(parameter + i), m{}, s{};
    if constexpr (Rule::kStates > 0) m = load(mean + i);
    if constexpr (Rule::kStates > 1) s = load(square + i);
    rule(p, load(gradient + i), m, s);
    store(parameter + i, p);
    if constexpr (Rule::kStates > 0) store(mean + i, m);
    if constexpr (Rule::kStates > 1) store(square + i, s);
  }
  if (i == count) return;
  T rest[4][kLong] = {};  // the last few go there and back
  T* const from[4] = {parameter, const_cast<T*>(gradient), mean, square};
  const size_t bytes = (count - i) * sizeof(T);
  for (int part = 0; part < 2 + Rule::kStates; ++part) std::memcpy(rest[part], from[part] + i, bytes);
  apply(rule, rest[0], rest[1], rest[2], rest[3], kLong);
  for (int part = 0; part < 2 + Rule::kStates; ++part) {
    if (part != 1) std::memcpy(from[part] + i, rest[part], bytes);
  }
}

// Apply to each item its rule.
template <class T, class Rule>
void update(int threads, const Item<T>* items, long count, const std::vector<Rule>& rules) {
  for_blocks(threads, items, count, [&](long, long i, long begin, long end) {
    const Item<T>& item = items[i];
    const auto run = [&](long from, long at, long length) {  // where in the gradient, and in the parameter
      T* mean = Rule::kStates > 0 ? item.mean + at : nullptr;
      T* square = Rule::kStates > 1 ? item.square + at : nullptr;
      apply<T>(rules[i], item.parameter + at, item.gradient + from, mean, square, length);
    };
    while (item.rows && begin < end) {
      const long row = begin / item.width, column = begin % item.width;
      const long length = std::min(end - begin, long(item.width) - column);
      run(begin, item.rows[row] * item.width + column, length);
      begin += length;
    }
    run(begin, begin, end - begin);
  });
}

template <class T>
void sgd(int threads, const Item<T>* items, long count, double rate, double scale) {
  update(threads, items, count, std::vector<Sgd<T>>(count, {T(rate), T(scale)}));
}

template <class T>
void momentum(int threads, const Item<T>* items, long count, double rate, double scale, double momentum) {
  update(threads, items, count, std::vector<Momentum<T>>(count, {T(rate), T(scale), T(momentum)}));
}

template <class T>
void adamw(int threads, const Item<T>* items, long count, double rate, double scale, double beta1, double beta2,
           double epsilon, double weight_decay) {
  std::vector<AdamW<T>> rules;
  for (long i = 0; i < count; ++i) {
    const double step = double(*items[i].step += 1);
    const T corrected = T(rate / (1 - std::pow(beta1, step))), root = T(std::sqrt(1 - std::pow(beta2, step)));
    const T keep = T(1 - rate * weight_decay);
    rules.push_back({T(scale), T(beta1), T(beta2), T(epsilon), keep, corrected, root});
  }
  update(threads, items, count, rules);
}

}  // namespace unrolled
