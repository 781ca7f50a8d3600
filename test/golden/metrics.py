"""What scikit-learn 1.9 says of predictions, and label errors by the paper's equations in NumPy: python test/golden/metrics.py > test/golden/metrics.json"""

import json
import math
import warnings

import numpy as np
from sklearn import metrics as m
from sklearn.calibration import calibration_curve

warnings.simplefilter('ignore')
rng = np.random.default_rng(11)


def plain(v):
    """Numbers that JSON has, and 'NaN'."""
    if isinstance(v, (list, tuple, np.ndarray)):
        return [plain(x) for x in v]
    if isinstance(v, dict):
        return {k: plain(x) for k, x in v.items()}
    v = v.item() if hasattr(v, 'item') else v
    return 'NaN' if isinstance(v, float) and math.isnan(v) else v


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def draw(n, k, absent=(), digits=None, skew=0.0, sharp=1.0, signal=1.2):
    """Targets and probabilities that agree in part; few digits make ties."""
    weights = np.exp(-skew * np.arange(k))
    weights[list(absent)] = 0
    y = rng.choice(k, n, p=weights / weights.sum())
    p = softmax(sharp * (rng.normal(size=(n, k)) + signal * np.eye(k)[y]))
    return y, (p if digits is None else np.round(p, digits))


def averages(y, p):
    return {a: list(m.precision_recall_fscore_support(y, p, average=a, zero_division=0)[:3]) for a in ('macro', 'micro', 'weighted')}


def classes(name, k, y, p):
    predicted = p.argmax(1)
    labels = list(range(k))
    hot = np.eye(k)[y]
    per = m.precision_recall_fscore_support(y, predicted, labels=labels, zero_division=0)
    auc = m.roc_auc_score(hot, p, average=None)
    ap = m.average_precision_score(hot, p, average=None)
    support = hot.sum(0)
    known = ~np.isnan(auc)
    confidence, right = p.max(1), (predicted == y).astype(int)
    edges = np.linspace(0, 1, 16)
    which = np.searchsorted(edges[1:-1], confidence)
    counts = np.bincount(which, minlength=15)
    true, mean = calibration_curve(right, confidence, n_bins=15)
    gaps = np.abs(true - mean)
    return {
        'name': name,
        'classes': k,
        'targets': y,
        'probabilities': p.ravel(),
        'confusion': m.confusion_matrix(y, predicted, labels=labels).ravel(),
        'accuracy': m.accuracy_score(y, predicted),
        'perClass': [list(v) for v in zip(*per)],
        'averages': averages(y, predicted),
        'topK': [m.top_k_accuracy_score(y, p, k=n, labels=labels) for n in range(1, k)] if k > 2 else [],
        'rocAuc': auc,
        'averagePrecision': ap,
        'rocAucMacro': auc[known].mean() if known.any() else math.nan,
        'rocAucWeighted': (auc * support)[known].sum() / support[known].sum() if known.any() else math.nan,
        'averagePrecisionWeighted': m.average_precision_score(hot, p, average='weighted'),
        'bins': {'count': counts, 'accuracy': true, 'confidence': mean},
        'ece': (counts[counts > 0] * gaps).sum() / len(y),
        'mce': gaps.max(),
    }


def binary(name, y, s):
    return {'name': name, 'targets': y, 'scores': s, 'rocAuc': m.roc_auc_score(y, s), 'averagePrecision': m.average_precision_score(y, s)}


def regression(name, y, p):
    figures = {
        'mse': m.mean_squared_error(y, p),
        'rmse': m.root_mean_squared_error(y, p),
        'mae': m.mean_absolute_error(y, p),
        'mape': m.mean_absolute_percentage_error(y, p),
        'r2': m.r2_score(y, p),
        'explainedVariance': m.explained_variance_score(y, p),
        'maxError': np.abs(y - p).max(),
        'bias': (p - y).mean(),
    }
    return {'name': name, 'outputs': y.shape[1] if y.ndim > 1 else 1, 'targets': y.ravel(), 'predictions': p.ravel(), 'figures': figures}


def doubts(name, k, n, wrong):
    """Labels of which a share was changed; those off the diagonal of the confident joint (Northcutt et al., 2021, equations 1 and 2)."""
    y, p = draw(n, k, sharp=1.5, signal=4)
    given = y.copy()
    changed = rng.choice(n, int(wrong * n), replace=False)
    for i in changed:
        given[i] = (y[i] + rng.integers(1, k)) % k
    threshold = np.array([p[given == j, j].mean() for j in range(k)])
    confident = p >= threshold - 1e-6
    likely = np.where(confident, p, -1).argmax(1)
    found = np.flatnonzero(confident.any(1) & (likely != given))
    return {'name': name, 'classes': k, 'labels': given, 'probabilities': p.ravel(), 'changed': sorted(changed), 'found': found}


y, p = draw(60, 4)
far = 1e7 + rng.normal(size=80)
both = rng.normal(size=(50, 3)) * [1, 10, 100]
cases = {
    'classes': [
        classes('plain', 4, y, p),
        classes('skewed', 6, *draw(200, 6, skew=0.9)),
        classes('absent classes', 7, *draw(50, 7, absent=(0, 3))),
        classes('ties', 5, *draw(120, 5, digits=1)),
        classes('one class only', 3, *draw(20, 3, absent=(0, 2))),
        classes('two classes', 2, *draw(90, 2, digits=2)),
        classes('one sample', 3, *draw(1, 3)),
        classes('all alike', 3, np.array([0, 1, 2, 1]), np.full((4, 3), 1 / 3)),
        classes('edges of bins', 2, np.array([0, 1, 1, 0, 1, 1]), np.array([[0.6, 0.4], [0.2, 0.8], [0, 1], [1, 0], [1 / 3, 2 / 3], [0.6, 0.4]])),
    ],
    'binary': [
        binary('plain', *(lambda y: (y, rng.normal(size=150) + y))(rng.integers(0, 2, 150))),
        binary('ties', *(lambda y: (y, np.round(rng.normal(size=150) + y)))(rng.integers(0, 2, 150))),
        binary('rare', *(lambda y: (y, rng.normal(size=200) + 2 * y))((rng.random(200) < 0.03).astype(int))),
        binary('no positive', np.zeros(9, int), rng.normal(size=9)),
        binary('no negative', np.ones(9, int), rng.normal(size=9)),
        binary('all scores equal', np.array([0, 1, 1, 0, 1]), np.zeros(5)),
        binary('perfect', np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.3, 0.4])),
        binary('reversed', np.array([1, 1, 0, 0]), np.array([0.1, 0.2, 0.3, 0.4])),
    ],
    'regression': [
        regression('plain', *(lambda y: (y, y + 0.3 * rng.normal(size=70)))(rng.normal(size=70))),
        regression('far from 0', far, far + 0.1 * rng.normal(size=80) + 0.05),
        regression('several outputs', both, both + rng.normal(size=(50, 3))),
        regression('constant target', np.ones(5), np.array([1.0, 2, 1, 1, 1])),
        regression('constant and met', np.ones(5), np.ones(5)),
        regression('constant but for a shift', np.ones(5), np.full(5, 3.0)),
        regression('one sample', np.array([2.0]), np.array([2.5])),
        regression('target 0', np.array([0.0, 1, 2]), np.array([0.5, 1, 2])),
    ],
    'labelErrors': [doubts('tenth', 3, 150, 0.1), doubts('many classes', 8, 240, 0.2), doubts('none', 3, 80, 0)],
}
print(json.dumps(plain(cases), separators=(',', ':')))
