// How probable targets were: softmax and loss of rows of outputs. Scores of a tile are used while they are in the first
// cache, and are never there all at once.

#pragma once

#include "exponential.h"
#include "model.h"

namespace unrolled {

// Losses of up to `capacity` rows: the softmax's denominator is summed up panel by panel of the vocabulary, beside the
// highest score so far, lane by lane.
template <class T>
class Losses {
 public:
  static constexpr long W = kLanes<T>;

  Losses(const Model<T>& model, long capacity)
      : capacity(capacity),
        outputs(capacity * model.last().stride()),
        model_(model),
        highest_(capacity * W),
        total_(capacity * W),
        own_(capacity),
        above_(capacity * W),
        targets_(std::size_t(capacity)),
        places_(std::size_t(capacity)) {}

  // Row `row` of the outputs is wanted for a target; its loss goes to losses[place].
  void want(long row, int64_t target, long place) {
    targets_[std::size_t(row)] = target;
    places_[std::size_t(row)] = place;
  }

  // By the whole team; each thread has rows of its own.
  void run(const Team& team, long rows, double* losses, int64_t* ranks) {
    const auto [first, end] = team.share(ceil_div(rows, kTile));
    const long begin = first * kTile, count = std::min(rows, end * kTile) - begin;
    if (count <= 0) return;
    for (long r = begin; r < begin + count; ++r) clear(r);
    each_tile(begin, count, [&](long r, const T* scores, long vectors, long v) { add(r, scores, vectors, v); });
    if (ranks) each_tile(begin, count, [&](long r, const T* scores, long vectors, long) { rank(r, scores, vectors); });
    for (long r = begin; r < begin + count; ++r) finish(r, losses, ranks);
  }

  // The same of one row whose scores (padded) are there already, for `count` targets.
  void run_one(const T* scores, const int64_t* targets, const long* places, long count, double* losses,
               int64_t* ranks) {
    clear(0);
    for (long p = 0; p < model_.panels.parts; ++p)
      add(0, scores + model_.panels.begin(p) * W, model_.panels.size(p), model_.panels.begin(p) * W);
    for (long i = 0; i < count; ++i) {
      own_[0] = scores[targets[i]];
      places_[0] = places[i];
      store(above_ + 0, Vector<T>{});
      if (ranks) rank(0, scores, model_.panels.count);
      finish(0, losses, ranks);
    }
  }

  const long capacity;
  Scratch<T> outputs;  // (capacity, stride)

 private:
  static constexpr long kTile = most_rows(kPanelVectors);

  // Call body(row, scores of a panel, its vectors, its first token) for all panels and rows.
  template <class Body>
  void each_tile(long begin, long count, const Body& body) {
    const Cut cut(count, kTile);
    const long units = model_.units(), stride = model_.last().stride();
    T scores[kTile * kPanelVectors * W];
    for (long p = 0; p < model_.panels.parts; ++p) {
      const long vectors = model_.panels.size(p), v = model_.panels.begin(p) * W;
      for (long part = 0; part < cut.parts; ++part) {
        const long row = begin + cut.begin(part), rows = cut.size(part);
        for (long r = 0; r < rows; ++r)
          for (long i = 0; i < vectors; ++i)
            store(scores + (r * vectors + i) * W, load(model_.output_bias + v + i * W));
        tile_for<T>(rows, vectors)(outputs + row * stride, stride, 1, model_.panel(p), vectors * W, units, scores,
                                   vectors * W, W, true);
        for (long r = 0; r < rows; ++r) body(row + r, scores + r * vectors * W, vectors, v);
      }
    }
  }

  void clear(long r) {
    store(highest_ + r * W, splat(-std::numeric_limits<T>::max() / 2));
    store(total_ + r * W, Vector<T>{});
    store(above_ + r * W, Vector<T>{});
  }

  void add(long r, const T* scores, long vectors, long v) {
    const Vector<T> before = load(highest_ + r * W);
    Vector<T> highest = before, total = load(total_ + r * W);
    for (long i = 0; i < vectors; ++i) highest = maximum(load(scores + i * W), highest);
    if (any(highest > before)) {
      total *= exponential(before - highest);
      store(highest_ + r * W, highest);
    }
    for (long i = 0; i < vectors; ++i) total += exponential(load(scores + i * W) - highest);
    store(total_ + r * W, total);
    const int64_t target = targets_[std::size_t(r)] - v;
    if (target >= 0 && target < vectors * W) own_[r] = scores[target];
  }

  // Count the scores above a row's own.
  void rank(long r, const T* scores, long vectors) {
    Vector<T> above = load(above_ + r * W);
    for (long i = 0; i < vectors; ++i) above += load(scores + i * W) > own_[r] ? splat(T(1)) : Vector<T>{};
    store(above_ + r * W, above);
  }

  void finish(long r, double* losses, int64_t* ranks) {
    const T *highest = highest_ + r * W, *total = total_ + r * W;
    double most = highest[0], sum = 0;
    for (long lane = 1; lane < W; ++lane) most = std::max(most, double(highest[lane]));
    for (long lane = 0; lane < W; ++lane) sum += double(total[lane]) * std::exp(double(highest[lane]) - most);
    const long place = places_[std::size_t(r)];
    losses[place] = std::log(sum) + most - double(own_[r]);
    if (!ranks) return;
    double above = 0;
    for (long lane = 0; lane < W; ++lane) above += double(above_[r * W + lane]);
    ranks[place] = 1 + int64_t(above);
  }

  const Model<T>& model_;
  Scratch<T> highest_, total_, own_, above_;
  std::vector<int64_t> targets_;
  std::vector<long> places_;
};

}  // namespace unrolled
