// A cell over time, the way back.

#pragma once

#include "recurrence.h"
#include "sums.h"

namespace unrolled {

template <class T>
class Backward {
 public:
  Backward(const UnrollOperands<T>& o, const UnrollTape<T>& tape, const UnrollGradientArrays<T>& g)
      : o_(o),
        s_(o),
        tape_(tape),
        g_(g),
        cell_(functions<T>(*o.cell)),
        columns_(s_.blocks, 1),
        packed_(s_.blocks * W * s_.early * s_.units),
        packed_late_(s_.blocks * W * s_.late * s_.units),
        d_state_(s_.blocks * s_.batch * s_.states * W),
        d_late_terms_(s_.late ? s_.blocks * s_.batch * s_.slots * W : 0),
        d_u_apart_(o.cell->apart ? s_.steps * s_.batch * s_.width : 0),
        d_u_(o.cell->apart ? d_u_apart_ : g.d_x) {}

  void run() {
    const int threads = useful_threads(s_, o_.threads);
    const bool by_rows = share_rows(s_, threads);
    with_team(threads, [&](const Team& team) {
      const Shares mine(team, by_rows, s_.batch);
      const Team::Range groups = mine.of(team, columns_.groups.parts), blocks = mine.of(team, s_.blocks);
      Local local(s_);
      pack(team);
      begin(mine.rows, blocks);
      team.wait();
      for (long step = s_.steps; step-- > 0;) {
        each_chunk(groups, mine.rows, [&](long group, long row, long rows) { early(local, {step, group, row, rows}); });
        mine.wait(team);
        if (s_.late == 0) continue;
        each_chunk(groups, mine.rows, [&](long group, long row, long rows) { late(local, {step, group, row, rows}); });
        mine.wait(team);
      }
      each_chunk(groups, mine.rows, [&](long group, long row, long rows) { end(local, {-1, group, row, rows}); });
    });
    weights();
  }

 private:
  static constexpr long W = kLanes<T>;

  struct Local {
    explicit Local(const Sizes<T>& s)
        : product(kPanelVectors * kChunk * W),
          d_after(kChunk * s.states * W),
          d_before(kChunk * s.states * W),
          held(kChunk * s.states * W),
          d_terms(kChunk * s.slots * W) {}
    Scratch<T> product, d_after, d_before, held, d_terms;
  };

  long place_of(long step) const { return place(o_.reverse, s_.steps, step); }
  T* d_state_tile(long block, long row) { return d_state_ + (block * s_.batch + row) * s_.states * W; }
  T* d_late_terms(long block, long row) { return d_late_terms_ + (block * s_.batch + row) * s_.slots * W; }
  bool is_live(long t, long row) const { return !o_.lengths || t < o_.lengths[row]; }

  void pack(const Team& team) {
    const View<T> early{o_.weight_hh, s_.units, 1}, late{o_.weight_hh + s_.early * s_.units * s_.units, s_.units, 1};
    for (auto [group, end] = team.share(columns_.groups.parts); group < end; ++group) {
      const long first = columns_.groups.begin(group) * W, vectors = columns_.groups.size(group);
      const long width = std::min(s_.units - first, vectors * W);
      pack_panel(early, s_.early * s_.units, first, width, vectors, packed_ + first * s_.early * s_.units);
      if (s_.late)
        pack_panel(late, s_.late * s_.units, first, width, vectors, packed_late_ + first * s_.late * s_.units);
    }
  }

  void begin(Team::Range rows, Team::Range blocks) {
    for (long block = blocks.begin; block < blocks.end; ++block)
      for (long row = rows.begin; row < rows.end; ++row)
        for (long part = 0; part < s_.states; ++part)
          store(d_state_tile(block, row) + part * W,
                get(g_.d_state[part] + row * s_.units + block * W, s_.lanes(block)));
  }

  // dE/d(operand) of a group from the gradients of some gates' recurrent terms, times the mask: [block][row][lane].
  void multiply(Local& local, const Chunk& c, long t, long first_gate, long gates, const T* packed) {
    const long first = columns_.groups.begin(c.group), count = columns_.groups.size(c.group), depth = gates * s_.units;
    const T* d_u = d_u_ + (t * s_.batch + c.row) * s_.width + first_gate * s_.units;
    tiles<T>(c.rows, count, d_u, s_.width, 1, packed + first * W * depth, depth, local.product, W, c.rows * W, false);
    if (!o_.recurrent_mask) return;
    for (long block = 0; block < count; ++block)
      for (long r = 0; r < c.rows; ++r) {
        T* value = local.product + (block * c.rows + r) * W;
        const T* mask = o_.recurrent_mask + (c.row + r) * s_.units + (first + block) * W;
        store(value, load(value) * get(mask, s_.lanes(first + block)));
      }
  }

