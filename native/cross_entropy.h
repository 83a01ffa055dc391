// Output layer, softmax and loss in one, with their gradients; the scores of all rows are never there at once.
//
// Scores are made for some rows at a time, vocabulary first, (V, rows): so the weight matrix, the largest operand, is
// read as it lies. Softmax runs along the vocabulary with rows in the lanes. While a chunk's scores are in the cache
// they are turned into gradients: dE/d(score) = (softmax - 1 at the target) dE/d(loss).

#pragma once

#include <limits>

#include "exponential.h"
#include "kernels.h"
#include "sums.h"

namespace unrolled {

constexpr long kScoreBytes = long(20) << 20;  // of the scores that are there at once: a good part of the last cache
constexpr long kInputBytes = long(1) << 20;   // of the inputs of these rows, for vocabularies smaller than that
constexpr long kFewestRows = 192;

template <class T>
class CrossEntropy {
 public:
  explicit CrossEntropy(const CrossEntropyOperands<T>& o)
      : o_(o),
        wants_gradients_(o.mean || o.d_losses),
        most_(rows_at_once(o)),
        stride_(stride_for(most_)),
        scores_(o.V * stride_),
        share_(stride_),
        d_inputs_(wants_gradients_ ? o.H * stride_ : 0),
        scratch_(scratch_for(o, most_, wants_gradients_)) {}

  void run() {
    with_team(o_.rows * o_.V * o_.H < 65536 ? 1 : o_.threads, [&](const Team& team) {
      const Cut chunks(o_.rows, most_);
      for (long i = 0; i < chunks.parts; ++i) chunk(team, chunks.begin(i), chunks.size(i));
    });
  }

 private:
  static constexpr long W = kLanes<T>;

  static long rows_at_once(const CrossEntropyOperands<T>& o) {
    // With a small vocabulary inputs are the larger part: few enough rows that these stay in a cache from product to
    // product.
    const long by_scores = kScoreBytes / (o.V * long(sizeof(T))), by_inputs = kInputBytes / (o.H * long(sizeof(T)));
    const long most = std::max(kFewestRows, std::min(by_scores, std::max(o.V, by_inputs)));
    return Cut(o.rows, most).size(Cut(o.rows, most).parts - 1);  // the last part is as large as any
  }

  // Whole vectors, an odd number of them: then rows of scores do not share a few places of the caches.
  static long stride_for(long rows) { return (ceil_div(rows, W) | 1) * W; }

  static ProductScratch<T> scratch_for(const CrossEntropyOperands<T>& o, long rows, bool wants_gradients) {
    const long scores = panel_numbers<T>(rows, o.H), d_weight = panel_numbers<T>(o.H, rows);
    if (!wants_gradients) return {scores, 0};
    return {std::max(scores, d_weight), is_ready(View<T>{o.weight, 1, o.H}) ? 0 : row_numbers<T>(o.H, o.V)};
  }

  void chunk(const Team& team, long first, long rows) {
    const long H = o_.H, V = o_.V;
    const T* inputs = o_.inputs + first * H;
    product(team, scratch_, V, rows, H, View<T>{o_.weight, H, 1}, View<T>{inputs, 1, H}, Result<T>{scores_, stride_},
            false);
    team.wait();
    for (auto [j, end] = team.share(ceil_div(rows, W)); j < end; ++j) softmax(first, j * W, std::min(W, rows - j * W));
    if (!wants_gradients_) {
      team.wait();
      return;
    }
    team.wait();
    // dE/d(inputs) vocabulary last too: (H, rows) = weight^T scores, so that neither operand needs packing.
    const View<T> scores{scores_, stride_, 1, true};
    product(team, scratch_, H, rows, V, View<T>{o_.weight, 1, H}, scores, Result<T>{d_inputs_, stride_}, false);
    product(team, scratch_, V, H, rows, scores, View<T>{inputs, H, 1, false, share_}, Result<T>{o_.d_weight, H},
            first > 0);
    if (o_.d_bias) d_bias(team, rows, first > 0);
    for (auto [j, end] = team.share(ceil_div(rows, W)); j < end; ++j)
      turn_d_inputs(o_.d_inputs + (first + j * W) * H, j * W, std::min(W, rows - j * W));
    team.wait();
  }

  // Losses of up to W rows. Where gradients are wanted, scores become e^(score - highest), less their sum at the
  // target, and share_ the number that makes dE/d(score) of them.
  void softmax(long first, long column, long rows) {
    T* scores = scores_ + column;
    const long V = o_.V;
    Vector<T> highest = splat(-std::numeric_limits<T>::infinity());
    for (long v = 0; v < V; ++v) highest = maximum(highest, load(scores + v * stride_) + (o_.bias ? o_.bias[v] : T(0)));
    T own[W];
    for (long r = 0; r < rows; ++r) {
      const int64_t target = o_.targets[first + column + r];
      own[r] = scores[target * stride_ + r] + (o_.bias ? o_.bias[target] : T(0));
    }
    Vector<T> total{};
    for (long start = 0; start < V; start += kRowsASum) {
      Vector<T> sum{};
      for (long v = start; v < std::min(V, start + kRowsASum); ++v) {
        const Vector<T> e = exponential(load(scores + v * stride_) + (o_.bias ? o_.bias[v] : T(0)) - highest);
        if (wants_gradients_) store(scores + v * stride_, e);
        sum += e;
      }
      total += sum;
    }
    for (long r = 0; r < rows; ++r) {
      const long row = first + column + r;
      o_.losses[row] = std::log(total[r]) + highest[r] - own[r];
      if (!wants_gradients_) continue;
      scores[o_.targets[row] * stride_ + r] -= total[r];
      share_[column + r] = (o_.d_losses ? o_.d_losses[row] : T(1) / T(o_.rows)) / total[r];
    }
  }

  // d_inputs_ of up to W rows to where they belong, times their shares.
  void turn_d_inputs(T* to, long column, long rows) {
    Vector<T> square[W];
    for (long h = 0; h < o_.H; h += W) {
      const long units = std::min(W, o_.H - h);
      for (long i = 0; i < units; ++i) square[i] = load(d_inputs_ + (h + i) * stride_ + column) * load(share_ + column);
      for (long i = units; i < W; ++i) square[i] = Vector<T>{};
      transpose(square);
      for (long r = 0; r < rows; ++r) put(to + r * o_.H + h, square[r], units);
    }
  }

  void d_bias(const Team& team, long rows, bool add) {
    for (auto [v, end] = team.share(o_.V); v < end; ++v) {
      const T* scores = scores_ + v * stride_;
      Vector<T> sums{};
      long j = 0;
      for (; j + W <= rows; j += W) sums += load(scores + j) * load(share_ + j);
      T sum = 0;
      for (long lane = 0; lane < W; ++lane) sum += sums[lane];
      for (; j < rows; ++j) sum += scores[j] * share_[j];
      o_.d_bias[v] = (add ? o_.d_bias[v] : T(0)) + sum;
    }
  }

  const CrossEntropyOperands<T>& o_;
  const bool wants_gradients_;
  const long most_, stride_;
  Scratch<T> scores_, share_, d_inputs_;
  const ProductScratch<T> scratch_;
};

}  // namespace unrolled
