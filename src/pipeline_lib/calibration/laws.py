"""Laws of gradients whose variance is known: Gaussian, heavier than Gaussian, and real training."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.estimation.control_variates import RUNS_PER_CONTROL
from pipeline_lib.estimation.statistics import ALONG, SQUARE
from pipeline_lib.theory import heavy_tails
from pipeline_lib.theory.batch_polynomial import value_at
from pipeline_lib.theory.linear_regression import conditional_variance, exact_moments
from pipeline_lib.theory.scalar_network import ScalarNetwork, variances
from pipeline_lib.theory.two_layer import (
    conditional_variances,
    first_step_variance,
    population_gradients,
)

Floats = NDArray[np.float64]
Shape = tuple[int, int]  # repeats of an experiment, and its runs


@dataclass(frozen=True)
class Draws:
    """What the runs of repeated experiments leave: what an estimate is made from.

    vectors: (repeats, runs, p), whose variance is estimated by squared deviations.
    conditional: (repeats, runs), added to them; None for the plain estimator.
    plain: (repeats, runs, q), of Rao–Blackwellised runs, what the plain estimator is made from.
    increments: by kind and tensor (repeats, runs), what `control_variates` takes of the one step
        before.
    """

    vectors: Floats
    conditional: Floats | None = None
    plain: Floats | None = None
    increments: Mapping[tuple[str, str], Floats] = field(default_factory=dict)


@dataclass(frozen=True)
class Law:
    """Independent runs with a known variance.

    numbers: how many float64 a run takes, for the size of the pieces in which runs are drawn.
    least_runs: with fewer it is another law's.
    """

    name: str
    variance: float
    numbers: int
    draw: Callable[[np.random.Generator, Shape], Draws]
    least_runs: int = 2


def gaussian(p: int) -> Law:
    """Independent N(0, 1/p) in p dimensions."""
    return mixture(0.0, p)


def mixture(sigma: float, p: int) -> Law:
    """Gaussian vectors of p dimensions times a lognormal length exp(sigma z)."""
    scale = np.exp(-(sigma**2)) / np.sqrt(p)

    def draw(rng: np.random.Generator, shape: Shape) -> Draws:
        vectors = rng.standard_normal((*shape, p))
        vectors *= scale * np.exp(sigma * rng.standard_normal(shape))[..., None]
        return Draws(vectors)

    name = f"Gaussian, p = {p:,}"
    return Law(f"{name}, times lognormal {sigma:g}" if sigma else name, 1.0, p, draw)


def product() -> Law:
    """x1 x2 x3 of independent standard normal factors."""

    def draw(rng: np.random.Generator, shape: Shape) -> Draws:
        return Draws(np.prod(rng.standard_normal((*shape, 3)), axis=-1)[..., None])

    return Law("x1 x2 x3", 1.0, 3, draw)


def rare(share: float = 0.01, p: int = 8) -> Law:
    """0 in all but a ``share`` of the runs, and there Gaussian: few runs see nothing but zeros."""
    scale = 1 / np.sqrt(share * p)

    def draw(rng: np.random.Generator, shape: Shape) -> Draws:
        vectors = np.zeros((*shape, p))
        seen = rng.random(shape) < share
        vectors[seen] = scale * rng.standard_normal((int(seen.sum()), p))
        return Draws(vectors)

    return Law(f"Gaussian, p = {p:,}, in {100 * share:g} % of runs, else 0", 1.0, p, draw)


def mean_of(law: Law, batch_size: int) -> Law:
    """Means of ``batch_size`` independent draws of a law: a variance proportional to 1/b."""

    def draw(rng: np.random.Generator, shape: Shape) -> Draws:
        vectors = law.draw(rng, (shape[0], shape[1] * batch_size)).vectors
        return Draws(vectors.reshape(*shape, batch_size, -1).mean(axis=2))

    name, variance = f"{law.name}, b = {batch_size}", law.variance / batch_size
    return Law(name, variance, law.numbers * batch_size, draw)


def regression(
    rao_blackwell: bool, batch_size: int = 4, step: int = 3, averaged: int | None = None
) -> Law:
    """Linear regression on 40 fixed samples after ``step`` steps of SGD, exact by recursion.

    ``averaged`` is how many random samples stand for all in the Rao–Blackwell estimate, as in
    `training.averaged`; None for all of them.
    """
    rng = np.random.default_rng(1)
    x, y, w0 = rng.standard_normal((40, 3)), rng.standard_normal(40), rng.standard_normal(3)
    rates = np.full(step + 1, 0.2)
    moments = exact_moments(x, y, w0, rates, [batch_size])

    def batch_gradient(stream: np.random.Generator, w: Floats) -> Floats:
        rows = stream.random((len(w), len(x))).argpartition(batch_size, axis=1)[:, :batch_size]
        residual = np.einsum("rbp,rp->rb", x[rows], w) - y[rows]
        return np.asarray(np.einsum("rbp,rb->rp", x[rows], residual) / batch_size)

    def draw(stream: np.random.Generator, shape: Shape) -> Draws:
        w = np.tile(w0, (shape[0] * shape[1], 1))
        for rate in rates[:step]:
            w = w - rate * batch_gradient(stream, w)
        plain = batch_gradient(stream, w).reshape(*shape, -1)
        if not rao_blackwell:
            return Draws(plain)
        if averaged is None:
            full = ((w @ x.T - y) @ x / len(x)).reshape(*shape, -1)
            return Draws(full, conditional_variance(x, y, w, batch_size).reshape(shape), plain)
        rows = stream.random((len(w), len(x))).argpartition(averaged, axis=1)[:, :averaged]
        of_samples = x[rows] * (np.einsum("rmp,rp->rm", x[rows], w) - y[rows])[..., None]
        of_one = of_samples.var(axis=1, ddof=1).sum(axis=1)
        own = (1 / batch_size - 1 / averaged) * of_one
        return Draws(of_samples.mean(axis=1).reshape(*shape, -1), own.reshape(shape), plain)

    form = _form(rao_blackwell) if averaged is None else f"averaged over {averaged} of 40"
    name = f"regression, t = {step}, b = {batch_size}, {form}"
    return Law(name, float(moments.stochastic_gradient[step, 0]), 200, draw)


def two_layer(rao_blackwell: bool, batch_size: int = 4, controlled: bool = False) -> Law:
    """g_1 of the two-layer linear network 8-6-4 after one step of SGD on online samples.

    ``controlled`` gives the Rao–Blackwell estimate its control variates.
    """
    rng = np.random.default_rng(2)
    p, p1, p2, rate = 8, 6, 4, 0.05
    w1 = 0.5 * rng.standard_normal((p1, p)) / np.sqrt(p)
    w2 = 0.5 * rng.standard_normal((p2, p1)) / np.sqrt(p1)
    target = rng.standard_normal((p2, p)) / np.sqrt(p)
    exact = first_step_variance(w1, w2, target, rate).at(batch_size)["g1"]
    means = population_gradients(w1, w2, target)
    variances = conditional_variances(w1, w2, target, batch_size)

    def second_moment(stream: np.random.Generator, n: int) -> Floats:
        x = stream.standard_normal((n, batch_size, p))
        return np.swapaxes(x, -1, -2) @ x / batch_size

    def draw(stream: np.random.Generator, shape: Shape) -> Draws:
        n = shape[0] * shape[1]
        moment = second_moment(stream, n)
        gap = w2 @ w1 - target
        gradients = w2.T @ gap @ moment, gap @ moment @ w1.T
        after_1, after_2 = (w - rate * g for w, g in zip((w1, w2), gradients, strict=True))
        full, _ = population_gradients(after_1, after_2, target)
        plain = (full @ second_moment(stream, n)).reshape(*shape, -1)
        if not rao_blackwell:
            return Draws(plain)
        conditional, _ = conditional_variances(after_1, after_2, target, batch_size)
        increments: dict[tuple[str, str], Floats] = {}
        if controlled:
            for name, g, mean, variance in zip("12", gradients, means, variances, strict=True):
                along = ((g - mean) * mean).sum(axis=(1, 2))
                square = (g**2).sum(axis=(1, 2)) - (mean**2).sum() - variance
                increments[ALONG, name] = along.reshape(shape)
                increments[SQUARE, name] = square.reshape(shape)
        return Draws(full.reshape(*shape, -1), conditional.reshape(shape), plain, increments)

    if controlled:
        name = f"two layers 8-6-4, t = 1, b = {batch_size}, with control variates"
        return Law(name, exact, 300, draw, least_runs=RUNS_PER_CONTROL * 4)
    name = f"two layers 8-6-4, t = 1, b = {batch_size}, {_form(rao_blackwell)}"
    return Law(name, exact, 300, draw)


def scalar_network(rao_blackwell: bool, step: int, batch_size: int = 16) -> Law:
    """g_1 of the two-layer network of one unit a layer, heavy tails at small b."""
    network = ScalarNetwork(Fraction(3, 2), Fraction(-1, 2), 1)
    rates = [Fraction(1, 5)] * step
    exact = float(value_at(variances(network, rates, step)[step].g1, batch_size))

    def draw(stream: np.random.Generator, shape: Shape) -> Draws:
        factors = partial(heavy_tails.draw_factors, stream, batch_size, shape)
        steps = heavy_tails.gradients(network, rates, factors)
        population, stochastic = next(islice(steps, step, None))
        full, plain = population[0], stochastic[0][..., None]
        if not rao_blackwell:
            return Draws(plain)
        conditional = heavy_tails.conditional_variance(full, batch_size)
        return Draws(full[..., None], conditional, plain)

    name = f"two layers 1-1-1, t = {step}, b = {batch_size}, {_form(rao_blackwell)}"
    return Law(name, exact, 8, draw)


def _form(rao_blackwell: bool) -> str:
    return "Rao–Blackwell" if rao_blackwell else "plain"


def light() -> list[Law]:
    """Gaussian vectors."""
    return [gaussian(p) for p in (1, 8, 1000)]


def heavy() -> list[Law]:
    """Laws with heavier tails."""
    return [*(mixture(sigma, p) for sigma in (0.5, 1.0) for p in (1, 8)), product(), rare()]


def trained() -> list[Law]:
    """Gradients of training, by both estimators."""
    forms = (False, True)
    return [
        *(regression(form) for form in forms),
        regression(True, averaged=16),
        *(two_layer(form) for form in forms),
        *(two_layer(True, b, controlled=True) for b in (1, 4)),
        *(scalar_network(form, step) for step in (1, 2) for form in forms),
    ]
