// A language model packed for use: weights as panels that products run along, biases as tiles, and the table of what
// the first layer makes of a token, which fills as tokens occur.

#pragma once

#include <sys/mman.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "recurrence.h"

namespace unrolled {

constexpr long kFarBytes = long(16) << 20;  // of weights that a token reads, past which they come from memory

// One layer: the terms of a block of units begin as `start`, to which the products of weights with input and state are
// added.
template <class T>
struct PackedLayer {
  static constexpr long W = kLanes<T>;

  PackedLayer(const CompiledCell& cell, long inputs, long units)
      : cell(cell),
        inputs(inputs),
        units(units),
        blocks(ceil_div(units, W)),
        early(cell.gates - cell.late),
        slots(cell.gates + cell.apart),
        inward(blocks, cell.gates),
        recurrent(blocks, early),
        late(blocks, std::max(1, cell.late)),
        weight_in(blocks * W * cell.gates * inputs),
        weight_recurrent(blocks * W * early * units),
        weight_late(blocks * W * cell.late * units),
        start(blocks * slots * W) {}

  // The slot of a gate's input term: by itself where the gate is apart.
  long input_slot(long gate) const {
    for (int i = 0; i < cell.apart; ++i)
      if (cell.apart_gates[i] == gate) return cell.gates + i;
    return gate;
  }

  void pack(const Team& team, const T* weight_ih, const T* weight_hh, const T* bias_ih, const T* bias_hh) {
    pack_strips(inward, weight_ih, units, inputs, team.share(inward.groups.parts), weight_in + 0);
    pack_strips(recurrent, weight_hh, units, units, team.share(recurrent.groups.parts), weight_recurrent + 0);
    if (cell.late)
      pack_strips(late, weight_hh + early * units * units, units, units, team.share(late.groups.parts),
                  weight_late + 0);
    if (team.rank != 0) return;
    std::fill(start + 0, start + blocks * slots * W, T(0));
    for (long gate = 0; gate < cell.gates; ++gate) {
      if (bias_ih) add_bias(bias_ih + gate * units, input_slot(gate));
      if (bias_hh) add_bias(bias_hh + gate * units, gate);
    }
  }

  // Of a row of outputs: whole vectors, and an odd number of them, so that rows do not share a few places of the
  // caches.
  long stride() const { return (blocks | 1) * W; }
  long row_numbers() const { return blocks * slots * W; }
  long products() const { return cell.gates * units * (inputs + units); }

  const CompiledCell& cell;
  long inputs, units, blocks, early, slots;
  Strips<T> inward, recurrent, late;
  Scratch<T> weight_in, weight_recurrent, weight_late;
  Scratch<T> start;     // [block][slot][lane]
  bool is_far = false;  // whether the weights come from memory at every step

 private:
  void add_bias(const T* bias, long slot) {
    for (long unit = 0; unit < units; ++unit) start[(unit / W * slots + slot) * W + unit % W] += bias[unit];
  }
};

// What one thread needs for a chunk of rows of one layer.
template <class T>
struct LayerScratch {
  explicit LayerScratch(const CompiledCell& cell)
      : terms(kPanelVectors * kChunk * (cell.gates + cell.apart) * kLanes<T>),
        products(kPanelVectors * kChunk * cell.gates * kLanes<T>),
        operand(kChunk * kLanes<T>),
        kept(kChunk * std::max({1, cell.kept, cell.late_kept}) * kLanes<T>) {}
  Scratch<T> terms, products, operand, kept;
};

// The products of one group of blocks: for each block a tile [row][...][lane] whose rows are `row_size` numbers long,
// `block_size` numbers after the last; gate k of the strips stands k vectors after the beginning of a row.
template <class T>
void multiply(const Strips<T>& strips, long group, long rows, const T* operand, long stride, long depth,
              const T* packed, T* to, long row_size, long block_size, bool add, bool is_far) {
  for (long strip = 0; strip < strips.strips(); ++strip)
    tiles<T>(rows, strips.vectors(group, strip), operand, stride, 1, packed + strips.offset(group, strip, depth), depth,
             to + strips.first_gate(strip) * kLanes<T>, row_size, strips.across_blocks ? block_size : kLanes<T>, add,
             is_far);
}

// The terms of blocks [first, first + count) before the state has its say: start, and the products with the input.
template <class T>
void begin_terms(const PackedLayer<T>& layer, LayerScratch<T>& scratch, long first, long count, long rows,
                 const T* inputs, long stride, T* terms, long block_size) {
  constexpr long W = kLanes<T>;
  const long gates = layer.cell.gates, size = rows * gates * W;
  // A group of the input weights is the very group of blocks where there is one gate, else a block.
  if (layer.inward.across_blocks) {
    long group = 0;
    while (layer.inward.groups.begin(group) < first) ++group;
    multiply<T>(layer.inward, group, rows, inputs, stride, layer.inputs, layer.weight_in, scratch.products, gates * W,
                size, false, layer.is_far);
  } else {
    for (long i = 0; i < count; ++i)
      multiply<T>(layer.inward, first + i, rows, inputs, stride, layer.inputs, layer.weight_in,
                  scratch.products + i * size, gates * W, size, false, layer.is_far);
  }
  for (long i = 0; i < count; ++i) {
    const T *start = layer.start + (first + i) * layer.slots * W, *product = scratch.products + i * size;
    T* to = terms + i * block_size;
    for (long row = 0; row < rows; ++row, to += layer.slots * W, product += gates * W) {
      for (long slot = 0; slot < layer.slots; ++slot) store(to + slot * W, load(start + slot * W));
      for (long gate = 0; gate < gates; ++gate) {
        T* at = to + layer.input_slot(gate) * W;
        store(at, load(at) + load(product + gate * W));
      }
    }
  }
}

template <class T>
class Model {
 public:
  static constexpr long W = kLanes<T>;

