// Choosing the next token: sampling.py's `Sampling` on one row of scores, -inf where a token is forbidden.

#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "exponential.h"
#include "kernels.h"
#include "product.h"

namespace unrolled {

// One row's choice, in three steps so that threads can share the first two: find the highest score, turn scores into
// shares of the draw, draw.
template <class T>
class Chooser {
 public:
  static constexpr long W = kLanes<T>;

  // For rows of `padded` scores, a whole number of vectors.
  Chooser(const Choice& choice, long padded)
      : blocks(ceil_div(padded, kBlock)),
        choice_(choice),
        padded_(padded),
        shares_(std::size_t(padded)),
        sums_(std::size_t(blocks)) {}

  // The highest of the scores [begin, end), whole vectors; not a number if any of them is not.
  static T find_highest(const T* scores, long begin, long end) {
    Vector<T> highest = splat(-std::numeric_limits<T>::infinity()), odd{};
    for (long i = begin; i < end; i += W) {
      const Vector<T> score = load(scores + i);
      highest = maximum(score, highest);
      odd = score == score ? odd : score;
    }
    T result = highest[0];
    for (long lane = 0; lane < W; ++lane) {
      result = std::max(result, T(highest[lane]));
      if (odd[lane] != odd[lane]) return odd[lane];
    }
    return result;
  }

  // Blocks [begin, end) of the shares: what each token has of the draw, against the 1 of the highest score of all.
  void make_shares(const T* scores, T highest, long begin, long end) {
    // So small a temperature leaves the best alone, and its reciprocal would be infinite.
    const Vector<T> temperature = splat(T(std::max(choice_.temperature, 1e-30))), best = splat(highest);
    const bool is_plain = choice_.temperature == 1;
    for (long i = begin * kBlock; i < std::min(padded_, end * kBlock); i += W) {
      Vector<T> x = load(scores + i) - best;
      if (!is_plain) x = x / temperature;
      store(shares_.data() + i, x < splat(T(kLeast)) ? Vector<T>{} : exponential(x));
    }
    sum_shares(begin, end);
  }

  // The token that a number from [0, 1) draws, where a share is not nothing; greedy: the first of the highest score.
  long draw(const T* scores, T highest, double drawn) {
    if (choice_.greedy) return std::find(scores, scores + padded_, highest) - scores;
    double total = 0;
    for (double sum : sums_) total += sum;
    const bool has_top_k = choice_.top_k > 0 && choice_.top_k < padded_, has_top_p = choice_.top_p < 1;
    if (has_top_k) keep_best(scores);
    if (has_top_p) {
      if (has_top_k) {
        total = 0;
        for (const auto& candidate : best_) total += double(shares_[std::size_t(candidate.token)]);
      } else {
        // All tokens with less than this together have less than what top_p leaves out, so none of them is kept.
        find_candidates(shares_.data(), T((1 - choice_.top_p) * total / double(padded_)), scores);
      }
      keep_share(choice_.top_p * total);
    }
    if (has_top_k || has_top_p) {
      cut_after(scores, best_.back());
      sum_shares(0, blocks);
      total = 0;
      for (double sum : sums_) total += sum;
    }
    return find_drawn(drawn * total);
  }

  const long blocks;  // of kBlock shares

 private:
  struct Candidate {
    T score;
    long token;
    // Better first: the higher score, among equals the lower token.
    bool operator<(const Candidate& other) const {
      return score > other.score || (score == other.score && token < other.token);
    }
  };

  // The sums of blocks of shares.
  void sum_shares(long begin, long end) {
    for (long block = begin; block < end; ++block) {
      Vector<T> sum{};
      for (long i = block * kBlock; i < std::min(padded_, (block + 1) * kBlock); i += W)
        sum += load(shares_.data() + i);
      double parts[2] = {};  // two sums run side by side
      for (long lane = 0; lane < W; ++lane) parts[lane & 1] += double(sum[lane]);
      sums_[std::size_t(block)] = parts[0] + parts[1];
    }
  }

  // The first token at which the shares, added up in order, pass `drawn`; where rounding keeps them from it, the last
  // that has any.
  long find_drawn(double drawn) const {
    double sum = 0;
    long last = 0;
    for (std::size_t block = 0; block < sums_.size(); ++block) {
      if (sums_[block] == 0) continue;
      last = long(block) * kBlock;
      if (sum + sums_[block] > drawn) break;
      sum += sums_[block];
    }
    const long start = last;
    for (long token = start; token < std::min(padded_, start + kBlock); ++token) {
      const double share = double(shares_[std::size_t(token)]);
      if (share == 0) continue;
      sum += share;
      last = token;
      if (sum > drawn) break;
    }
    return last;
  }

  // best_: the tokens whose entry of `values` is at least `least`.
  void find_candidates(const T* values, T least, const T* scores) {
    best_.clear();
    for (long i = 0; i < padded_; i += W) {
      if (!any(load(values + i) >= splat(least))) continue;
      for (long token = i; token < i + W; ++token)
        if (values[token] >= least) best_.push_back({scores[token], token});
    }
  }

  // best_: the top_k best, the worst of them last.
  void keep_best(const T* scores) {
    // The highest of some scores, eight apart each: where there are top_k of these that reach a score, so many tokens
    // do.
    highs_.clear();
    for (long start = 0; start < padded_; start += kBlock) {
      Vector<T> high = load(scores + start);
      for (long i = start + W; i < std::min(padded_, start + kBlock); i += W) high = maximum(load(scores + i), high);
      for (long lane = 0; lane < W; ++lane) highs_.push_back(high[lane]);
    }
    T least = -std::numeric_limits<T>::infinity();
    if (long(highs_.size()) >= choice_.top_k) {
      std::nth_element(highs_.begin(), highs_.begin() + (choice_.top_k - 1), highs_.end(), std::greater<T>());
      least = highs_[std::size_t(choice_.top_k - 1)];
    }
    find_candidates(scores, least, scores);
    std::nth_element(best_.begin(), best_.begin() + (choice_.top_k - 1), best_.end());
    best_.resize(std::size_t(choice_.top_k));
  }

  // best_: the fewest best of them that together have so large a share, the worst of them last.
  void keep_share(double wanted) {
    double held = 0;  // by the first `few`, which are not enough; `many` are, or all there are
    auto few = best_.begin(), many = best_.end();
    while (many - few > 1) {
      const auto middle = few + (many - few) / 2;
      std::nth_element(few, middle, many);
      double more = 0;
      for (auto candidate = few; candidate < middle; ++candidate)
        more += double(shares_[std::size_t(candidate->token)]);
      if (held + more >= wanted) {
        many = middle;
      } else {
        held += more;
        few = middle;
      }
    }
    best_.erase(many, best_.end());
  }

  // Tokens worse than the last that is kept have no share.
  void cut_after(const T* scores, const Candidate& last) {
    const Vector<T> least = splat(last.score);
    for (long i = 0; i < padded_; i += W) {
      const Vector<T> share = load(shares_.data() + i);
      store(shares_.data() + i, load(scores + i) >= least ? share : Vector<T>{});
    }
    for (long token = last.token + 1; token < padded_; ++token)
      if (scores[token] == last.score) shares_[std::size_t(token)] = 0;
  }

  static constexpr long kBlock = 8 * W;
  static constexpr double kLeast = sizeof(T) == sizeof(float) ? -87 : -745;  // e to this is as good as nothing

  const Choice choice_;
  const long padded_;
  std::vector<T> shares_, highs_;
  std::vector<double> sums_;
  std::vector<Candidate> best_;
};

}  // namespace unrolled
