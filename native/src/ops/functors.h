// Elementwise functions, written once for every device. `f` is the function; `df` the gradient from the incoming one `g` and the value
// that the op saves (its input x or its output y, as `saves` says). Included inside a device's namespace after its maths (mexp, ...).
// `p` and `q` are the op's scalar attributes.

enum class Saves { nothing, input, output };

#define ANNEAL_UNARY(Name, SAVES, F, DF)                                     \
  struct Name {                                                              \
    static constexpr Saves saves = Saves::SAVES;                             \
    template <class A> static ANNEAL_FN A f(A x, A p, A q) { (void)p; (void)q; return F; }            \
    template <class A> static ANNEAL_FN A df(A g, A s, A p, A q) { (void)p; (void)q; (void)s; return DF; }     \
  };

// d/dx, with s = what is saved
ANNEAL_UNARY(Neg, nothing, -x, -g)
ANNEAL_UNARY(Abs, input, x < A(0) ? -x : x, s > A(0) ? g : (s < A(0) ? -g : A(0) * g))
ANNEAL_UNARY(Exp, output, mexp(x), g * s)                                     // e^x' = e^x
ANNEAL_UNARY(Expm1, output, mexpm1(x), g * (s + A(1)))                        // e^x' = (e^x - 1) + 1
ANNEAL_UNARY(Log, input, mlog(x), g / s)                                      // ln x' = 1/x
ANNEAL_UNARY(Log1p, input, mlog1p(x), g / (A(1) + s))
ANNEAL_UNARY(Sqrt, output, msqrt(x), g / (A(2) * s))                          // 1 / (2 sqrt x)
ANNEAL_UNARY(Rsqrt, output, A(1) / msqrt(x), A(-0.5) * g * s * s * s)         // -1/2 x^(-3/2)
ANNEAL_UNARY(Square, input, x * x, A(2) * g * s)
ANNEAL_UNARY(Reciprocal, output, A(1) / x, -g * s * s)                        // -1/x^2
ANNEAL_UNARY(Sin, input, msin(x), g * mcos(s))
ANNEAL_UNARY(Cos, input, mcos(x), -g * msin(s))
ANNEAL_UNARY(Tan, output, mtan(x), g * (A(1) + s * s))                        // 1 + tan^2
ANNEAL_UNARY(Asin, input, masin(x), g / msqrt(A(1) - s * s))                  // 1 / sqrt(1 - x^2)
ANNEAL_UNARY(Acos, input, macos(x), -g / msqrt(A(1) - s * s))
ANNEAL_UNARY(Atan, input, matan(x), g / (A(1) + s * s))                       // 1 / (1 + x^2)
ANNEAL_UNARY(Sinh, input, msinh(x), g * mcosh(s))
ANNEAL_UNARY(Cosh, input, mcosh(x), g * msinh(s))
ANNEAL_UNARY(Exp2, output, mexp2(x), g * s * A(0.6931471805599453))           // 2^x ln 2
ANNEAL_UNARY(Log2, input, mlog2(x), g / (s * A(0.6931471805599453)))          // 1 / (x ln 2)
ANNEAL_UNARY(Log10, input, mlog10(x), g / (s * A(2.302585092994046)))         // 1 / (x ln 10)
ANNEAL_UNARY(Tanh, output, mtanh(x), g * (A(1) - s * s))                      // 1 - tanh^2
ANNEAL_UNARY(Sigmoid, output, msigmoid(x), g * s * (A(1) - s))                // y (1 - y)
ANNEAL_UNARY(Relu, output, x > A(0) ? x : (x != x ? x : A(0)), s > A(0) ? g : A(0))
ANNEAL_UNARY(LeakyRelu, input, x > A(0) ? x : p * x, s > A(0) ? g : p * g)    // p: slope
ANNEAL_UNARY(Elu, input, x > A(0) ? x : p * mexpm1(x), s > A(0) ? g : g * p * mexp(s))  // p: alpha
ANNEAL_UNARY(Silu, input, x * msigmoid(x), g * (msigmoid(s) * (A(1) + s * (A(1) - msigmoid(s)))))
ANNEAL_UNARY(Softplus, input, (x > A(0) ? x : A(0)) + mlog1p(mexp(x > A(0) ? -x : x)), g * msigmoid(s))
ANNEAL_UNARY(Erf, input, merf(x), g * A(1.1283791670955126) * mexp(-s * s))   // 2/sqrt(pi) e^(-x^2)
// x Phi(x); derivative Phi(x) + x phi(x)
ANNEAL_UNARY(Gelu, input, A(0.5) * x * (A(1) + merf(x * A(0.7071067811865476))),
             g * (A(0.5) * (A(1) + merf(s * A(0.7071067811865476))) + s * A(0.3989422804014327) * mexp(A(-0.5) * s * s)))
