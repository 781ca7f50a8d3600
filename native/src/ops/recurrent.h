// The cells of recurrent layers, one unit of one row, and their derivatives; written once for every device. Included inside a device's
// namespace after its maths (msigmoid, mtanh). A is what is computed in.

/** c = f c' + i g, h = o tanh c (Hochreiter and Schmidhuber 1997; forget gate of Gers et al. 2000). */
template <class A>
struct LstmUnit {
  A i, f, g, o;  // active gates
  static ANNEAL_FN LstmUnit of(A i, A f, A g, A o) { return {msigmoid(i), msigmoid(f), mtanh(g), msigmoid(o)}; }
  ANNEAL_FN A cell(A before) const { return f * before + i * g; }
  ANNEAL_FN A hidden(A c) const { return o * mtanh(c); }
  /** From the gradients of h and c to those of the gates before their functions; dc becomes that of the cell before. */
  ANNEAL_FN LstmUnit grad(A before, A c, A dh, A& dc) const {
    const A t = mtanh(c), d = dc + dh * o * (A(1) - t * t);
    dc = d * f;
    return {d * g * i * (A(1) - i), d * before * f * (A(1) - f), d * i * (A(1) - g * g), dh * t * o * (A(1) - o)};
  }
};

/** h = (1 - z) n + z h', n = tanh(x_n + r h_n) (Cho et al. 2014, with the reset gate behind the product, as cuDNN and PyTorch). */
template <class A>
struct GruUnit {
  A r, z, n, hn;  // active gates, and the hidden part of n before the reset gate
  static ANNEAL_FN GruUnit of(A xr, A xz, A xn, A hr, A hz, A hn) {
    const A r = msigmoid(xr + hr);
    return {r, msigmoid(xz + hz), mtanh(xn + r * hn), hn};
  }
  ANNEAL_FN A hidden(A before) const { return (A(1) - z) * n + z * before; }
  /** Gradients of the sums before r, z and n, from that of h; `hn` holds the one of h_n. That of h' is dh z beside what comes by h_n. */
  ANNEAL_FN GruUnit grad(A before, A dh) const {
    const A dn = dh * (A(1) - z) * (A(1) - n * n);
    return {dn * hn * r * (A(1) - r), dh * (before - n) * z * (A(1) - z), dn, dn * r};
  }
};

/** h = tanh a, or relu a (Elman 1990). */
template <class A>
struct RnnUnit {
  static ANNEAL_FN A hidden(A a, bool relu) { return relu ? (a > A(0) ? a : (a != a ? a : A(0))) : mtanh(a); }
  static ANNEAL_FN A grad(A h, A dh, bool relu) { return relu ? (h > A(0) ? dh : A(0)) : dh * (A(1) - h * h); }
};
