// The Python module: loads a library of kernels and calls it. Arrays come as addresses; engine.py has checked them.

#include <omp.h>

#include <algorithm>

#include "library.h"

namespace {

std::vector<std::string> supported() {
  std::vector<std::string> names;
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    names.push_back("avx512");
  if (avx2) names.push_back("avx2");
#endif
  names.push_back("plain");
  return names;
}

// The operands of a recurrence, kept together from the way there to the way back.
template <class T>
struct Unroll {
  Unroll(const Library& library, const Cell& cell, std::vector<long> sizes, int threads, bool reverse, Address x,
         Address rows, Address weight_hh, Address bias_hh, const std::vector<Address>& state, Address lengths,
         Address mask, const std::vector<Address>& zoneout)
      : functions(library.functions<T>()),
        state(all_at<const T>(state)),
        zoneout(all_at<const T>(zoneout)),
        operands{sizes[0],         sizes[1],       sizes[2], threads,
                 reverse,          cell.compiled,  at<T>(x), at<int64_t>(rows),
                 at<T>(weight_hh), at<T>(bias_hh), nullptr,  at<int64_t>(lengths),
                 at<T>(mask),      nullptr} {}
  Unroll(const Unroll&) = delete;

  const unrolled::UnrollOperands<T>& pointed() {
    operands.state = state.data();
    operands.zoneout = zoneout.empty() ? nullptr : zoneout.data();
    return operands;
  }

  std::vector<long> tape_sizes() {
    const auto sizes = functions.unroll_tape_sizes(pointed());
    return {sizes.kept, sizes.late_kept, sizes.operands, sizes.late_operands};
  }

  static unrolled::UnrollTape<T> tape(const std::vector<Address>& parts) {
    return {at<T>(parts[0]), at<T>(parts[1]), at<T>(parts[2]), at<T>(parts[3])};
  }

  void forward(const std::vector<Address>& parts, Address outputs, const std::vector<Address>& last) {
    const auto pointers = all_at<T>(last);
    nb::gil_scoped_release released;
    functions.unroll(pointed(), tape(parts), at<T>(outputs), pointers.data());
  }

  void backward(const std::vector<Address>& parts, Address outputs, Address d_outputs,
                const std::vector<Address>& d_state, Address d_x, Address d_weight, Address d_bias,
                const std::vector<Address>& d_initial) {
    const auto from = all_at<const T>(d_state);
    const auto to = all_at<T>(d_initial);
    nb::gil_scoped_release released;
    functions.unroll_backward(
        pointed(), tape(parts),
        {at<T>(outputs), at<T>(d_outputs), from.data(), at<T>(d_x), at<T>(d_weight), at<T>(d_bias), to.data()});
  }

