// Updates of one element, written once for every device. Included inside a device's namespace after its maths (msqrt). `set` works out in f64,
// once for a tensor, what `operator()` needs for each element: the parameter, its gradient as it came, and the rule's state, kStates at most.

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
