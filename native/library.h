// What the files of the Python module share: a library of kernels, its cells, and addresses for arrays.

#pragma once

#include <dlfcn.h>
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <stdexcept>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels.h"

namespace nb = nanobind;
using namespace nb::literals;
using unrolled::CompiledCell;
using unrolled::Kernels;
using Address = std::uintptr_t;

// A function of a shared library, which stays loaded.
template <class Function>
Function find(const std::string& path, const char* name) {
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  void* function = library ? dlsym(library, name) : nullptr;
  if (!function) throw std::runtime_error(path + ": " + dlerror());
  return reinterpret_cast<Function>(function);
}

template <class T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);
}

template <class T>
std::vector<T*> all_at(const std::vector<Address>& addresses) {
  std::vector<T*> pointers;
  for (Address address : addresses) pointers.push_back(at<T>(address));
  return pointers;
}

struct Cell {
  const CompiledCell* compiled;
};

// Memory from the kernels' buffers, given back when nobody needs it any more.
struct Block {
  Block(const Kernels* kernels, std::size_t bytes) : kernels(kernels), at(bytes ? kernels->take(bytes) : nullptr) {}
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block() {
    if (at) kernels->give(at);
  }
  Address address() const { return reinterpret_cast<Address>(at); }
  const Kernels* kernels;
  void* at;
};

class Library {
 public:
  explicit Library(const std::string& path) : kernels_(find<const Kernels* (*)()>(path, "unrolled_kernels")()) {}

  int lanes() const { return kernels_->lanes; }

  std::vector<Cell> cells(const std::string& path) const {
    int count = 0;
    const CompiledCell* first = find<const CompiledCell* (*)(int*)>(path, "unrolled_cells")(&count);
    std::vector<Cell> cells;
    for (int i = 0; i < count; ++i) {
      if (first[i].lanes != kernels_->lanes)
        throw std::runtime_error(path + ": was compiled for another instruction set");
      cells.push_back({first + i});
    }
    return cells;
  }

  Block* block(std::size_t bytes) const { return new Block(kernels_, bytes); }

  // A NumPy array in memory that is used again.
  nb::object empty(const std::vector<std::size_t>& shape, bool is_double) const {
    std::size_t count = 1;
    for (std::size_t size : shape) count *= size;
    Block* block = new Block(kernels_, count * (is_double ? sizeof(double) : sizeof(float)));
    nb::capsule owner(block, [](void* it) noexcept { delete static_cast<Block*>(it); });
    const auto type = is_double ? nb::dtype<double>() : nb::dtype<float>();
    return nb::cast(nb::ndarray<nb::numpy>(block->at, shape.size(), shape.data(), owner, nullptr, type));
  }

  template <class T>
  const unrolled::Functions<T>& functions() const {
    if constexpr (std::is_same_v<T, float>)
      return kernels_->f32;
    else
      return kernels_->f64;
  }

 private:
  const Kernels* kernels_;
};

// In predictor_bindings.cpp: the functions of a language model, for float and double.
void bind_models(nb::module_& module_float, nb::module_& module_double);