struct GeluTanh {  // Hendrycks & Gimpel's approximation: 0.5 x (1 + tanh u), u = sqrt(2/pi) (x + 0.044715 x^3)
  static constexpr Saves saves = Saves::input;
  template <class A> static ANNEAL_FN A inner(A x) { return mtanh(A(0.7978845608028654) * (x + A(0.044715) * x * x * x)); }
  template <class A> static ANNEAL_FN A f(A x, A, A) { return A(0.5) * x * (A(1) + inner(x)); }
  template <class A> static ANNEAL_FN A df(A g, A s, A, A) {
    const A t = inner(s), du = A(0.7978845608028654) * (A(1) + A(3 * 0.044715) * s * s);
    return g * (A(0.5) * (A(1) + t) + A(0.5) * s * (A(1) - t * t) * du);
  }
};
ANNEAL_UNARY(Floor, nothing, mfloor(x), A(0))
ANNEAL_UNARY(Ceil, nothing, mceil(x), A(0))
ANNEAL_UNARY(Round, nothing, mround(x), A(0))                             // half to even, as NumPy
ANNEAL_UNARY(Sign, nothing, x > A(0) ? A(1) : (x < A(0) ? A(-1) : A(0) * x), A(0))
ANNEAL_UNARY(Clamp, input, x < p ? p : (x > q ? q : x), s >= p && s <= q ? g : A(0))
ANNEAL_UNARY(PowScalar, input, mpow(x, p), p == A(0) ? A(0) : g * p * mpow(s, p - A(1)))  // p x^(p-1)

/** Unary ops by name: one row each. */
#define ANNEAL_UNARY_OPS(ROW)                                                                                                      \
  ROW(neg, Neg) ROW(abs, Abs) ROW(exp, Exp) ROW(expm1, Expm1) ROW(log, Log) ROW(log1p, Log1p) ROW(sqrt, Sqrt) ROW(rsqrt, Rsqrt)      \
  ROW(square, Square) ROW(reciprocal, Reciprocal) ROW(sin, Sin) ROW(cos, Cos) ROW(tanh, Tanh) ROW(sigmoid, Sigmoid) ROW(relu, Relu)  \
  ROW(leakyRelu, LeakyRelu) ROW(elu, Elu) ROW(silu, Silu) ROW(softplus, Softplus) ROW(erf, Erf) ROW(gelu, Gelu)                      \
  ROW(geluTanh, GeluTanh) ROW(floor, Floor) ROW(ceil, Ceil) ROW(round, Round) ROW(sign, Sign) ROW(clamp, Clamp) ROW(powScalar, PowScalar) \
  ROW(tan, Tan) ROW(asin, Asin) ROW(acos, Acos) ROW(atan, Atan) ROW(sinh, Sinh) ROW(cosh, Cosh) ROW(exp2, Exp2) ROW(log2, Log2)      \
  ROW(log10, Log10)

#define ANNEAL_BINARY(Name, F) \
  struct Name { template <class A> static ANNEAL_FN A f(A a, A b) { return F; } };
ANNEAL_BINARY(Add, a + b)
ANNEAL_BINARY(Sub, a - b)
ANNEAL_BINARY(Mul, a * b)
ANNEAL_BINARY(Div, a / b)
ANNEAL_BINARY(Pow, mpow(a, b))
ANNEAL_BINARY(Maximum, a > b || a != a ? a : b)
ANNEAL_BINARY(Minimum, a < b || a != a ? a : b)
ANNEAL_BINARY(Atan2, matan2(a, b))
// Quotients and remainders, of whole numbers too: x divided by 0 is 0 there, as in NumPy (a trap would end the process).
ANNEAL_BINARY(Fmod, mfmod(a, b))                 // the sign of a
ANNEAL_BINARY(Remainder, mremainder(a, b))       // the sign of b, as Python's %
ANNEAL_BINARY(FloorDivide, mfloorDivide(a, b))   // Python's //
#define ANNEAL_BINARY_OPS(ROW)                                                                                                     \
  ROW(add, Add) ROW(sub, Sub) ROW(mul, Mul) ROW(div, Div) ROW(pow, Pow) ROW(maximum, Maximum) ROW(minimum, Minimum) ROW(atan2, Atan2) \
  ROW(fmod, Fmod) ROW(remainder, Remainder) ROW(floorDivide, FloorDivide)

// Whole numbers and bools only.
ANNEAL_BINARY(BitwiseAnd, a & b)
ANNEAL_BINARY(BitwiseOr, a | b)
ANNEAL_BINARY(BitwiseXor, a ^ b)
#define ANNEAL_BITWISE_OPS(ROW) ROW(bitwiseAnd, BitwiseAnd) ROW(bitwiseOr, BitwiseOr) ROW(bitwiseXor, BitwiseXor)

#define ANNEAL_COMPARE(Name, F) \
  struct Name { template <class A> static ANNEAL_FN bool f(A a, A b) { return F; } };
ANNEAL_COMPARE(Eq, a == b)
ANNEAL_COMPARE(Ne, a != b)
ANNEAL_COMPARE(Lt, a < b)
ANNEAL_COMPARE(Le, a <= b)
ANNEAL_COMPARE(Gt, a > b)
ANNEAL_COMPARE(Ge, a >= b)
#define ANNEAL_COMPARE_OPS(ROW) ROW(eq, Eq) ROW(ne, Ne) ROW(lt, Lt) ROW(le, Le) ROW(gt, Gt) ROW(ge, Ge)
