// Matrix products: panels of one operand packed once, and register tiles that run along them.
//
// A tile is R rows by V vectors of the result, held in registers while k runs: at each k it reads V vectors of a packed
// panel and R single numbers of the other operand. Every sum runs over k in order, whatever the tile's size and place,
// so that results do not depend on how rows and columns are shared out.

#pragma once

#include <algorithm>
#include <cstring>

#include "buffers.h"
#include "team.h"
#include "vector.h"

namespace unrolled {

// The widest panel, in vectors, and the most rows of a tile: as many accumulators as leave room for the operands.
constexpr int kPanelVectors = kRegisters == 32 ? 4 : 2;
constexpr int kMostRows = 8;
constexpr int most_rows(int vectors) { return kRegisters == 32 ? (vectors == 4 ? 6 : 8) : (vectors == 2 ? 6 : 8); }

inline long ceil_div(long a, long b) { return (a + b - 1) / b; }

// How `count` things are cut into as few parts of at most `most` as will do, as even as can be: the first parts have
// one more. A division takes as long as a small tile, so it is done once.
struct Cut {
  long count, parts, least, more;
  Cut(long count, long most)
      : count(count), parts(count <= most ? count > 0 : ceil_div(count, most)), least(count), more(0) {
    if (parts > 1) least = count / parts, more = count % parts;
  }
  long begin(long part) const { return least * part + std::min(part, more); }
  long size(long part) const { return least + (part < more); }
};

// c[r][v] = (add ? c[r][v] : 0) + sum over k of a[r, k] panel[k][v]; what stands `Ahead` bytes further on in the panel
// is asked for in time.
template <class T, int R, int V, int Ahead = 0>
void tile(const T* a, long a_row, long a_step, const T* panel, long panel_step, long depth, T* c, long c_row,
          long c_vector, bool add) {
  constexpr int W = kLanes<T>;
  Vector<T> sum[R][V];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[r][v] = Vector<T>{};
  for (long k = 0; k < depth; ++k) {
    Vector<T> b[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      if constexpr (Ahead > 0) __builtin_prefetch(panel + v * W + Ahead / int(sizeof(T)));
      b[v] = load(panel + v * W);
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const Vector<T> one = splat(a[r * a_row]);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) sum[r][v] = fused(one, b[v], sum[r][v]);
    }
    a += a_step;
    panel += panel_step;
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      T* to = c + r * c_row + v * c_vector;
      store(to, add ? load(to) + sum[r][v] : sum[r][v]);  // a sum of sums loses less than one long sum
    }
}

template <class T>
using Tile = void (*)(const T*, long, long, const T*, long, long, T*, long, long, bool);

template <class T, int V, int... R>
Tile<T> tile_of_rows(int rows, std::integer_sequence<int, R...>) {
  static constexpr Tile<T> all[] = {(R < most_rows(V) ? tile<T, R + 1, V> : nullptr)...};
  return all[rows - 1];
}

template <class T>
Tile<T> tile_for(long rows, long vectors) {
  constexpr auto all = std::make_integer_sequence<int, kMostRows>();
  if (vectors == 1) return tile_of_rows<T, 1>(int(rows), all);
  if (vectors == 2) return tile_of_rows<T, 2>(int(rows), all);
  if constexpr (kPanelVectors == 4) {
    if (vectors == 3) return tile_of_rows<T, 3>(int(rows), all);
    return tile_of_rows<T, 4>(int(rows), all);
  }
  return nullptr;
}

// For one row along panels that come from memory: so far ahead they are asked for, which a core does not do by itself.
constexpr int kAhead = 4096;

template <class T>
Tile<T> far_tile_for(long vectors) {
  if (vectors == 1) return tile<T, 1, 1, kAhead>;
  if (vectors == 2) return tile<T, 1, 2, kAhead>;
  if (vectors == 3) return tile<T, 1, 3, kAhead>;
  return tile<T, 1, 4, kAhead>;
}