  const unrolled::Functions<T>& functions;
  std::vector<const T*> state, zoneout;
  unrolled::UnrollOperands<T> operands;
};

template <class T>
void product(const Library& library, int threads, std::vector<long> sizes, Address a, std::vector<long> a_strides,
             Address b, std::vector<long> b_strides, Address bias, Address c) {
  nb::gil_scoped_release released;
  library.functions<T>().product({sizes[0], sizes[1], sizes[2], threads, at<T>(a), a_strides[0], a_strides[1], at<T>(b),
                                  b_strides[0], b_strides[1], at<T>(bias), at<T>(c)});
}

template <class T>
void linear_cross_entropy(const Library& library, int threads, std::vector<long> sizes, bool mean, Address inputs,
                          Address weight, Address bias, Address targets, Address d_losses, Address losses,
                          Address d_inputs, Address d_weight, Address d_bias) {
  nb::gil_scoped_release released;
  library.functions<T>().linear_cross_entropy({sizes[0], sizes[1], sizes[2], threads, mean, at<T>(inputs),
                                               at<T>(weight), at<T>(bias), at<int64_t>(targets), at<T>(d_losses),
                                               at<T>(losses), at<T>(d_inputs), at<T>(d_weight), at<T>(d_bias)});
}

// A function of a library's table as Python calls it: the library first, addresses for pointers.
template <class A>
using Passed = std::conditional_t<std::is_pointer_v<A>, Address, A>;

template <class A>
A given(Passed<A> value) {
  if constexpr (std::is_pointer_v<A>) {
    return reinterpret_cast<A>(value);
  } else {
    return value;
  }
}

template <class T, class R, class... A>
void bind_function(nb::module_& module, const char* name, R (*unrolled::Functions<T>::*member)(A...)) {
  module.def(name, [member](const Library& library, Passed<A>... values) -> R {
    nb::gil_scoped_release released;
    return (library.functions<T>().*member)(given<A>(values)...);
  });
}

// The ids that occur among `count`, ascending, and for each of the `count` which of them it is.
nb::tuple index_tokens(nb::ndarray<const int64_t, nb::ndim<1>, nb::c_contig, nb::device::cpu> ids,
                       std::size_t vocabulary) {
  std::vector<int64_t> place(vocabulary, -1);
  for (std::size_t i = 0; i < ids.size(); ++i) place.at(std::size_t(ids.data()[i])) = 0;
  std::vector<int64_t> occurring;
  for (std::size_t id = 0; id < vocabulary; ++id) {
    if (place[id] < 0) continue;
    place[id] = int64_t(occurring.size());
    occurring.push_back(int64_t(id));
  }
  const auto array = [](std::size_t count) {
    auto* data = new int64_t[count];
    nb::capsule owner(data, [](void* it) noexcept { delete[] static_cast<int64_t*>(it); });
    return nb::ndarray<nb::numpy, int64_t>(data, {count}, owner);
  };
  auto first = array(occurring.size()), second = array(ids.size());
  std::copy(occurring.begin(), occurring.end(), static_cast<int64_t*>(first.data()));
  for (std::size_t i = 0; i < ids.size(); ++i)
    static_cast<int64_t*>(second.data())[i] = place[std::size_t(ids.data()[i])];
  return nb::make_tuple(first, second);
}

// The functions of one dtype, under the same names.
template <class T>
nb::module_ bind(nb::module_& module, const char* name) {
  nb::module_ typed = module.def_submodule(name);
  nb::class_<Unroll<T>>(typed, "Unroll")
      .def(nb::init<const Library&, const Cell&, std::vector<long>, int, bool, Address, Address, Address, Address,
                    const std::vector<Address>&, Address, Address, const std::vector<Address>&>())
      .def("tape_sizes", &Unroll<T>::tape_sizes)
      .def("forward", &Unroll<T>::forward)
      .def("backward", &Unroll<T>::backward);
  typed.def("product", &product<T>);
  typed.def("linear_cross_entropy", &linear_cross_entropy<T>);
  using Table = unrolled::Functions<T>;
  bind_function<T>(typed, "gather_rows", &Table::gather_rows);
  bind_function<T>(typed, "sum_rows", &Table::sum_rows);
  bind_function<T>(typed, "sum_all_rows", &Table::sum_all_rows);
  bind_function<T>(typed, "sum_of_squares", &Table::sum_of_squares);
  bind_function<T>(typed, "sgd", &Table::sgd);
  bind_function<T>(typed, "momentum", &Table::momentum);
  bind_function<T>(typed, "adamw", &Table::adamw);
  return typed;
}

}  // namespace

NB_MODULE(_native, module) {
  nb::set_leak_warnings(false);  // engines are kept to the end of the process, and that is not a leak
  module.def("supported", &supported, "Instruction sets that this processor has, best first.");
  module.def("max_threads", &omp_get_max_threads, "Threads that OpenMP would use.");
  module.def("index_tokens", &index_tokens, "ids"_a, "vocabulary"_a);
  nb::class_<Cell>(module, "Cell").def_prop_ro("digest", [](const Cell& cell) {
    return std::string(cell.compiled->digest);
  });
  nb::class_<Block>(module, "Block").def_prop_ro("address", &Block::address);
  nb::class_<Library>(module, "Library")
      .def(nb::init<const std::string&>(), "path"_a)
      .def_prop_ro("lanes", &Library::lanes)
      .def("cells", &Library::cells, "path"_a)
      .def("block", &Library::block, "bytes"_a, nb::rv_policy::take_ownership)
      .def("empty", &Library::empty, "shape"_a, "is_double"_a);
  nb::module_ single = bind<float>(module, "float32"), twice = bind<double>(module, "float64");
  bind_models(single, twice);
}
