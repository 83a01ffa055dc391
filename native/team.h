// The threads that work on one call, and how they wait for each other.
//
// Threads come from OpenMP, so that they are the ones torch uses: two pools on the same cores would fight. Whatever is
// computed is cut so that no sum depends on how many threads there are.

#pragma once

#include <omp.h>
#include <sched.h>

#include <atomic>

namespace unrolled {

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// A place where threads meet. Waiting costs less than a microsecond while every thread has a core of its own; where
// other programs hold the cores, a thread that waits in vain gives its own away.
class Meeting {
 public:
  explicit Meeting(int size) : size_(size) {}

  void wait() {
    if (size_ == 1) return;
    const unsigned round = round_.load(std::memory_order_relaxed);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) + 1 == size_) {
      arrived_.store(0, std::memory_order_relaxed);
      round_.store(round + 1, std::memory_order_release);
      return;
    }
    for (int spins = 0; round_.load(std::memory_order_acquire) == round; ++spins) {
      if (spins < 4096) {
        pause();
      } else {
        sched_yield();
      }
    }
  }

 private:
  const int size_;
  alignas(64) std::atomic<int> arrived_{0};
  alignas(64) std::atomic<unsigned> round_{0};
};

// One thread's view of the team.
struct Team {
  int rank, size;
  Meeting* meeting;

  void wait() const { meeting->wait(); }

  // This thread's share [begin, end) of `count` things, in order, as even as can be.
  struct Range {
    long begin, end;
  };
  Range share(long count) const { return {count * rank / size, count * (rank + 1) / size}; }
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
