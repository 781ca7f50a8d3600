// Updates of one element, written once for every device. Included inside a device's namespace after its maths (msqrt). `set` works out in f64,
// once for a tensor, what `operator()` needs for each element: the parameter, its gradient as it came, and the rule's state, kStates at most.
// kCounts: whether it ends the tensor's update, and so counts it. Before it, the device says how it takes a whole power (power).

/** From the options (lib/optim) and the step: rate, decay, what gradients are multiplied by, and the number of this update, from 1. */
struct RuleInput {
  double lr, weightDecay, gradient, t;
  double a, b, c;
  bool first;
};

/** a: alpha, b: momentum, c: eps, first: centered. State: mean square, then the momentum buffer and the mean gradient, as far as there are. */
template <class T>
struct RMSprop {
  static constexpr int kStates = 3;
  static constexpr bool kCounts = true;
  T gradient, decay, lr, alpha, rest, momentum, eps;
  bool moves, centered;
  ANNEAL_FN void set(const RuleInput& in) {
    gradient = T(in.gradient), decay = T(in.weightDecay), lr = T(in.lr);
    alpha = T(in.a), rest = T(1 - in.a), momentum = T(in.b), eps = T(in.c);
    moves = in.b != 0, centered = in.first;
  }
  ANNEAL_FN void operator()(T& p, T g, T& square, T& second, T& third) const {
    const T d = g * gradient + decay * p;
    square = alpha * square + rest * d * d;
    T variance = square;
    if (centered) {
      T mean = moves ? third : second;
      mean += rest * (d - mean);
      variance = square - mean * mean;
      if (moves) third = mean;
      else second = mean;  // not by a reference to one of them: it would live in memory
    }
    T move = d / (msqrt(variance) + eps);
    if (moves) move = second = momentum * second + move;
    p -= lr * move;
  }
};

/** a: decay of the rate, c: eps. State: the sum of squares. */
template <class T>
struct Adagrad {
  static constexpr int kStates = 1;
  static constexpr bool kCounts = true;
  T gradient, decay, lr, eps;
  ANNEAL_FN void set(const RuleInput& in) {
    gradient = T(in.gradient), decay = T(in.weightDecay), eps = T(in.c);
    lr = T(in.lr / (1 + (in.t - 1) * in.a));
  }
  ANNEAL_FN void operator()(T& p, T g, T& sum, T&, T&) const {
    const T d = g * gradient + decay * p;
    sum += d * d;
    p -= lr * d / (msqrt(sum) + eps);
  }
};

/** a, b: betas. State: the momentum. */
template <class T>
struct Lion {
  static constexpr int kStates = 1;
  static constexpr bool kCounts = true;
  T gradient, keep, lr, rest1, rest2;
  ANNEAL_FN void set(const RuleInput& in) {
    gradient = T(in.gradient), lr = T(in.lr), keep = T(1 - in.lr * in.weightDecay);
    rest1 = T(1 - in.a), rest2 = T(1 - in.b);
  }
  ANNEAL_FN void operator()(T& p, T g, T& m, T&, T&) const {
    const T d = g * gradient, c = m + rest1 * (d - m);
    p = p * keep - lr * (c > 0 ? T(1) : c < 0 ? T(-1) : c);  // 0 stays 0 and NaN NaN
    m += rest2 * (d - m);
  }
};

/**
 * An average of weights: p follows g, the weights. first: the plain mean of the updates a, a + b, a + 2b, ..., and the weights themselves before a;
 * else exponential with decay a, where b is set from 1 - t^(-2/3) up. At weight 1 p becomes g, whatever it held.
 */
template <class T>
struct Average {
  static constexpr int kStates = 0;
  static constexpr bool kCounts = true;
  T weight;
  ANNEAL_FN void set(const RuleInput& in) {
    double w = in.t == 1 ? 1 : 1 - in.a;
    if (in.first) {
      const double past = in.t - in.a, n = past > 0 ? floor(past / in.b) : 0;
      w = past > n * in.b ? 0 : 1 / (n + 1);
    } else if (in.b != 0) {
      const double warm = 1 / cbrt(in.t * in.t);
      if (warm > w) w = warm;
    }
    weight = T(w);
  }
  ANNEAL_FN void operator()(T& p, T g, T&, T&, T&) const {
    const T moved = p + weight * (g - p);
    p = weight < 1 ? weight > 0 ? moved : p : g;
  }
};

/** What Muon makes of the gradient before it is orthogonalised. a: momentum, first: nesterov. State: the momentum, and the result. p stays. */
template <class T>
struct MuonMomentum {
  static constexpr int kStates = 2;
  static constexpr bool kCounts = false;
  T gradient, momentum, rest;
  bool nesterov;
  ANNEAL_FN void set(const RuleInput& in) {
    gradient = T(in.gradient), momentum = T(in.a), rest = T(1 - in.a), nesterov = in.first;
  }
  ANNEAL_FN void operator()(T&, T g, T& m, T& result, T&) const {
    const T d = g * gradient;
    m += rest * (d - m);
    result = nesterov ? d + momentum * (m - d) : m;
  }
};

/** The step along g as it is. */
template <class T>
struct Muon {
  static constexpr int kStates = 0;
  static constexpr bool kCounts = true;
  T lr, keep;
  ANNEAL_FN void set(const RuleInput& in) { lr = T(in.lr), keep = T(1 - in.lr * in.weightDecay); }
  ANNEAL_FN void operator()(T& p, T g, T&, T&, T&) const { p = p * keep - lr * g; }
};

/** In two passes, for the step's length is that of the whole tensor. a, b: betas, c: eps. */
template <class T>
struct Lamb {
  T gradient, decay, rest1, keep2, rest2, scale1, scale2, eps;
  ANNEAL_FN void set(const RuleInput& in) {
    gradient = T(in.gradient), decay = T(in.weightDecay), eps = T(in.c);
    rest1 = T(1 - in.a), keep2 = T(in.b), rest2 = T(1 - in.b);
    scale1 = T(1 / (1 - power(in.a, in.t))), scale2 = T(1 / msqrt(1 - power(in.b, in.t)));
  }
  ANNEAL_FN void moments(T g, T& m, T& v) const {
    const T d = g * gradient;
    m += rest1 * (d - m);
    v = keep2 * v + rest2 * d * d;
  }
  ANNEAL_FN T direction(T p, T m, T v) const { return m * scale1 / (msqrt(v) * scale2 + eps) + decay * p; }
};

/** From sums of squares of parameter and direction: LAMB's factor of the rate. */
ANNEAL_FN double lambTrust(double parameter, double direction) { return parameter > 0 && direction > 0 ? msqrt(parameter) / msqrt(direction) : 1; }
