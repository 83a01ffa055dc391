// Reading sequences of tokens, in batches of like length.

#pragma once

#include <atomic>
#include <chrono>
#include <numeric>

#include "losses.h"
#include "stack.h"

namespace unrolled {

constexpr long kBatchRows = 288;                // sequences that one thread reads side by side
constexpr long kMostBatchRows = 1024;           // that may be asked for
constexpr long kFewRows = 16;                   // a batch of fewer is not worth a thread of its own
constexpr long kOutputBytes = long(600) << 10;  // of outputs that wait for their losses, in the second cache

template <class T>
class Reading {
 public:
  Reading(Model<T>& model, const ReadOperands<T>& o)
      : model_(model),
        o_(o),
        order_(std::size_t(o.N)),
        starts_(std::size_t(o.N)),
        rows_(rows_at_once(o)),
        apart_(ceil_div(o.N, rows_) >= o.threads && rows_ >= kFewRows),
        threads_(apart_ ? o.threads : model.useful_threads(rows_, o.threads)) {
    long start = 0;
    for (long i = 0; i < o.N; start += o.lengths[i++]) starts_[std::size_t(i)] = start;
    std::iota(order_.begin(), order_.end(), 0L);
    std::stable_sort(order_.begin(), order_.end(), [&](long a, long b) { return o.lengths[a] > o.lengths[b]; });
    make_rows(start);
    for (int i = 0; i < threads_; ++i) scratch_.push_back(std::make_unique<LayerScratch<T>>(model.cell));
    for (int i = 0; i < (apart_ ? threads_ : 1); ++i) workers_.push_back(std::make_unique<Worker>(model, rows_, o));
  }

  void run() {
    const Cut batches(o_.N, rows_);
    std::atomic<long> next{0};
    with_team(threads_, [&](const Team& team) {
      if (!apart_) {
        long steps = 0;
        for (long i = 0; i < batches.parts && steps < last_step_; ++i)
          batch(team, 0, team.rank, batches.begin(i), batches.size(i), steps);
        return;
      }
      Meeting alone(1);
      long steps = 0;
      for (long i = next++; i < batches.parts && !is_given_up_;
           i = next++)  // longest first, so that no thread ends long after others
        batch(Team{0, 1, &alone}, team.rank, team.rank, batches.begin(i), batches.size(i), steps);
    });
  }

 private:
  static constexpr long W = kLanes<T>;

  struct Worker {
    Worker(const Model<T>& model, long rows, const ReadOperands<T>& o)
        : stack(model, rows),
          scores(o.targets ? model.padded() : 0),
          losses(model, o.targets ? std::max(rows, kOutputBytes / (model.last().stride() * long(sizeof(T)))) : 0) {}
    Stack<T> stack;
    Scratch<T> scores;  // of one row
    Losses<T> losses;
  };

  static long rows_at_once(const ReadOperands<T>& o) {
    const long most = o.batch > 0 ? std::min(o.batch, kMostBatchRows) : kBatchRows;
    // Batches for all threads, more than one for each, since they take unequally long.
    return std::max(1L, std::min(most, std::max(kFewRows, ceil_div(o.N, 4 * o.threads))));
  }

  // The first layer's terms of all tokens that occur; those that the model does not keep lie in temporary_.
  void make_rows(long count) {
    rows_of_.assign(std::size_t(model_.vocabulary), nullptr);
    std::vector<int64_t> missing, temporary;
    const auto look = [&] {
      missing.clear();
      temporary.clear();
      std::fill(rows_of_.begin(), rows_of_.end(), nullptr);
      static const T seen{};
      for (long i = 0; i < count; ++i) {
        const int64_t token = o_.inputs[i];
        const T*& row = rows_of_[std::size_t(token)];
        if (row) continue;
        row = model_.row(token);
        if (row) continue;
        row = &seen;
        (model_.keeps(token) ? missing : temporary).push_back(token);
      }
    };
    look();
    if (missing.empty() && temporary.empty()) return;
    std::unique_lock lock(model_.filling());
    look();  // another thread may have made some meanwhile
    const long size = model_.first().row_numbers();
    temporary_ = std::make_unique<Scratch<T>>(long(temporary.size()) * size);
    std::vector<T*> to;
    for (int64_t token : missing) to.push_back(model_.place(token));
    for (std::size_t i = 0; i < temporary.size(); ++i) to.push_back(*temporary_ + long(i) * size);
    std::vector<int64_t> tokens(missing);
    tokens.insert(tokens.end(), temporary.begin(), temporary.end());
    const long all = long(tokens.size());
    for (long i = 0; i < all; ++i) rows_of_[std::size_t(tokens[std::size_t(i)])] = to[std::size_t(i)];
    const Scratch<T> embedded(all * model_.embedding_size);
    std::vector<std::unique_ptr<LayerScratch<T>>> scratch;
    const int threads = model_.useful_threads(all, o_.threads);
    for (int i = 0; i < threads; ++i) scratch.push_back(std::make_unique<LayerScratch<T>>(model_.cell));
    with_team(threads, [&](const Team& team) {
      model_.make_rows(team, *scratch[std::size_t(team.rank)], tokens.data(), to.data(), all, embedded);
    });
    for (int64_t token : missing) model_.keep(token);
  }

