// The Python classes of a language model in use: Model and Decoding. predictor.py has checked what comes in.

#include "library.h"

namespace {

// Whether a signal came, such as Ctrl-C, whose handler in Python raised.
bool wants_to_stop() {
  nb::gil_scoped_acquire acquired;
  return PyErr_CheckSignals() != 0;
}

template <class T>
class Model {
 public:
  // sizes: V, E, threads, table_bytes; units: H of each layer; layers: for each the addresses of weight_ih, weight_hh,
  // bias_ih, bias_hh.
  Model(const Library& library, const Cell& cell, const std::vector<long>& sizes, const std::vector<long>& units,
        Address embedding, const std::vector<Address>& layers, Address output_weight, Address output_bias)
      : functions(library.functions<T>()) {
    std::vector<const T*> pointers[4];
    for (std::size_t i = 0; i < layers.size(); ++i) pointers[i % 4].push_back(at<const T>(layers[i]));
    nb::gil_scoped_release released;
    model = functions.make_model({cell.compiled, sizes[0], sizes[1], long(units.size()), int(sizes[2]), sizes[3],
                                  units.data(), at<T>(embedding), pointers[0].data(), pointers[1].data(),
                                  pointers[2].data(), pointers[3].data(), at<T>(output_weight), at<T>(output_bias)});
  }
  Model(const Model&) = delete;
  ~Model() { functions.end_model(model); }

  // sizes: N, threads, batch; states: one address for each part of each layer, or none for zeros.
  void read(const std::vector<long>& sizes, Address lengths, Address inputs, Address targets,
            const std::vector<Address>& state, const std::vector<Address>& last, Address losses, Address ranks,
            Address outputs) const {
    const auto from = all_at<const T>(state);
    const auto to = all_at<T>(last);
    {
      nb::gil_scoped_release released;
      functions.read(
          model, {sizes[0], int(sizes[1]), sizes[2], at<int64_t>(lengths), at<int64_t>(inputs), at<int64_t>(targets),
                  from.empty() ? nullptr : from.data(), to.empty() ? nullptr : to.data(), at<double>(losses),
                  at<int64_t>(ranks), at<T>(outputs), &wants_to_stop});
    }
    if (PyErr_Occurred()) throw nb::python_error();
  }

  void score_next(int threads, Address outputs, long rows, Address scores) const {
    nb::gil_scoped_release released;
    functions.score_next(model, threads, at<T>(outputs), rows, at<T>(scores));
  }

  const unrolled::Functions<T>& functions;
  void* model;
};

template <class T>
class Decoding {
 public:
  // choice: temperature, top_k, top_p, greedy; generators: the capsules of NumPy's bit generators.
  Decoding(const Model<T>& model, const std::vector<Address>& state, const std::vector<int64_t>& tokens,
           const std::vector<int64_t>& forbidden, long stop, double temperature, long top_k, double top_p, bool greedy,
           const std::vector<nb::capsule>& generators)
      : functions_(model.functions) {
    const auto from = all_at<const T>(state);
    std::vector<unrolled::BitGenerator*> bits;
    for (const nb::capsule& generator : generators) {
      if (std::string(generator.name()) != "BitGenerator") throw std::runtime_error("not a bit generator of NumPy's");
      bits.push_back(static_cast<unrolled::BitGenerator*>(generator.data()));
    }
    decoding_ = functions_.make_decoding(model.model, {long(tokens.size()),
                                                       from.data(),
                                                       tokens.data(),
                                                       forbidden.data(),
                                                       long(forbidden.size()),
                                                       stop,
                                                       {temperature, top_k, top_p, greedy},
                                                       bits.data()});
  }
  Decoding(const Decoding&) = delete;
  ~Decoding() { functions_.end_decoding(decoding_); }

  // Steps made; the row for which no token could be chosen, or -1; its highest score.
  nb::tuple run(int threads, long steps, double seconds, Address tokens) {
    unrolled::Decoded done;
    {
      nb::gil_scoped_release released;
      done = functions_.decode(decoding_, threads, steps, seconds, at<int64_t>(tokens));
    }
    return nb::make_tuple(done.steps, done.failed_row, done.highest);
  }

 private:
  const unrolled::Functions<T>& functions_;
  void* decoding_;
};

template <class T>
void bind(nb::module_& module) {
  nb::class_<Model<T>>(module, "Model")
      .def(nb::init<const Library&, const Cell&, const std::vector<long>&, const std::vector<long>&, Address,
                    const std::vector<Address>&, Address, Address>())
      .def("read", &Model<T>::read)
      .def("score_next", &Model<T>::score_next);
  nb::class_<Decoding<T>>(module, "Decoding")
      .def(nb::init<const Model<T>&, const std::vector<Address>&, const std::vector<int64_t>&,
                    const std::vector<int64_t>&, long, double, long, double, bool, const std::vector<nb::capsule>&>(),
           nb::keep_alive<1, 2>())
      .def("run", &Decoding<T>::run);
}

}  // namespace

void bind_models(nb::module_& module_float, nb::module_& module_double) {
  bind<float>(module_float);
  bind<double>(module_double);
}