  // The rows of a chunk that have not ended at a step; none past the last step.
  Chunk live(const Chunk& c, long step) const {
    return {c.step, c.group, c.row, step < s_.steps ? live_rows(o_, place_of(step), c.row, c.rows) : 0};
  }

  void early(Local& local, const Chunk& all) {
    const Chunk c = live(all, all.step), next = live(all, all.step + 1);
    if (next.rows > 0) multiply(local, next, place_of(c.step + 1), 0, s_.early, packed_);
    const long first = columns_.groups.begin(c.group), count = columns_.groups.size(c.group);
    for (long block = first; block < first + count; ++block) {
      const T* product = local.product + (block - first) * next.rows * W;
      for (long r = c.rows; r < all.rows; ++r)
        stand_still(c.step, block, c.row + r, r < next.rows ? product + r * W : nullptr);
      receive(local, c, block, product, next.rows);
      if (holds_back()) keep_held(local, c, block);
      T* d_terms = s_.late ? d_late_terms(block, c.row) : local.d_terms;
      T* d_state = d_state_tile(block, c.row);
      cell_.step_backward(c.rows, local.d_after, tape_.kept + s_.kept(c.step, block, c.row), d_terms, d_state);
      for (long i = 0; holds_back() && i < c.rows * s_.states * W; i += W)
        store(d_state + i, load(d_state + i) + load(local.held + i));
      hand_on(c, block, d_terms, s_.late ? s_.early : 0, s_.gates);
    }
  }

  bool holds_back() const { return o_.lengths || o_.zoneout; }

  // dE/d(state after the step): from the state, from the next step's products, and from the outputs.
  void receive(Local& local, const Chunk& c, long block, const T* product, long products) {
    const long t = place_of(c.step), lanes = s_.lanes(block), width = s_.states * W;
    const T* d_outputs = g_.d_outputs + (t * s_.batch + c.row) * s_.units + block * W;
    const T* d_state = d_state_tile(block, c.row);
    T* d_after = local.d_after;
    for (long r = 0; r < c.rows; ++r, d_outputs += s_.units, d_state += width, d_after += width) {
      Vector<T> d = load(d_state);
      if (r < products) d += load(product + r * W);
      if (is_live(t, c.row + r)) d += get(d_outputs, lanes);
      store(d_after, d);
      for (long part = W; part < width; part += W) store(d_after + part, load(d_state + part));
    }
  }

  // Past a sequence's end: the state's gradient stays, with what the next step's products add where that had not ended.
  void stand_still(long step, long block, long row, const T* product) {
    T* d_state = d_state_tile(block, row);
    if (product) store(d_state, load(d_state) + load(product));
    for (long gate = 0; gate < s_.gates; ++gate) {
      const long at = (place_of(step) * s_.batch + row) * s_.width + gate * s_.units + block * W;
      std::fill(g_.d_x + at, g_.d_x + at + s_.lanes(block), T(0));
      std::fill(d_u_ + at, d_u_ + at + s_.lanes(block), T(0));
    }
  }

  // Of dE/d(state after the step), take away what goes past the cell to the state before, and keep it.
  void keep_held(Local& local, const Chunk& c, long block) {
    const long t = place_of(c.step), lanes = s_.lanes(block);
    for (long r = 0; r < c.rows; ++r) {
      const long at = (t * s_.batch + c.row + r) * s_.units + block * W;
      for (long part = 0; part < s_.states; ++part) {
        T* d_after = local.d_after + (r * s_.states + part) * W;
        const Vector<T> d = load(d_after);
        Vector<T> held = is_live(t, c.row + r) ? Vector<T>{} : d;
        if (o_.zoneout && is_live(t, c.row + r)) held = get(o_.zoneout[part] + at, lanes) * d;
        store(local.held + (r * s_.states + part) * W, held);
        store(d_after, d - held);
      }
    }
  }

