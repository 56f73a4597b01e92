"""Exact standard errors of the estimates of a gradient variance, and the runs that they need.

For vectors g with covariance C, the sample variance s² over R runs and the mean V̄ of the
conditional variance V have

    var(s²)      = Var|g − Eg|² / R + 2 tr(C²)/(R(R − 1)),
    var(V̄ + s²) = Var(V + |f − Ef|²)/R + 2 tr(C_f²)/(R(R − 1)),

where in the second line s² is that of the full gradient f: the standard errors of the estimators
``sample`` and ``rao_blackwell``.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class FourthMoments:
    """What the standard errors at one step and batch size are made of, given F_0.

    variance: var(g_t). spread: Var|g_t − E g_t|². trace_square: tr(C²), C = Cov g_t.
    blackwell_spread: Var(V + |f − Ef|²), V = var(g_t | F_t), f = ∇L(w_t).
    blackwell_trace_square: tr(Cov(f)²).
    """

    variance: float
    spread: float
    trace_square: float
    blackwell_spread: float
    blackwell_trace_square: float

    def standard_error(self, estimator: str, n_runs: int) -> float:
        """Of the estimate of var(g_t) from R runs, by ``sample`` or ``rao_blackwell``.

        Raises:
            ValueError: fewer than two runs, or another estimator.
        """
        if n_runs < 2:
            raise ValueError(f"a variance over runs needs at least 2, got {n_runs}")
        spread, square = self._parts(estimator)
        return float(np.sqrt(spread / n_runs + 2 * square / (n_runs * (n_runs - 1))))

    def runs_needed(self, estimator: str, precision: float) -> int:
        """The smallest R >= 2 at which the standard error is at most ``precision`` · var(g_t).

        Raises:
            ValueError: if ``precision`` is not positive, or another estimator.
        """
        if not precision > 0:
            raise ValueError(f"precision must be positive, got {precision}")
        spread, square = (part / self.variance**2 for part in self._parts(estimator))
        # spread / R + 2 square / (R (R − 1)) <= precision²: the larger root of a quadratic in R
        a, b, c = precision**2, -(precision**2 + spread), spread - 2 * square
        root = (-b + np.sqrt(max(b * b - 4 * a * c, 0.0))) / (2 * a)
        return max(2, int(np.ceil(root * (1 - 1e-12))))

    def _parts(self, estimator: str) -> tuple[float, float]:
        if estimator == "sample":
            return self.spread, self.trace_square
        if estimator == "rao_blackwell":
            return self.blackwell_spread, self.blackwell_trace_square
        raise ValueError(f"estimator is {estimator!r}; allowed: sample, rao_blackwell")
