// The elementwise losses and their derivatives, written once for every device. Included inside a device's namespace after its maths (mexp,
// mlog, msigmoid, expNegative).

// f: the loss of one element; dx, dt: its derivatives. p: the loss's parameter; q: the weight of positives (BCE).

struct Mse {
  template <class A> static ANNEAL_FN A f(A x, A t, A, A) { return (x - t) * (x - t); }
  template <class A> static ANNEAL_FN A dx(A x, A t, A, A) { return A(2) * (x - t); }
  template <class A> static ANNEAL_FN A dt(A x, A t, A, A) { return A(2) * (t - x); }
};
struct L1 {
  template <class A> static ANNEAL_FN A f(A x, A t, A, A) { return x < t ? t - x : x - t; }
  template <class A> static ANNEAL_FN A dx(A x, A t, A, A) { return x > t ? A(1) : (x < t ? A(-1) : A(0) * (x - t)); }
  template <class A> static ANNEAL_FN A dt(A x, A t, A p, A q) { return -dx(x, t, p, q); }
};
/** d^2/2 up to delta = p, then p (|d| - p/2). */
struct Huber {
  template <class A> static ANNEAL_FN A f(A x, A t, A p, A) {
    const A d = x < t ? t - x : x - t;
    return d <= p ? A(0.5) * d * d : p * (d - A(0.5) * p);
  }
  template <class A> static ANNEAL_FN A dx(A x, A t, A p, A) {
    const A d = x - t;
    return d > p ? p : (d < -p ? -p : d);
  }
  template <class A> static ANNEAL_FN A dt(A x, A t, A p, A q) { return -dx(x, t, p, q); }
};
/** (1-t) x + (1 + (q-1) t) log(1 + e^-x); derivatives (1 + (q-1) t) sigmoid(x) - q t and -x + (q-1) log(1 + e^-x). */
struct Bce {
  template <class A> static ANNEAL_FN A softplus(A x) {
    const A e = expNegative(x > A(0) ? -x : x), u = A(1) + e;  // u is in [1, 2]: log(1 + e) needs none of mlog1p's cases
    return (x > A(0) ? x : A(0)) + mlog(u) + (e - (u - A(1))) / u;
  }
  template <class A> static ANNEAL_FN A f(A x, A t, A, A q) { return (A(1) - t) * x + (A(1) + (q - A(1)) * t) * softplus(-x); }
  template <class A> static ANNEAL_FN A dx(A x, A t, A, A q) { return (A(1) + (q - A(1)) * t) * msigmoid(x) - q * t; }
  template <class A> static ANNEAL_FN A dt(A x, A, A, A q) { return (q - A(1)) * softplus(-x) - x; }
};
/** x is a log-probability, t a probability: t (log t - x), 0 where t is. */
struct Kl {
  template <class A> static ANNEAL_FN A f(A x, A t, A, A) { return t == A(0) ? A(0) : t * (mlog(t) - x); }
  template <class A> static ANNEAL_FN A dx(A, A t, A, A) { return -t; }
  template <class A> static ANNEAL_FN A dt(A x, A t, A, A) { return mlog(t) + A(1) - x; }
};
/** Both are log-probabilities: e^t (t - x). */
struct KlLog {
  template <class A> static ANNEAL_FN A f(A x, A t, A, A) { return mexp(t) * (t - x); }
  template <class A> static ANNEAL_FN A dx(A, A t, A, A) { return -mexp(t); }
  template <class A> static ANNEAL_FN A dt(A x, A t, A, A) { return mexp(t) * (t - x + A(1)); }
};

#define ANNEAL_LOSSES(ROW) \
  ROW(mse, Mse)            \
  ROW(l1, L1)              \
  ROW(huber, Huber)        \
  ROW(bceWithLogits, Bce)  \
  ROW(kl, Kl)              \
  ROW(klLog, KlLog)
