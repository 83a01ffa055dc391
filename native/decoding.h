// The loop that makes text: step, score, choose, and so on.

#pragma once

#include <chrono>

#include "choosing.h"
#include "stack.h"

namespace unrolled {

constexpr long kRowsToShare = 4;       // with fewer rows one thread draws for all
constexpr long kScoresToShare = 4096;  // with fewer scores in a row one thread makes all shares of them

template <class T>
class Decoding {
 public:
  static constexpr long W = kLanes<T>;

  Decoding(Model<T>& model, const DecodeOperands<T>& o)
      : model_(model),
        all_(o.B),
        live_(o.B),
        stop_(o.stop),
        generators_(o.generators, o.generators + o.B),
        is_greedy_(o.choice.greedy),
        stack_(model, o.B),
        bias_(model.padded()),
        scores_(o.B * model.padded()),
        temporary_(o.B * model.first().row_numbers()),
        embedded_(o.B * model.embedding_size) {
    std::copy(model.output_bias + 0, model.output_bias + model.padded(), bias_ + 0);
    for (long i = 0; i < o.forbidden_count; ++i) bias_[o.forbidden[i]] = -std::numeric_limits<T>::infinity();
    for (long r = 0; r < o.B; ++r) {
      stack_.set(r, o.state, r);
      choosers_.push_back(std::make_unique<Chooser<T>>(o.choice, model.padded()));
      rows_.push_back(r);
      tokens_.push_back(o.tokens[r]);
    }
    terms_.resize(std::size_t(o.B));
    draws_.resize(std::size_t(o.B));
  }

  Decoded run(int threads, long steps, double seconds, int64_t* tokens) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    threads = model_.useful_threads(live_, threads);
    while (long(scratch_.size()) < threads) scratch_.push_back(std::make_unique<LayerScratch<T>>(model_.cell));
    highest_.resize(std::size_t(threads * all_));
    result_ = {0, -1, 0};
    goes_on_ = live_ > 0 && steps > 0;
    with_team(threads, [&](const Team& team) {
      LayerScratch<T>& scratch = *scratch_[std::size_t(team.rank)];
      if (team.rank == 0) prepare();
      team.wait();
      for (long number = number_; goes_on_; ++number) {
        if (!missing_.empty()) make_rows(team, scratch);
        stack_.step(team, scratch, number, live_, terms_.data());
        score(team, number);
        team.wait();
        if (shares_scores(team)) {
          for (long r = 0; r < live_; ++r) make_shares(team, r, team.share(choosers_[std::size_t(r)]->blocks));
          team.wait();
        }
        if (live_ >= kRowsToShare) {
          for (auto [r, end] = team.share(live_); r < end; ++r) draw(team, r);
          team.wait();
        }
        if (team.rank == 0) {
          for (long r = 0; live_ < kRowsToShare && r < live_; ++r) draw(team, r);
          number_ = number + 1;
          take(tokens);
          goes_on_ =
              result_.failed_row < 0 && result_.steps < steps && live_ > 0 && std::chrono::steady_clock::now() < until;
          if (goes_on_) prepare();
        }
        team.wait();
      }
    });
    return result_;
  }

 private:
  // The first layer's terms of each row's token, and the numbers that will draw the next.
  void prepare() {
    missing_.clear();
    places_.clear();
    for (long r = 0; r < live_; ++r) {
      const std::size_t i = std::size_t(r);
      terms_[i] = model_.row(tokens_[i]);
      if (!terms_[i]) {
        missing_.push_back(tokens_[i]);
        places_.push_back(temporary_ + r * model_.first().row_numbers());
        terms_[i] = places_.back();
      }
      BitGenerator* generator = generators_[std::size_t(rows_[i])];
      if (!is_greedy_) draws_[i] = generator->next_double(generator->state);
    }
  }

  void make_rows(const Team& team, LayerScratch<T>& scratch) {
    model_.make_rows(team, scratch, missing_.data(), places_.data(), long(missing_.size()), embedded_);
    if (team.rank == 0) {
      const std::lock_guard lock(model_.filling());
      const long size = model_.first().row_numbers();
      for (std::size_t i = 0; i < missing_.size(); ++i) {
        if (!model_.keeps(missing_[i]) || model_.row(missing_[i])) continue;
        std::copy(places_[i], places_[i] + size, model_.place(missing_[i]));
        model_.keep(missing_[i]);
      }
    }
  }

