// Choosing the next token: sampling.py's `Sampling` on one row of scores, -inf where a token is forbidden.

#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "exponential.h"
#include "kernels.h"

namespace unrolled {

template <class T>
class Chooser {
 public:
  static constexpr long W = kLanes<T>;

  // For rows of `padded` scores, a whole number of vectors.
  Chooser(const Choice& choice, long padded) : choice_(choice), padded_(padded), shares_(std::size_t(padded)) {}

  // The token that a number from [0, 1) draws, or -1 where no token can be chosen; `highest` is then the highest score.
  long choose(const T* scores, double draw, double* highest) {
    highest_ = find_highest(scores);
    *highest = double(highest_);
    if (!std::isfinite(*highest)) return -1;
    if (choice_.greedy) return first_of(scores);
    if (choice_.top_k > 0 && choice_.top_k < padded_) {
      find_best(scores, choice_.top_k);
      return draw_best(draw, 0);
    }
    const double total = make_shares(scores);
    best_.clear();
    if (choice_.top_p >= 1) return draw_any(draw * total);
    double held = 0;  // by the best so far
    for (long count = kFirst; held < choice_.top_p * total && long(best_.size()) < padded_; count *= 4) {
      find_best(scores, std::min(count, padded_));
      held = 0;
      for (const auto& [score, token] : best_) held += share(score);
    }
    return draw_best(draw, total);
  }

 private:
  struct Candidate {
    T score;
    long token;
    // Better first: the higher score, among equals the lower token.
    bool operator<(const Candidate& other) const {
      return score > other.score || (score == other.score && token < other.token);
    }
  };

  // Not a number if any score is not.
  T find_highest(const T* scores) const {
    Vector<T> highest = splat(-std::numeric_limits<T>::infinity()), odd{};
    for (long i = 0; i < padded_; i += W) {
      const Vector<T> score = load(scores + i);
      highest = score > highest ? score : highest;
      odd = score == score ? odd : score;
    }
    T result = highest[0];
    for (long lane = 0; lane < W; ++lane) {
      result = std::max(result, T(highest[lane]));
      if (odd[lane] != odd[lane]) return odd[lane];
    }
    return result;
  }

  long first_of(const T* scores) const {
    long token = 0;
    while (scores[token] != highest_) ++token;
    return token;
  }

  // What a token with this score has of the draw, against the best one's 1.
  double share(T score) const { return std::exp((double(score) - double(highest_)) / choice_.temperature); }

  // The same for all tokens, in shares_ and, added up, in sums_.
  double make_shares(const T* scores) {
    // So small a temperature leaves the best alone, and its reciprocal would be infinite.
    const Vector<T> temperature = splat(T(std::max(choice_.temperature, 1e-30))), best = splat(highest_);
    const bool is_plain = choice_.temperature == 1;
    sums_.clear();
    double total = 0;
    for (long start = 0; start < padded_; start += kBlock) {
      Vector<T> sum{};
      for (long i = start; i < std::min(padded_, start + kBlock); i += W) {
        Vector<T> x = load(scores + i) - best;
        if (!is_plain) x = x / temperature;
        const Vector<T> e = x < splat(T(kLeast)) ? Vector<T>{} : exponential(x);
        store(shares_.data() + i, e);
        sum += e;
      }
      double block = 0;
      for (long lane = 0; lane < W; ++lane) block += double(sum[lane]);
      sums_.push_back(block);
      total += block;
    }
    return total;
  }

  // The first token at which the shares, added up in order, pass `drawn`.
  long draw_any(double drawn) const {
    double before = 0;
    long last = 0;
    for (std::size_t block = 0; block < sums_.size(); ++block) {
      const long start = long(block) * kBlock, end = std::min(padded_, start + kBlock);
      if (before + sums_[block] > drawn) {
        double sum = before;
        for (long token = start; token < end; ++token) {
          if (shares_[std::size_t(token)] == 0) continue;
          sum += double(shares_[std::size_t(token)]);
          last = token;
          if (sum > drawn) return token;
        }
        return last;  // rounding: the block's sum is not the sum of its shares to the last digit
      }
      before += sums_[block];
      for (long token = end; sums_[block] > 0 && token-- > start;)
        if (shares_[std::size_t(token)] > 0) {
          last = token;
          break;
        }
    }
    return last;
  }

  // The `count` best tokens, best first.
  void find_best(const T* scores, long count) {
    best_.clear();
    T least = -std::numeric_limits<T>::infinity();  // below which nothing is among them any more
    for (long i = 0; i < padded_; i += W) {
      if (long(best_.size()) == count && !any_above(load(scores + i), least)) continue;
      for (long token = i; token < i + W; ++token) {
        const Candidate candidate{scores[token], token};
        if (long(best_.size()) < count) {
          best_.push_back(candidate);
          std::push_heap(best_.begin(), best_.end());
        } else if (candidate < best_.front()) {
          std::pop_heap(best_.begin(), best_.end());
          best_.back() = candidate;
          std::push_heap(best_.begin(), best_.end());
        }
      }
      least = best_.front().score;
    }
    std::sort_heap(best_.begin(), best_.end());
  }

  static bool any_above(Vector<T> scores, T least) {
    const auto above = scores > splat(least);
    bool any = false;
    for (long lane = 0; lane < W; ++lane) any |= above[lane] != 0;
    return any;
  }

  // Of the best, as many as together have top_p of `total` (0: of their own sum), drawn from in order of tokens.
  long draw_best(double draw, double total) {
    std::vector<double> shares;
    for (const auto& [score, token] : best_) shares.push_back(share(score));
    if (total == 0)
      for (double each : shares) total += each;
    std::size_t count = best_.size();
    if (choice_.top_p < 1) {
      double held = 0;
      for (count = 0; count < best_.size() && (count == 0 || held < choice_.top_p);) held += shares[count++] / total;
    }
    best_.resize(count);
    std::sort(best_.begin(), best_.end(), [](const auto& a, const auto& b) { return a.token < b.token; });
    double kept = 0;
    for (const auto& [score, token] : best_) kept += share(score);
    double sum = 0;
    long last = best_.front().token;
    for (const auto& [score, token] : best_) {
      if (share(score) == 0) continue;
      sum += share(score);
      last = token;
      if (sum > draw * kept) break;
    }
    return last;
  }

  static constexpr long kBlock = 8 * W, kFirst = 64;  // so many of the best are tried at first
  static constexpr double kLeast = sizeof(T) == sizeof(float) ? -87 : -745;  // e to this is as good as nothing

  const Choice choice_;
  const long padded_;
  T highest_ = 0;
  std::vector<T> shares_;
  std::vector<double> sums_;
  std::vector<Candidate> best_;
};

}  // namespace unrolled
