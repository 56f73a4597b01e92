"""Other intervals for a variance, tried beside ours: what they cover where tails are heavy."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import special

from pipeline_lib.calibration.laws import Law
from pipeline_lib.estimation.inference import standard_error, variance_interval

Floats = NDArray[np.float64]
Ends = tuple[Floats, Floats]
LEVEL = 0.95
_RESAMPLES = 399


def compare(law: Law, runs: int, repeats: int, rng: np.random.Generator) -> dict[str, float]:
    """Coverage at 95 % of each method, from ``repeats`` experiments of one group of runs."""
    vectors = law.draw(rng, (repeats, runs)).vectors / np.sqrt(law.variance)
    sample = _Sample(vectors)
    methods: Mapping[str, Callable[[], Ends]] = {
        "Student's t": sample.student,
        "t of the logarithm": sample.logarithm,
        "Hall, skewness of the sample": lambda: sample.hall(bounded=False),
        "Hall, skewness at least 2 cv (ours)": sample.ours,
        "Hall, skewness at least 2 cv + cv³": lambda: sample.hall(bounded=True),
        "bootstrap t": lambda: sample.bootstrap_t(rng),
    }
    shares = {}
    for name, method in methods.items():
        low, high = method()
        shares[name] = float(((low <= 1) & (high >= 1)).mean())
    return shares


def _moments(vectors: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """V̂, its standard error, m2 and m3 over the last axis but one of ``vectors``."""
    n = vectors.shape[-2]
    d = vectors - vectors.mean(axis=-2, keepdims=True)
    y = n / (n - 1) * (d * d).sum(axis=-1)
    mean = y.mean(axis=-1)
    e = y - mean[..., None]
    m2 = (e * e).sum(axis=-1)
    return mean, standard_error(n, m2, n - 1), m2, (e**3).sum(axis=-1)


class _Sample:
    """Repeated experiments of one group of runs, vectors (repeats, runs, p)."""

    def __init__(self, vectors: Floats) -> None:
        self.vectors, self.n = vectors, vectors.shape[1]
        self.mean, self.error, self.m2, self.m3 = _moments(vectors)
        self.quantile = float(special.stdtrit(self.n - 2, (1 + LEVEL) / 2))

    def student(self) -> Ends:
        half = self.quantile * self.error
        return self.mean - half, self.mean + half

    def logarithm(self) -> Ends:
        factor = np.exp(self.quantile * self.error / self.mean)
        return self.mean / factor, self.mean * factor

    def ours(self) -> Ends:
        interval = variance_interval(self.n, self.mean, self.m2, self.m3, LEVEL)
        return interval.low, interval.high

    def hall(self, bounded: bool) -> Ends:
        """Hall's interval with the skewness of the sample, or of at least 2 cv + cv³."""
        n, spread = self.n, np.sqrt(self.m2 / self.n)
        skewness = self.m3 / n / spread**3 * np.sqrt(n * (n - 1)) / (n - 2)
        if bounded:
            cv = self.error * np.sqrt(n) / self.mean
            skewness = np.fmax(skewness, 2 * cv + cv**3)
        a, b = skewness / (3 * np.sqrt(n)), skewness / (6 * np.sqrt(n))
        with np.errstate(divide="ignore", invalid="ignore"):
            low, high = (
                self.mean - self.error * (np.cbrt(1 + 3 * a * (q - b)) - 1) / a
                for q in (self.quantile, -self.quantile)
            )
        return low, high

    def bootstrap_t(self, rng: np.random.Generator) -> Ends:
        """Quantiles of (V̂* − V̂)/SE* over runs drawn with replacement."""
        low, high = np.empty(len(self.mean)), np.empty(len(self.mean))
        for k, vectors in enumerate(self.vectors):
            drawn = vectors[rng.integers(self.n, size=(_RESAMPLES, self.n))]
            mean, error, _, _ = _moments(drawn)
            with np.errstate(divide="ignore", invalid="ignore"):
                t = (mean - self.mean[k]) / error
            t = np.where(np.isnan(t), 0.0, t)
            below, above = np.quantile(t, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="nearest")
            low[k] = self.mean[k] - above * self.error[k]
            high[k] = self.mean[k] - below * self.error[k]
        return low, high