  // This thread's scores of all rows, and the highest of them.
  void score(const Team& team, long number) {
    score_next(team, model_, stack_.outputs(number), model_.last().stride(), live_, bias_ + 0, number & 1, scores_ + 0);
    const auto [begin, end] = team.share(model_.panels.parts);
    for (long r = 0; r < live_; ++r)
      highest_[std::size_t(team.rank * all_ + r)] =
          Chooser<T>::find_highest(scores_of(r), model_.panels.begin(begin) * W, model_.panels.begin(end) * W);
  }

  const T* scores_of(long r) const { return scores_ + r * model_.padded(); }

  bool shares_scores(const Team& team) const {
    return team.size > 1 && model_.padded() >= kScoresToShare && !is_greedy_;
  }

  // Of all threads' scores; not a number if any is not.
  T highest(const Team& team, long r) const {
    T highest = highest_[std::size_t(r)];
    for (int rank = 1; rank < team.size; ++rank) {
      const T other = highest_[std::size_t(rank * all_ + r)];
      if (other > highest || other != other) highest = other;
    }
    return highest;
  }

  void make_shares(const Team& team, long r, Team::Range blocks) {
    choosers_[std::size_t(r)]->make_shares(scores_of(r), highest(team, r), blocks.begin, blocks.end);
  }

  // Choose row r's token: -1 where none can be, and draws_ then has the highest score.
  void draw(const Team& team, long r) {
    const T best = highest(team, r);
    double& drawn = draws_[std::size_t(r)];
    if (!std::isfinite(best)) {
      tokens_[std::size_t(r)] = -1;
      drawn = double(best);
      return;
    }
    if (!shares_scores(team) && !is_greedy_) make_shares(team, r, {0, choosers_[std::size_t(r)]->blocks});
    tokens_[std::size_t(r)] = choosers_[std::size_t(r)]->draw(scores_of(r), best, drawn);
  }

  // Hand the chosen tokens over; rows that have ended make room for the last.
  void take(int64_t* tokens) {
    int64_t* to = tokens + result_.steps * all_;
    for (long r = 0; r < live_; ++r)
      if (tokens_[std::size_t(r)] < 0) {
        if (result_.failed_row < 0 || rows_[std::size_t(r)] < result_.failed_row)
          result_.failed_row = rows_[std::size_t(r)], result_.highest = draws_[std::size_t(r)];
      }
    if (result_.failed_row >= 0) return;
    std::fill(to, to + all_, int64_t(-1));
    for (long r = 0; r < live_; ++r) to[rows_[std::size_t(r)]] = tokens_[std::size_t(r)];
    ++result_.steps;
    for (long r = live_; stop_ >= 0 && r-- > 0;) {
      if (tokens_[std::size_t(r)] != stop_) continue;
      --live_;
      if (r == live_) continue;
      stack_.move(live_, r);
      tokens_[std::size_t(r)] = tokens_[std::size_t(live_)];
      rows_[std::size_t(r)] = rows_[std::size_t(live_)];
    }
  }

  Model<T>& model_;
  const long all_;  // rows
  long live_;       // that have not ended: they stand first
  const int64_t stop_;
  const std::vector<BitGenerator*> generators_;
  const bool is_greedy_;
  Stack<T> stack_;
  Scratch<T> bias_, scores_, temporary_, embedded_;
  std::vector<long> rows_;       // which row each live one is
  std::vector<int64_t> tokens_;  // of the live rows
  std::vector<const T*> terms_;
  std::vector<double> draws_;
  std::vector<T> highest_;  // by thread and row
  std::vector<int64_t> missing_;
  std::vector<T*> places_;
  std::vector<std::unique_ptr<LayerScratch<T>>> scratch_;
  std::vector<std::unique_ptr<Chooser<T>>> choosers_;
  long number_ = 0;  // of the next step
  bool goes_on_ = false;
  Decoded result_{};
};

}  // namespace unrolled