  // Read sequences [begin, begin + count) of the order, by a team, with one worker's memory; counts the steps.
  void batch(const Team& team, int worker, int rank, long begin, long count, long& steps) {
    Stack<T>& stack = workers_[std::size_t(worker)]->stack;
    Losses<T>& losses = workers_[std::size_t(worker)]->losses;
    LayerScratch<T>& scratch = *scratch_[std::size_t(rank)];
    const T* terms[kMostBatchRows];
    for (auto [r, end] = team.share(count); r < end; ++r) stack.set(r, o_.state, sequence(begin + r));
    team.wait();
    long live = count, waiting = 0, t = 0;
    const long longest = o_.lengths[sequence(begin)], stride = model_.last().stride();
    if (begins_alike(begin, count)) {
      terms[0] = rows_of_[std::size_t(o_.inputs[start(begin)])];
      stack.step(team, scratch, 0, 1, terms);
      for (auto [r, end] = team.share(count); r < end; ++r)
        if (r > 0) stack.move(0, r);
      if (o_.outputs) hand_out(team, stack.outputs(0), 0, begin, count, 0);
      if (o_.targets) first_losses(team, *workers_[std::size_t(worker)], begin, count);
      team.wait();
      ++t, ++steps;
    }
    for (; t < longest && (apart_ ? !is_given_up_ : steps < last_step_); ++t, ++steps) {
      if (rank == 0) look_whether_to_stop(steps);
      while (o_.lengths[sequence(begin + live - 1)] <= t) --live;
      for (long r = 0; r < live; ++r) terms[r] = rows_of_[std::size_t(o_.inputs[start(begin + r) + t])];
      stack.step(team, scratch, t, live, terms);
      if (o_.outputs) hand_out(team, stack.outputs(t), stride, begin, live, t);
      if (!o_.targets) continue;
      if (waiting + live > losses.capacity) {
        losses.run(team, waiting, o_.losses, o_.ranks);
        waiting = 0;
        team.wait();
      }
      const T* outputs = stack.outputs(t);
      for (auto [r, end] = team.share(live); r < end; ++r) {
        const long place = start(begin + r) + t;
        std::copy(outputs + r * stride, outputs + (r + 1) * stride, losses.outputs + (waiting + r) * stride);
        losses.want(waiting + r, o_.targets[place], place);
      }
      waiting += live;
      team.wait();
    }
    if (o_.targets) losses.run(team, waiting, o_.losses, o_.ranks);
    for (auto [r, end] = team.share(o_.last_state ? count : 0); r < end; ++r)
      stack.get_state(r, o_.last_state, sequence(begin + r));
    team.wait();
  }

  // Whether so many sequences begin with the same token from zero, as lines do, that it is worth reading it once for
  // all.
  bool begins_alike(long begin, long count) const {
    if (o_.state || count < kFewRows) return false;
    for (long r = 1; r < count; ++r)
      if (o_.inputs[start(begin + r)] != o_.inputs[start(begin)]) return false;
    return true;
  }

  // The outputs of sequences [begin, begin + count) of the order at step t, which lie `stride` apart, to who asked.
  void hand_out(const Team& team, const T* outputs, long stride, long begin, long count, long t) const {
    const long units = model_.units();
    for (auto [r, end] = team.share(count); r < end; ++r)
      std::copy(outputs + r * stride, outputs + r * stride + units, o_.outputs + (start(begin + r) + t) * units);
  }

  // Losses of the first targets, from the last layer's first row.
  void first_losses(const Team& team, Worker& worker, long begin, long count) {
    score_next<T>(team, model_, worker.stack.outputs(0), model_.last().stride(), 1, model_.output_bias, false,
                  worker.scores);
    team.wait();
    if (team.rank != 0) return;
    std::vector<int64_t> targets;
    std::vector<long> places;
    for (long r = 0; r < count; ++r) {
      places.push_back(start(begin + r));
      targets.push_back(o_.targets[places.back()]);
    }
    worker.losses.run_one(worker.scores, targets.data(), places.data(), count, o_.losses, o_.ranks);
  }

  // Once in a while, by the calling thread. Threads that share a batch have to give up after the same step: this one,
  // which none of the others has begun.
  void look_whether_to_stop(long step) {
    const auto now = std::chrono::steady_clock::now();
    if (now - looked_ < std::chrono::milliseconds(50)) return;
    looked_ = now;
    if (!o_.stops || !o_.stops()) return;
    last_step_ = step + 1;
    is_given_up_ = true;
  }

  long sequence(long i) const { return order_[std::size_t(i)]; }
  long start(long i) const { return starts_[std::size_t(sequence(i))]; }

  Model<T>& model_;
  const ReadOperands<T>& o_;
  std::vector<long> order_, starts_;
  const long rows_;   // sequences side by side
  const bool apart_;  // whether each thread has batches of its own, or all share one
  const int threads_;
  std::vector<const T*> rows_of_;  // by token
  std::unique_ptr<Scratch<T>> temporary_;
  std::vector<std::unique_ptr<LayerScratch<T>>> scratch_;  // a thread each
  std::vector<std::unique_ptr<Worker>> workers_;
  std::chrono::steady_clock::time_point looked_ = std::chrono::steady_clock::now();
  std::atomic<bool> is_given_up_{false};
  std::atomic<long> last_step_{std::numeric_limits<long>::max()};
};

}  // namespace unrolled
