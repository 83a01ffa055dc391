// The threads that work on one call, and how they wait for each other.
//
// Threads come from OpenMP, so that they are the ones torch uses: two pools on the same cores would fight. Whatever is
// computed is cut so that no sum depends on how many threads there are.

#pragma once

#include <omp.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <memory>

namespace unrolled {

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// A place where threads meet. Each says in a line of the cache of its own how often it has come, and looks at those of
// the others, so that a meeting takes as long as one line takes from core to core. That is little while every thread
// has a core of its own; where other programs hold the cores, a thread that waits in vain gives its own away.
class Meeting {
 public:
  explicit Meeting(int size) : size_(size), came_(std::make_unique<Came[]>(std::size_t(size))) {}

  void wait(int rank) {
    if (size_ == 1) return;
    const unsigned round = came_[rank].rounds.load(std::memory_order_relaxed) + 1;
    came_[rank].rounds.store(round, std::memory_order_release);
    for (int other = 0; other < size_; ++other) {
      // Those who are ahead have come to the next round: unsigned differences survive the wrap.
      for (int spins = 0; int(came_[other].rounds.load(std::memory_order_acquire) - round) < 0; ++spins) {
        if (spins < 1024) {
          pause();
        } else {
          sched_yield();
        }
      }
    }
  }

 private:
  struct alignas(64) Came {
    std::atomic<unsigned> rounds{0};
  };
  const int size_;
  const std::unique_ptr<Came[]> came_;
};

// One thread's view of the team.
struct Team {
  int rank, size;
  Meeting* meeting;

  void wait() const { meeting->wait(rank); }

  // This thread's share [begin, end) of `count` things, in order, as even as can be.
  struct Range {
    long begin, end;
  };
  Range share(long count) const {
    if (size == 1) return {0, count};
    const long least = count / size, more = count % size;  // the first `more` threads have one more
    const long begin = least * rank + std::min(long(rank), more);
    return {begin, begin + least + (rank < more)};
  }
};

// Whether this is the child of a process that had threads: OpenMP's are not there any more, and asking for them would
// wait for ever. One thread gives the same bits.
inline bool& is_forked() {
  static bool forked = false;
  return forked;
}

// Run body(Team) on `threads` threads; alone where one will do.
template <class Body>
void with_team(int threads, const Body& body) {
  if (threads <= 1 || is_forked()) {
    Meeting meeting(1);
    body(Team{0, 1, &meeting});
    return;
  }
  Meeting* meeting = nullptr;
#pragma omp parallel num_threads(threads)
  {
#pragma omp single
    meeting = new Meeting(omp_get_num_threads());  // the runtime may grant fewer threads than asked for
    body(Team{omp_get_thread_num(), omp_get_num_threads(), meeting});
  }
  delete meeting;
}

}  // namespace unrolled
