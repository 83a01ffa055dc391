// A cell over time: what the way there and the way back share.
//
// Units are cut into blocks of one vector. A panel of packed weights makes all gates of a block (or the one gate of
// several blocks), so that the cell's functions run on a tile right after its product, while it is in the first cache.
// Threads share either sequences, where the weights fit a core's second cache (no thread ever waits), or units (they
// meet once a step).

#pragma once

#include <type_traits>

#include "kernels.h"
#include "product.h"

namespace unrolled {

constexpr long kChunk = 48;                     // sequences whose tiles are in the first cache together
constexpr long kSecondCache = long(640) << 10;  // bytes of weights that a core can keep to itself
constexpr long kWorthATeam = 16384;  // multiplications a step below which a second thread only gets in the way

template <class T>
struct Sizes {
  explicit Sizes(const UnrollOperands<T>& o)
      : cell(*o.cell),
        steps(o.T),
        batch(o.B),
        units(o.H),
        blocks(ceil_div(o.H, kLanes<T>)),
        gates(cell.gates),
        early(cell.gates - cell.late),
        late(cell.late),
        slots(cell.gates + cell.apart),
        states(cell.states),
        width(gates * units) {}

  const CompiledCell& cell;
  long steps, batch, units;
  long blocks;                     // of units
  long gates, early, late, slots;  // slots: operands in a row of terms
  long states;
  long width;  // G*H
  static constexpr long W = kLanes<T>;

  long lanes(long block) const { return std::min(W, units - block * W); }
  long kept(long step, long block, long row) const { return ((step * blocks + block) * batch + row) * cell.kept * W; }
  long late_kept(long step, long block, long row) const {
    return ((step * blocks + block) * batch + row) * cell.late_kept * W;
  }
  // The slot in which a gate's input term stands by itself, or -1.
  int apart_slot(int gate) const {
    for (int i = 0; i < cell.apart; ++i)
      if (cell.apart_gates[i] == gate) return int(gates) + i;
    return -1;
  }
};

template <class T>
const CellFunctions<T>& functions(const CompiledCell& cell) {
  if constexpr (std::is_same_v<T, float>)
    return cell.f32;
  else
    return cell.f64;
}

// Where in the sequence step number `step` reads and writes.
inline long place(bool reverse, long steps, long step) { return reverse ? steps - 1 - step : step; }

// How many of the rows [row, row + rows) have to be looked at where t is read: all up to the last that has not ended.
// Where sequences come longest first, no padding costs time.
template <class T>
long live_rows(const UnrollOperands<T>& o, long t, long row, long rows) {
  while (o.lengths && rows > 0 && t >= o.lengths[row + rows - 1]) --rows;
  return rows;
}

// Some sequences and one group of blocks of units at one step.
struct Chunk {
  long step, group, row, rows;
};

// Who does what: sequences are shared, or units.
struct Shares {
  Shares(const Team& team, bool by_rows, long batch)
      : by_rows(by_rows), rows(by_rows ? team.share(batch) : Team::Range{0, batch}) {}
  bool by_rows;
  Team::Range rows;
  Team::Range of(const Team& team, long parts) const { return by_rows ? Team::Range{0, parts} : team.share(parts); }
  void wait(const Team& team) const {
    if (!by_rows) team.wait();
  }
};

// Call body(group, first row, rows) for all groups and chunks of rows.
template <class Body>
void each_chunk(Team::Range groups, Team::Range rows, const Body& body) {
  for (long group = groups.begin; group < groups.end; ++group)
    for (long row = rows.begin; row < rows.end; row += kChunk) body(group, row, std::min(kChunk, rows.end - row));
}

template <class T>
bool share_rows(const Sizes<T>& s, int threads) {
  return s.batch >= 2 * threads && s.width * s.blocks * s.W * long(sizeof(T)) <= kSecondCache;
}

template <class T>
int useful_threads(const Sizes<T>& s, int threads) {
  return s.batch * s.width * s.units < kWorthATeam ? 1 : threads;
}

// How the products of a time step are cut: groups of blocks of units, each with strips of up to kPanelVectors vectors
// that one run of tiles makes. With one gate a strip has several blocks; with more it has gates of one block.
template <class T>
struct Strips {
  Strips(long blocks, long gates)
      : gates(gates),
        across_blocks(gates == 1),
        groups(blocks, across_blocks ? kPanelVectors : 1),
        gate_cut(gates, kPanelVectors) {}
  long gates;
  bool across_blocks;
  Cut groups, gate_cut;

  long strips() const { return across_blocks ? 1 : gate_cut.parts; }
  long vectors(long group, long strip) const { return across_blocks ? groups.size(group) : gate_cut.size(strip); }
  long first_gate(long strip) const { return across_blocks ? 0 : gate_cut.begin(strip); }
  // Where the packed weights of a strip begin, for `depth` numbers along the product.
  long offset(long group, long strip, long depth) const {
    return (groups.begin(group) * gates + first_gate(strip)) * kLanes<T> * depth;
  }
};

// Pack the rows of a weight matrix (gates * units, depth), one for each unit of each gate, as the strips of some
// groups.
template <class T>
void pack_strips(const Strips<T>& strips, const T* weight, long units, long depth, Team::Range groups, T* packed) {
  constexpr long W = kLanes<T>;
  for (long group = groups.begin; group < groups.end; ++group) {
    for (long strip = 0; strip < strips.strips(); ++strip) {
      const long vectors = strips.vectors(group, strip);
      T* panel = packed + strips.offset(group, strip, depth);
      for (long v = 0; v < vectors; ++v) {
        const long block = strips.groups.begin(group) + (strips.across_blocks ? v : 0);
        const long gate = strips.first_gate(strip) + (strips.across_blocks ? 0 : v);
        const View<T> columns{weight + (gate * units + block * W) * depth, 1, depth};
        pack_vector(columns, depth, std::min(W, units - block * W), panel + v * W, vectors * W);
      }
    }
  }
}

}  // namespace unrolled
