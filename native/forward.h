// A cell over time, the way there.

#pragma once

#include "recurrence.h"

namespace unrolled {

template <class T>
class Forward {
 public:
  Forward(const UnrollOperands<T>& o, const UnrollTape<T>& tape, T* outputs, T* const* last_state)
      : o_(o),
        s_(o),
        tape_(tape),
        outputs_(outputs),
        last_state_(last_state),
        cell_(functions<T>(*o.cell)),
        early_(s_.blocks, s_.early),
        late_(s_.blocks, std::max(1L, s_.late)),
        packed_(s_.blocks * W * s_.early * s_.units),
        packed_late_(s_.blocks * W * s_.late * s_.units),
        bias_(s_.gates * s_.blocks * W),
        state_(s_.blocks * s_.batch * s_.states * W),
        late_terms_(s_.late ? s_.blocks * s_.batch * s_.slots * W : 0) {}

  void run() {
    const int threads = useful_threads(s_, o_.threads);
    const bool by_rows = share_rows(s_, threads);
    with_team(threads, [&](const Team& team) {
      const Shares mine(team, by_rows, s_.batch);
      const Team::Range groups = mine.of(team, early_.groups.parts), late_groups = mine.of(team, late_.groups.parts);
      Local local(s_);
      pack(team);
      begin(mine.rows, mine.of(team, s_.blocks));
      team.wait();
      for (long step = 0; step < s_.steps; ++step) {
        each_chunk(groups, mine.rows, [&](long group, long row, long rows) { early(local, {step, group, row, rows}); });
        mine.wait(team);
        if (s_.late == 0) continue;
        each_chunk(late_groups, mine.rows,
                   [&](long group, long row, long rows) { late(local, {step, group, row, rows}); });
        mine.wait(team);
      }
      end(mine.rows, mine.of(team, s_.blocks));
    });
  }

 private:
  static constexpr long W = kLanes<T>;

  // What one thread needs for one chunk.
  struct Local {
    explicit Local(const Sizes<T>& s)
        : terms(kPanelVectors * kChunk * s.slots * W),
          operand(kChunk * W),
          next(kChunk * s.states * W),
          kept(kChunk * std::max(s.cell.kept, s.cell.late_kept) * W) {}
    Scratch<T> terms, operand, next, kept;
  };

  long place_of(long step) const { return place(o_.reverse, s_.steps, step); }
  T* state_tile(long block, long row) { return state_ + (block * s_.batch + row) * s_.states * W; }
  bool is_live(long t, long row) const { return !o_.lengths || t < o_.lengths[row]; }

  void pack(const Team& team) {
    const T* late = o_.weight_hh + s_.early * s_.units * s_.units;
    pack_strips<T>(early_, o_.weight_hh, s_.units, s_.units, team.share(early_.groups.parts), packed_);
    if (s_.late) pack_strips<T>(late_, late, s_.units, s_.units, team.share(late_.groups.parts), packed_late_);
    if (team.rank != 0) return;
    std::fill(bias_ + 0, bias_ + s_.gates * s_.blocks * W, T(0));
    for (long gate = 0; o_.bias_hh && gate < s_.gates; ++gate)
      std::copy(o_.bias_hh + gate * s_.units, o_.bias_hh + (gate + 1) * s_.units, bias_ + gate * s_.blocks * W);
  }

  // The initial state as tiles, and the first operand where operands are kept apart from the outputs.
  void begin(Team::Range rows, Team::Range blocks) {
    for (long block = blocks.begin; block < blocks.end; ++block)
      for (long row = rows.begin; row < rows.end; ++row) {
        for (long part = 0; part < s_.states; ++part)
          store(state_tile(block, row) + part * W, get(o_.state[part] + row * s_.units + block * W, s_.lanes(block)));
        if (tape_.operands) put_operand(tape_.operands, place_of(0), block, row, load(state_tile(block, row)));
      }
  }

  void end(Team::Range rows, Team::Range blocks) {
    for (long block = blocks.begin; block < blocks.end; ++block)
      for (long row = rows.begin; row < rows.end; ++row)
        for (long part = 0; part < s_.states; ++part)
          put(last_state_[part] + row * s_.units + block * W, load(state_tile(block, row) + part * W), s_.lanes(block));
  }

  void put_operand(T* operands, long t, long block, long row, Vector<T> value) {
    const long lanes = s_.lanes(block);
    if (o_.recurrent_mask) value *= get(o_.recurrent_mask + row * s_.units + block * W, lanes);
    put(operands + (t * s_.batch + row) * s_.units + block * W, value, lanes);
  }

  // What the recurrent products of a step act on, (B, H).
  const T* operand(long step) const {
    const long size = s_.batch * s_.units;
    if (tape_.operands) return tape_.operands + place_of(step) * size;
    return step == 0 ? o_.state[0] : outputs_ + place_of(step - 1) * size;
  }

  // The products of a group: for each block a tile [row][slot][lane], `block_size` numbers apart.
  void multiply(const Strips<T>& strips, const Chunk& c, const T* operand, const T* packed, T* terms, long block_size) {
    const long width = s_.slots * W;
    for (long strip = 0; strip < strips.strips(); ++strip)
      tiles<T>(c.rows, strips.vectors(c.group, strip), operand + c.row * s_.units, s_.units, 1,
               packed + strips.offset(c.group, strip, s_.units), s_.units, terms + strips.first_gate(strip) * W, width,
               strips.across_blocks ? block_size : W, false);
  }

  Chunk live(const Chunk& c) const { return {c.step, c.group, c.row, live_rows(o_, place_of(c.step), c.row, c.rows)}; }

