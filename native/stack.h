// The layers of a language model at work on some sequences, one token of each at a time.

#pragma once

#include "model.h"

namespace unrolled {

template <class T>
class Stack {
 public:
  static constexpr long W = kLanes<T>;

  Stack(const Model<T>& model, long capacity) : model_(model) {
    for (const auto& layer : model.layers) memories_.push_back(std::make_unique<Memory>(*layer, capacity));
  }

  // Sequence `row` is to have the state of sequence `index` of `state`, whose arrays are for each layer its parts, each
  // (N, H); null: zeros.
  void set(long row, const T* const* state, long index) {
    for (std::size_t l = 0; l < memories_.size(); ++l) {
      const PackedLayer<T>& layer = *model_.layers[l];
      for (long block = 0; block < layer.blocks; ++block) {
        T* tile = memories_[l]->tile(block, row);
        for (long part = 0; part < model_.cell.states; ++part) {
          Vector<T> values{};
          if (state)
            values = get(state[l * model_.cell.states + part] + index * layer.units + block * W,
                         std::min(W, layer.units - block * W));
          store(tile + part * W, values);
        }
        for (auto& outputs : memories_[l]->outputs) store(outputs + row * layer.stride() + block * W, load(tile));
      }
    }
  }

  // The state of sequence `row` as that of sequence `index`.
  void get_state(long row, T* const* state, long index) const {
    for (std::size_t l = 0; l < memories_.size(); ++l) {
      const PackedLayer<T>& layer = *model_.layers[l];
      for (long block = 0; block < layer.blocks; ++block)
        for (long part = 0; part < model_.cell.states; ++part)
          put(state[l * model_.cell.states + part] + index * layer.units + block * W,
              load(memories_[l]->tile(block, row) + part * W), std::min(W, layer.units - block * W));
    }
  }

  // Sequence `to` becomes what sequence `from` is.
  void move(long from, long to) {
    for (auto& memory : memories_) {
      const PackedLayer<T>& layer = memory->layer;
      for (long block = 0; block < layer.blocks; ++block)
        std::copy(memory->tile(block, from), memory->tile(block, from) + layer.cell.states * W,
                  memory->tile(block, to));
      for (auto& outputs : memory->outputs)
        std::copy(outputs + from * layer.stride(), outputs + (from + 1) * layer.stride(),
                  outputs + to * layer.stride());
    }
  }

  // Step number `number` (counted from the first on) of rows [0, rows): first_terms are the first layer's for each row,
  // as Model::row gives them. By the whole team; when it returns, the last layer's outputs are there.
  void step(const Team& team, LayerScratch<T>& scratch, long number, long rows, const T* const* first_terms) {
    for (std::size_t l = 0; l < memories_.size(); ++l) {
      Memory& memory = *memories_[l];
      const PackedLayer<T>& layer = memory.layer;
      const T* below = l == 0 ? nullptr : memories_[l - 1]->outputs[(number + 1) & 1] + 0;
      const long stride = l == 0 ? 0 : memories_[l - 1]->layer.stride();
      each_chunk(team.share(layer.recurrent.groups.parts), {0, rows}, [&](long group, long row, long count) {
        early(memory, scratch, number, group, row, count, first_terms, below + row * stride, stride);
      });
      team.wait();
      if (layer.cell.late == 0) continue;
      each_chunk(team.share(layer.late.groups.parts), {0, rows},
                 [&](long group, long row, long count) { late(memory, scratch, number, group, row, count); });
      team.wait();
    }
  }

  // The last layer's outputs, (rows, stride), after step `number`.
  const T* outputs(long number) const { return memories_.back()->outputs[(number + 1) & 1]; }

 private:
  // What a layer remembers.
  struct Memory {
    Memory(const PackedLayer<T>& layer, long capacity)
        : layer(layer),
          capacity(capacity),
          state(layer.blocks * capacity * layer.cell.states * W),
          outputs{Scratch<T>(capacity * layer.stride()), Scratch<T>(capacity * layer.stride())},
          late_operand(layer.cell.late ? capacity * layer.stride() : 0),
          late_terms(layer.cell.late ? layer.blocks * capacity * layer.slots * W : 0) {}
    T* tile(long block, long row) const { return state + (block * capacity + row) * layer.cell.states * W; }