  explicit Model(const ModelOperands<T>& o)
      : cell(*o.cell),
        vocabulary(o.V),
        embedding_size(o.E),
        embedding(o.embedding),
        panels(ceil_div(o.V, W), kPanelVectors),
        output_weight(ceil_div(o.V, W) * W * o.units[o.L - 1]),
        output_bias(ceil_div(o.V, W) * W) {
    for (long l = 0; l < o.L; ++l)
      layers.push_back(std::make_unique<PackedLayer<T>>(cell, l == 0 ? o.E : o.units[l - 1], o.units[l]));
    with_team(o.threads, [&](const Team& team) {
      for (long l = 0; l < o.L; ++l) layers[l]->pack(team, o.weight_ih[l], o.weight_hh[l], o.bias_ih[l], o.bias_hh[l]);
      for (auto [p, end] = team.share(panels.parts); p < end; ++p)
        pack_panel(View<T>{o.output_weight, 1, units()}, units(), panels.begin(p) * W, width(p), panels.size(p),
                   output_weight + panels.begin(p) * W * units());
    });
    std::fill(output_bias + 0, output_bias + padded(), -std::numeric_limits<T>::infinity());
    std::copy(o.output_bias, o.output_bias + vocabulary, output_bias + 0);
    for (const auto& layer : layers) products += layer->products();
    products += vocabulary * units();
    is_far = products * long(sizeof(T)) > kFarBytes;
    for (const auto& layer : layers) layer->is_far = is_far;
    table_rows_ = std::min(vocabulary, o.table_bytes / (first().row_numbers() * long(sizeof(T))));
    if (table_rows_ > 0) {
      void* table = mmap(nullptr, table_bytes(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                         -1, 0);  // a page takes its place when it is first written
      if (table == MAP_FAILED) throw std::bad_alloc();
      table_ = static_cast<T*>(table);
    }
    has_row_ = std::make_unique<std::atomic<bool>[]>(std::size_t(vocabulary));
  }
  ~Model() {
    if (table_) munmap(table_, table_bytes());
  }
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const PackedLayer<T>& first() const { return *layers.front(); }
  const PackedLayer<T>& last() const { return *layers.back(); }
  long units() const { return last().units; }
  long padded() const { return panels.count * W; }  // V in whole vectors
  long width(long panel) const { return std::min(vocabulary - panels.begin(panel) * W, panels.size(panel) * W); }
  const T* panel(long p) const { return output_weight + panels.begin(p) * W * units(); }

  // Threads worth their meetings, for steps of so many rows.
  int useful_threads(long rows, int threads) const { return rows * products < kWorthATeam ? 1 : threads; }

  // The first layer's terms of a token, [block][slot][lane], or null where they are not there yet.
  const T* row(int64_t token) const {
    return has_row_[token].load(std::memory_order_acquire) ? table_ + token * first().row_numbers() : nullptr;
  }
  // Whether a token's row, once made, stays.
  bool keeps(int64_t token) const { return token < table_rows_; }
  // To be held from the look for missing rows to the end of `keep`.
  std::mutex& filling() { return filling_; }
  // Where the row of a token that is kept goes.
  T* place(int64_t token) { return table_ + token * first().row_numbers(); }
  void keep(int64_t token) { has_row_[token].store(true, std::memory_order_release); }

  // Make rows: token i of `count` to to[i]. embedded: (count, E), scratch. By the whole team.
  void make_rows(const Team& team, LayerScratch<T>& scratch, const int64_t* tokens, T* const* to, long count,
                 T* embedded) const {
    const PackedLayer<T>& layer = first();
    const long E = embedding_size, size = layer.slots * W;
    for (auto [i, end] = team.share(count); i < end; ++i)
      std::copy(embedding + tokens[i] * E, embedding + (tokens[i] + 1) * E, embedded + i * E);
    team.wait();
    each_chunk(team.share(layer.inward.groups.parts), {0, count}, [&](long group, long row, long rows) {
      const long begin = layer.inward.groups.begin(group), blocks = layer.inward.groups.size(group);
      begin_terms<T>(layer, scratch, begin, blocks, rows, embedded + row * E, E, scratch.terms, rows * size);
      for (long i = 0; i < blocks; ++i)
        for (long r = 0; r < rows; ++r) {
          const T* from = scratch.terms + (i * rows + r) * size;
          std::copy(from, from + size, to[row + r] + (begin + i) * size);
        }
    });
    team.wait();
  }

  const CompiledCell& cell;
  const long vocabulary, embedding_size;
  const T* const embedding;
  std::vector<std::unique_ptr<PackedLayer<T>>> layers;
  const Cut panels;                       // of the vocabulary, in vectors
  Scratch<T> output_weight, output_bias;  // bias: -inf past the vocabulary
  long products = 0;                      // multiplications a token
  bool is_far = false;                    // as in PackedLayer

 private:
  std::size_t table_bytes() const { return std::size_t(table_rows_ * first().row_numbers()) * sizeof(T); }

  long table_rows_;
  T* table_ = nullptr;
  std::unique_ptr<std::atomic<bool>[]> has_row_;
  std::mutex filling_;
};

}  // namespace unrolled