  void early(Local& local, const Chunk& all) {
    const Chunk c = live(all);
    const long first = early_.groups.begin(c.group), count = early_.groups.size(c.group);
    for (long block = first; block < first + count; ++block)
      for (long row = c.row + c.rows; row < all.row + all.rows; ++row) {
        stand_still(c.step, block, row);
        if (s_.late) clear(tape_.late_operands, c.step, block, row);  // what the weights' gradient multiplies by zero
      }
    T* terms = s_.late ? late_terms(first, c.row) : local.terms;
    const long block_size = (s_.late ? s_.batch : c.rows) * s_.slots * W;
    multiply(early_, c, operand(c.step), packed_, terms, block_size);
    for (long block = first; block < first + count; ++block, terms += block_size) {
      for (long gate = 0; gate < s_.early; ++gate) add_input(c, block, gate, terms);
      if (s_.late)
        make_late_operand(local, c, block, terms);
      else
        advance(local, c, block, terms);
    }
  }

  T* late_terms(long block, long row) { return late_terms_ + (block * s_.batch + row) * s_.slots * W; }

  void make_late_operand(Local& local, const Chunk& c, long block, const T* terms) {
    T* kept = tape_.late_kept ? tape_.late_kept + s_.late_kept(c.step, block, c.row) : local.kept;
    cell_.late_operand(c.rows, terms, state_tile(block, c.row), local.operand, kept);
    for (long r = 0; r < c.rows; ++r)
      put_operand(tape_.late_operands, place_of(c.step), block, c.row + r, load(local.operand + r * W));
  }

  void late(Local& local, const Chunk& all) {
    const Chunk c = live(all);
    const long first = late_.groups.begin(c.group), count = late_.groups.size(c.group);
    const T* operand = tape_.late_operands + place_of(c.step) * s_.batch * s_.units;
    multiply(late_, c, operand, packed_late_, late_terms(first, c.row) + s_.early * W, s_.batch * s_.slots * W);
    for (long block = first; block < first + count; ++block) {
      T* terms = late_terms(block, c.row);
      for (long gate = s_.early; gate < s_.gates; ++gate) add_input(c, block, gate, terms);
      advance(local, c, block, terms);
    }
  }

  // Add x and the recurrent bias to a gate's products; x stands by itself where the gate is apart.
  void add_input(const Chunk& c, long block, long gate, T* terms) {
    const Vector<T> bias = load(bias_ + (gate * s_.blocks + block) * W);
    const int apart = s_.apart_slot(int(gate));
    const long lanes = s_.lanes(block), t = place_of(c.step);
    const long first = t * s_.batch + c.row;
    const T* x = o_.x + gate * s_.units + block * W;
    for (long r = 0; r < c.rows; ++r, terms += s_.slots * W) {
      const long at = (o_.rows ? o_.rows[first + r] : first + r) * s_.width;
      const Vector<T> input = is_live(t, c.row + r) ? get(x + at, lanes) : Vector<T>{};  // padding may hold anything
      const Vector<T> product = load(terms + gate * W) + bias;
      store(terms + gate * W, apart < 0 ? product + input : product);
      if (apart >= 0) store(terms + apart * W, input);
    }
  }

  // The cell's step on a tile, and what others read of it.
  void advance(Local& local, const Chunk& c, long block, const T* terms) {
    T* state = state_tile(block, c.row);
    T* kept = tape_.kept ? tape_.kept + s_.kept(c.step, block, c.row) : local.kept;
    if (tape_.operands) {
      cell_.step(c.rows, terms, state, local.next, kept);
      for (long r = 0; r < c.rows; ++r) hold_back(c.step, block, c.row + r, local.next + r * s_.states * W);
      return;
    }
    cell_.step(c.rows, terms, state, state, kept);
    T* out = outputs_ + (place_of(c.step) * s_.batch + c.row) * s_.units + block * W;
    for (long r = 0; r < c.rows; ++r) put(out + r * s_.units, load(state + r * s_.states * W), s_.lanes(block));
  }

  // Past a sequence's end its state stands still and its output is zero.
  void stand_still(long step, long block, long row) {
    if (step + 1 < s_.steps) put_operand(tape_.operands, place_of(step + 1), block, row, load(state_tile(block, row)));
    clear(outputs_, step, block, row);
  }

  void clear(T* arrays, long step, long block, long row) {
    T* at = arrays + (place_of(step) * s_.batch + row) * s_.units + block * W;
    std::fill(at, at + s_.lanes(block), T(0));
  }

  // What zoneout holds back of a new state, and ends between sequences that have not ended.
  void hold_back(long step, long block, long row, const T* next) {
    const long t = place_of(step), lanes = s_.lanes(block), at = (t * s_.batch + row) * s_.units + block * W;
    T* state = state_tile(block, row);
    if (!is_live(t, row)) return stand_still(step, block, row);
    for (long part = 0; part < s_.states; ++part) {
      Vector<T> value = load(next + part * W);
      if (o_.zoneout) value += get(o_.zoneout[part] + at, lanes) * (load(state + part * W) - value);
      store(state + part * W, value);
    }
    if (step + 1 < s_.steps) put_operand(tape_.operands, place_of(step + 1), block, row, load(state));
    put(outputs_ + at, load(state), lanes);
  }

  const UnrollOperands<T>& o_;
  const Sizes<T> s_;
  const UnrollTape<T>& tape_;
  T* const outputs_;
  T* const* const last_state_;
  const CellFunctions<T>& cell_;
  const Strips<T> early_, late_;
  Scratch<T> packed_, packed_late_, bias_, state_, late_terms_;
};

}  // namespace unrolled