    const PackedLayer<T>& layer;
    long capacity;
    Scratch<T> state;       // [block][row][part][lane]
    Scratch<T> outputs[2];  // (capacity, stride) h before and after a step, in turns
    Scratch<T> late_operand, late_terms;
  };

  void early(Memory& memory, LayerScratch<T>& scratch, long number, long group, long row, long rows,
             const T* const* first_terms, const T* below, long stride_below) {
    const PackedLayer<T>& layer = memory.layer;
    const long first = layer.recurrent.groups.begin(group), count = layer.recurrent.groups.size(group);
    const long size = layer.slots * W, block_size = (layer.cell.late ? memory.capacity : rows) * size;
    T* terms = layer.cell.late ? memory.late_terms + (first * memory.capacity + row) * size : scratch.terms + 0;
    if (stride_below == 0) {
      for (long block = 0; block < count; ++block)
        for (long r = 0; r < rows; ++r) {
          const T* from = first_terms[row + r] + (first + block) * size;
          T* to = terms + block * block_size + r * size;
          for (long slot = 0; slot < layer.slots; ++slot) store(to + slot * W, load(from + slot * W));
        }
    } else {
      begin_terms<T>(layer, scratch, first, count, rows, below, stride_below, terms, block_size);
    }
    const T* before = memory.outputs[number & 1] + row * layer.stride();
    multiply<T>(layer.recurrent, group, rows, before, layer.stride(), layer.units, layer.weight_recurrent, terms, size,
                block_size, true, layer.is_far);
    for (long block = 0; block < count; ++block) {
      if (layer.cell.late)
        make_late_operand(memory, scratch, first + block, row, rows, terms + block * block_size);
      else
        advance(memory, scratch, number, first + block, row, rows, terms + block * block_size);
    }
  }

  void make_late_operand(Memory& memory, LayerScratch<T>& scratch, long block, long row, long rows, const T* terms) {
    functions<T>(model_.cell).late_operand(rows, terms, memory.tile(block, row), scratch.operand, scratch.kept);
    for (long r = 0; r < rows; ++r)
      store(memory.late_operand + (row + r) * memory.layer.stride() + block * W, load(scratch.operand + r * W));
  }

  void late(Memory& memory, LayerScratch<T>& scratch, long number, long group, long row, long rows) {
    const PackedLayer<T>& layer = memory.layer;
    const long first = layer.late.groups.begin(group), count = layer.late.groups.size(group);
    const long size = layer.slots * W, block_size = memory.capacity * size;
    T* terms = memory.late_terms + (first * memory.capacity + row) * size;
    multiply<T>(layer.late, group, rows, memory.late_operand + row * layer.stride(), layer.stride(), layer.units,
                layer.weight_late, terms + layer.early * W, size, block_size, true, layer.is_far);
    for (long block = 0; block < count; ++block)
      advance(memory, scratch, number, first + block, row, rows, terms + block * block_size);
  }

  void advance(Memory& memory, LayerScratch<T>& scratch, long number, long block, long row, long rows, const T* terms) {
    T* state = memory.tile(block, row);
    functions<T>(model_.cell).step(rows, terms, state, state, scratch.kept);
    T* to = memory.outputs[(number + 1) & 1] + row * memory.layer.stride() + block * W;
    for (long r = 0; r < rows; ++r)
      store(to + r * memory.layer.stride(), load(state + r * memory.layer.cell.states * W));
  }

  const Model<T>& model_;
  std::vector<std::unique_ptr<Memory>> memories_;
};

// Scores (rows, padded) of the next token. Panels are gone through forwards and backwards in turns: what a core read
// last is still in its cache when it begins again.
template <class T>
void score_next(const Team& team, const Model<T>& model, const T* outputs, long stride, long rows, const T* bias,
                bool backwards, T* scores) {
  constexpr long W = kLanes<T>;
  const auto [begin, end] = team.share(model.panels.parts);
  for (long i = begin; i < end; ++i) {
    const long p = backwards ? end - 1 - (i - begin) : i;
    const long v = model.panels.begin(p) * W, vectors = model.panels.size(p);
    for (long r = 0; r < rows; ++r)
      for (long i = 0; i < vectors; ++i) store(scores + r * model.padded() + v + i * W, load(bias + v + i * W));
    tiles<T>(rows, vectors, outputs, stride, 1, model.panel(p), model.units(), scores + v, model.padded(), W, true,
             model.is_far);
  }
}

}  // namespace unrolled