// Tiles over any number of rows, cut as even as can be. is_far: the panel is in no cache.
template <class T>
void tiles(long rows, long vectors, const T* a, long a_row, long a_step, const T* panel, long depth, T* c, long c_row,
           long c_vector, bool add, bool is_far = false) {
  if (rows == 1 && is_far) {
    far_tile_for<T>(vectors)(a, a_row, a_step, panel, vectors * kLanes<T>, depth, c, c_row, c_vector, add);
    return;
  }
  const Cut cut(rows, most_rows(int(vectors)));
  for (long part = 0; part < cut.parts; ++part) {
    const long r = cut.begin(part);
    tile_for<T>(cut.size(part), vectors)(a + r * a_row, a_row, a_step, panel, vectors * kLanes<T>, depth, c + r * c_row,
                                         c_row, c_vector, add);
  }
}

// An operand in memory: element (i, j) at at[i * row + j * column], times scale[i] where there is one (right operands
// only).
template <class T>
struct View {
  const T* at;
  long row, column;
  bool is_padded = false;  // rows may be read up to whole vectors
  const T* scale = nullptr;
  const T* operator()(long i, long j) const { return at + i * row + j * column; }
  View from(long i, long j) const { return {(*this)(i, j), row, column, is_padded, scale ? scale + i : nullptr}; }
};

// The first `width` columns of b, depth rows, as one vector of a panel whose rows are `stride` long; zeros past the
// width. Its columns lie apart; rows of a column that lie side by side are read as vectors, and turned.
template <class T>
void pack_vector(View<T> b, long depth, long width, T* to, long stride) {
  constexpr long W = kLanes<T>;
  Vector<T> square[W];
  long k = 0;
  for (; b.row == 1 && k + W <= depth; k += W) {
    for (long n = 0; n < W; ++n) square[n] = n < width ? load(b(k, n)) : Vector<T>{};
    transpose(square);
    for (long i = 0; i < W; ++i) store(to + (k + i) * stride, square[i]);
  }
  for (; k < depth; ++k)
    for (long n = 0; n < W; ++n) to[k * stride + n] = n < width ? *b(k, n) : T(0);
}

// Columns [first, first + width) of b, depth rows, as a panel of `vectors` vectors a row; zeros past the width.
template <class T>
void pack_panel(View<T> b, long depth, long first, long width, long vectors, T* panel) {
  constexpr long W = kLanes<T>;
  const long stride = vectors * W;
  if (b.column != 1) {
    for (long v = 0; v < vectors; ++v)
      pack_vector(b.from(0, first + v * W), depth, std::min(W, width - v * W), panel + v * W, stride);
    return;
  }
  for (long k = 0; k < depth; ++k, panel += stride) {
    const T* from = b(k, first);
    if (width == stride) {
      for (long v = 0; v < vectors; ++v) store(panel + v * W, load(from + v * W));
    } else {
      std::copy(from, from + width, panel);
      std::fill(panel + width, panel + stride, T(0));
    }
    for (long v = 0; b.scale && v < vectors; ++v) store(panel + v * W, load(panel + v * W) * b.scale[k]);
  }
}

// Rows [first, first + rows) of a, of `all` in all, depth columns, with the rows of one column side by side.
template <class T>
void pack_rows(View<T> a, long first, long rows, long all, long depth, T* to) {
  long k = 0;
  if (a.row == 1 && first + kMostRows <= all)  // a few rows too many at once, which the next column overwrites
    for (; k + kMostRows < depth; ++k) std::memcpy(to + k * rows, a(first, k), kMostRows * sizeof(T));
  for (; k < depth; ++k)
    for (long r = 0; r < rows; ++r) to[k * rows + r] = *a(first + r, k);
}

// Whether tiles may read rows of a as they lie: along k, or across it where the lines that one tile reads are spread
// over the first cache and not too far apart.
template <class T>
bool is_ready(View<T> a) {
  constexpr long kLine = 64, kFar = 2048;
  const long apart = a.column * long(sizeof(T));
  return a.column == 1 || (a.row == 1 && apart <= kFar && apart % (4 * kLine) != 0);
}

// Write or read the first lanes of a vector, all of them or as many as there are.
template <class T>
inline void put(T* to, Vector<T> vector, long lanes) {
  if (lanes == kLanes<T>) {
    store(to, vector);
  } else {
    T all[kLanes<T>];
    store(all, vector);
    std::copy(all, all + lanes, to);
  }
}

template <class T>
inline Vector<T> get(const T* from, long lanes) {
  if (lanes == kLanes<T>) return load(from);
  T all[kLanes<T>] = {};
  std::copy(from, from + lanes, all);
  return load(all);
}

