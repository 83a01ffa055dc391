// Memory that is used again from step to step: to fault fresh pages in costs as much as a small layer.

#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <iterator>
#include <map>
#include <mutex>
#include <new>

namespace unrolled {

class Buffers {
 public:
  // At least `bytes` bytes, aligned to a cache line and more; what is in them is left over.
  void* take(std::size_t bytes) {
    const std::size_t size = rounded(bytes);
    std::lock_guard lock(mutex_);
    auto found = free_.lower_bound(size);
    if (found != free_.end() && found->first <= size + size / 4) {
      found = std::prev(free_.upper_bound(found->first));  // of those the last to be freed: it may still be in a cache
      void* block = found->second;
      free_bytes_ -= found->first;
      used_[block] = found->first;
      used_bytes_ += found->first;
      most_used_ = std::max(most_used_, used_bytes_);
      free_.erase(found);
      return block;
    }
    // What was in use once and is no longer counts for less and less.
    if (most_used_ > used_bytes_) most_used_ -= (most_used_ - used_bytes_) / 64;
    // Blocks that wait in vain have the wrong sizes. All together may be half as much again as was ever in use at once.
    most_used_ = std::max(most_used_, used_bytes_ + size);
    const std::size_t most = most_used_ + most_used_ / 2 + kSpare;
    while (!free_.empty() && free_bytes_ + used_bytes_ + size > most) drop(std::prev(free_.end()));
    void* block = allocate(size);
    if (!block) {
      while (!free_.empty()) drop(free_.begin());
      block = allocate(size);
    }
    if (!block) throw std::bad_alloc();
    used_[block] = size;
    used_bytes_ += size;
    return block;
  }

  // Around a fork, so that the child does not inherit a lock that nobody opens.
  void lock() { mutex_.lock(); }
  void unlock() { mutex_.unlock(); }

  void give(void* block) {
    std::lock_guard lock(mutex_);
#if defined(__SANITIZE_ADDRESS__)
    used_bytes_ -= used_[block];
    used_.erase(block);
    std::free(block);  // so that use after this is found
    return;
#endif
    const auto found = used_.find(block);
    used_bytes_ -= found->second;
    free_bytes_ += found->second;
    free_.emplace(found->second, block);
    used_.erase(found);
  }

 private:
  using Free = std::multimap<std::size_t, void*>;

  static constexpr std::size_t kPage = 4096, kHugePage = std::size_t(2) << 20, kSpare = std::size_t(8) << 20;

  static std::size_t rounded(std::size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
    return bytes + (bytes == 0);  // so that what is written past the end is found
#endif
    const std::size_t unit = bytes >= kHugePage ? kHugePage / 8 : kPage;
    return (bytes + unit - 1) / unit * unit + (bytes == 0) * unit;
  }

  static void* allocate(std::size_t size) {
    const bool is_large = size >= kHugePage;
    void* block = nullptr;
    if (posix_memalign(&block, is_large ? kHugePage : kPage, size) != 0) return nullptr;
#ifdef MADV_HUGEPAGE
    if (is_large) madvise(block, size, MADV_HUGEPAGE);  // a wish: without it all works, with more misses of the TLB
#endif
    return block;
  }

  void drop(Free::iterator which) {
    free_bytes_ -= which->first;
    std::free(which->second);
    free_.erase(which);
  }

  std::mutex mutex_;
  Free free_;  // by size
  std::map<void*, std::size_t> used_;
  std::size_t free_bytes_ = 0, used_bytes_ = 0, most_used_ = 0;
};

inline Buffers& buffers() {
  static Buffers* all = new Buffers;  // never destroyed: arrays may outlive every other object
  return *all;
}

// Scratch memory of one call.
template <class T>
class Scratch {
 public:
  explicit Scratch(long count) : at_(static_cast<T*>(buffers().take(sizeof(T) * std::size_t(count > 0 ? count : 1)))) {}
  ~Scratch() { buffers().give(at_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  operator T*() const { return at_; }

 private:
  T* at_;
};

}  // namespace unrolled