  void late(Local& local, const Chunk& all) {
    const Chunk c = live(all, all.step);
    if (c.rows == 0) return;
    multiply(local, c, place_of(c.step), s_.early, s_.late, packed_late_);
    const long first = columns_.groups.begin(c.group), count = columns_.groups.size(c.group);
    for (long block = first; block < first + count; ++block) {
      const T* d_operand = local.product + (block - first) * c.rows * W;
      cell_.late_operand_backward(c.rows, d_operand, tape_.late_kept + s_.late_kept(c.step, block, c.row),
                                  local.d_terms, local.d_before);
      T* d_terms = d_late_terms(block, c.row);
      for (long i = 0; i < c.rows * s_.slots * W; i += W)
        store(d_terms + i, load(d_terms + i) + load(local.d_terms + i));
      T* d_state = d_state_tile(block, c.row);
      for (long i = 0; i < c.rows * s_.states * W; i += W)
        store(d_state + i, load(d_state + i) + load(local.d_before + i));
      hand_on(c, block, d_terms, 0, s_.early);
    }
  }

  // Gradients of the terms of some gates, from tiles to the arrays that products read.
  void hand_on(const Chunk& c, long block, const T* d_terms, long first_gate, long end_gate) {
    const long lanes = s_.lanes(block), row_width = s_.slots * W;
    for (long gate = first_gate; gate < end_gate; ++gate) {
      const long at = (place_of(c.step) * s_.batch + c.row) * s_.width + gate * s_.units + block * W;
      const int apart = s_.apart_slot(int(gate));
      const T* d_x = d_terms + (apart < 0 ? gate : apart) * W;
      for (long r = 0; r < c.rows; ++r) put(g_.d_x + at + r * s_.width, load(d_x + r * row_width), lanes);
      if (d_u_ == g_.d_x) continue;
      for (long r = 0; r < c.rows; ++r) put(d_u_ + at + r * s_.width, load(d_terms + gate * W + r * row_width), lanes);
    }
  }

  void end(Local& local, const Chunk& c) {
    const Chunk next = live(c, 0);
    if (next.rows > 0) multiply(local, next, place_of(0), 0, s_.early, packed_);
    const long first = columns_.groups.begin(c.group), count = columns_.groups.size(c.group);
    for (long block = first; block < first + count; ++block)
      for (long r = 0; r < c.rows; ++r) {
        const long at = (c.row + r) * s_.units + block * W;
        T* d_state = d_state_tile(block, c.row + r);
        if (r < next.rows) store(d_state, load(d_state) + load(local.product + ((block - first) * next.rows + r) * W));
        for (long part = 0; part < s_.states; ++part)
          put(g_.d_initial_state[part] + at, load(d_state + part * W), s_.lanes(block));
      }
  }

  // The weights' gradients: one large product over all steps, and one more for the first step where its operand, the
  // initial state, does not lie beside the others.
  void weights() {
    const long all = s_.steps * s_.batch, early = s_.early * s_.units, late = s_.late * s_.units, H = s_.units;
    const ProductScratch<T> scratch(panel_numbers<T>(H, all), row_numbers<T>(s_.width, all));
    with_team(o_.threads, [&](const Team& team) {
      const auto gradient = [&](long gates_from, long rows, long from, long count, const T* operands, bool add) {
        const View<T> d_u{d_u_ + from * s_.width + gates_from, 1, s_.width};
        product(team, scratch, rows, H, count, d_u, View<T>{operands, H, 1},
                Result<T>{g_.d_weight_hh + gates_from * H, H}, add);
      };
      if (tape_.operands) {
        gradient(0, early, 0, all, tape_.operands, false);
      } else {
        const long first = place_of(0) * s_.batch, rest = o_.reverse ? 0 : s_.batch;
        gradient(0, early, first, s_.batch, o_.state[0], false);
        if (s_.steps > 1) gradient(0, early, rest, all - s_.batch, g_.outputs + (o_.reverse ? s_.batch : 0) * H, true);
      }
      if (s_.late) gradient(early, late, 0, all, tape_.late_operands, false);
      if (g_.d_bias_hh) sum_all_rows(team, d_u_, all, s_.width, g_.d_bias_hh);
    });
  }

  const UnrollOperands<T>& o_;
  const Sizes<T> s_;
  const UnrollTape<T>& tape_;
  const UnrollGradientArrays<T>& g_;
  const CellFunctions<T>& cell_;
  const Strips<T> columns_;
  Scratch<T> packed_, packed_late_, d_state_, d_late_terms_, d_u_apart_;
  T* const d_u_;
};

}  // namespace unrolled
