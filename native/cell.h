// What a compiled cell is: the cell's own lines of Python, printed as functions over tiles.
//
// A tile is what R rows (sequences) have in one block of kLanes units: for each row its operands side by side, a vector
// each, [row][operand][lane], without gaps. Functions read whole tiles and write whole tiles, know neither time nor
// weights, and may be called for any number of rows. `after` may be `before`; no other tiles overlap.

#pragma once

namespace unrolled {

// The terms of a row stand in the order in which products make them: for each gate in order a[k], or u[k] where the
// gate is apart; after these a[k] = x[k] of each apart gate. So the GRU's terms are a_r, a_z, u_n, x_n. Gradients of
// terms likewise.
template <class T>
struct CellFunctions {
  // terms; before, after: the parts of the state; kept: for the way back.
  void (*step)(long rows, const T* terms, const T* before, T* after, T* kept);
  // d_after, kept -> d_terms and d_before, dE/d(state at t-1).
  void (*step_backward)(long rows, const T* d_after, const T* kept, T* d_terms, T* d_before);
  // Null without late gates. terms: as above, of which those of late gates are not there yet; operand: p.
  void (*late_operand)(long rows, const T* terms, const T* before, T* operand, T* late_kept);
  // d_operand, late_kept -> d_terms: as above, zero where nothing flows (late gates always); d_before.
  void (*late_operand_backward)(long rows, const T* d_operand, const T* late_kept, T* d_terms, T* d_before);
};

constexpr int kMostGates = 16;

struct CompiledCell {
  const char* digest;  // of the printed text: tells whether this is still what the cell's lines say
  int lanes;           // of float, so that a cell compiled for another instruction set is refused
  int gates, apart, late, states, kept, late_kept;
  int apart_gates[kMostGates];  // which gates are apart, in order
  CellFunctions<float> f32;
  CellFunctions<double> f64;
};

}  // namespace unrolled