// The result of a product: c[i * row + j], rows by columns.
template <class T>
struct Result {
  T* at;
  long row;
};

constexpr long kDepth = 1024;     // of a slab: k that is run over at once
constexpr long kRowsAtOnce = 96;  // of the left operand that stay in the second cache while panels pass

// Numbers of the packed slabs of a product: of the right operand, and of the left one where its rows do not lie ready.
template <class T>
long panel_numbers(long n, long depth) {
  return std::min(depth, kDepth) * ceil_div(n, kLanes<T>) * kLanes<T>;
}
template <class T>
long row_numbers(long m, long depth) {
  return std::min(depth, kDepth) * m;
}

template <class T>
struct ProductScratch {
  ProductScratch(long panel_numbers, long row_numbers) : panels(panel_numbers), rows(row_numbers) {}
  Scratch<T> panels, rows;
};

// c = (add ? c : 0) + a b, for a (m, depth) and b (depth, n), by the whole team. All threads must call it.
template <class T>
void product(const Team& team, const ProductScratch<T>& scratch, long m, long n, long depth, View<T> a, View<T> b,
             Result<T> c, bool add) {
  constexpr long W = kLanes<T>;
  const Cut panels(ceil_div(n, W), kPanelVectors);
  const bool packs_rows = !is_ready(a), packs_panels = !(b.is_padded && b.column == 1 && !b.scale);
  const Cut blocks(m, most_rows(kPanelVectors));
  for (long k0 = 0; k0 < depth; k0 += kDepth) {
    const long slab = std::min(kDepth, depth - k0);
    team.wait();  // until nobody reads the slab before
    for (auto [p, end] = team.share(packs_panels ? panels.parts : 0); p < end; ++p) {
      const long first = panels.begin(p) * W, vectors = panels.size(p);
      pack_panel(b.from(k0, 0), slab, first, std::min(n - first, vectors * W), vectors, scratch.panels + first * slab);
    }
    if (packs_rows) {
      for (auto [i, end] = team.share(blocks.parts); i < end; ++i)
        pack_rows(a.from(0, k0), blocks.begin(i), blocks.size(i), m, slab, scratch.rows + blocks.begin(i) * slab);
    }
    team.wait();
    const bool adds = add || k0 > 0;
    // Share out what there is more of, tiles by rows or panels.
    const bool by_rows = blocks.parts >= panels.parts * 2 || blocks.parts >= 8 * team.size;
    const auto [block0, block1] = by_rows ? team.share(blocks.parts) : Team::Range{0, blocks.parts};
    const auto [panel0, panel1] = by_rows ? Team::Range{0, panels.parts} : team.share(panels.parts);
    constexpr long kBlocksAtOnce = kRowsAtOnce / most_rows(kPanelVectors);
    for (long i0 = block0; i0 < block1; i0 += kBlocksAtOnce) {
      const long i1 = std::min(block1, i0 + kBlocksAtOnce);
      for (long p = panel0; p < panel1; ++p) {
        const long first = panels.begin(p) * W, vectors = panels.size(p);
        const T* panel = packs_panels ? scratch.panels + first * slab : b(k0, first);
        const long panel_step = packs_panels ? vectors * W : b.row;
        const long width = std::min(n - first, vectors * W);
        for (long i = i0; i < i1; ++i) {
          const long r = blocks.begin(i), rows = blocks.size(i);
          const T* from = packs_rows ? scratch.rows + r * slab : a(r, k0);
          const long a_row = packs_rows ? 1 : a.row, a_step = packs_rows ? rows : a.column;
          T* to = c.at + r * c.row + first;
          const Tile<T> run = tile_for<T>(rows, vectors);
          if (width == vectors * W) {
            run(from, a_row, a_step, panel, panel_step, slab, to, c.row, W, adds);
            continue;
          }
          T edge[kMostRows * kPanelVectors * W];
          for (long row = 0; adds && row < rows; ++row)
            std::copy(to + row * c.row, to + row * c.row + width, edge + row * vectors * W);
          run(from, a_row, a_step, panel, panel_step, slab, edge, vectors * W, W, adds);
          for (long row = 0; row < rows; ++row)
            std::copy(edge + row * vectors * W, edge + row * vectors * W + width, to + row * c.row);
        }
      }
    }
  }
}

}  // namespace unrolled
