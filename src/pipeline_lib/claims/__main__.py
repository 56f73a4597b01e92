"""`python -m pipeline_lib.claims T2`: one claim computed alone, from seeded small data.

Claims on experiments cannot be: `python -m pipeline_lib.claims E7 --results results/quick` reads
what the rule `claims` found with the tables of that folder.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline_lib.artifacts.files import read_table
from pipeline_lib.claims import linear_theory, network_theory, networks_exact
from pipeline_lib.claims.any_model import lemma_1_for_any_model
from pipeline_lib.claims.batch_dependence import count_of_batch_sizes
from pipeline_lib.claims.catalogue import CLAIMS, THEOREMS
from pipeline_lib.claims.gaussian_words import lemma_8
from pipeline_lib.claims.linear_exact import corollary_1, expected_loss
from pipeline_lib.claims.paper_settings import ADMISSIONS
from pipeline_lib.claims.regression_losses import held_out_loss_falls, monotone_after_equal_epochs
from pipeline_lib.claims.setting import instance, on_instance
from pipeline_lib.claims.tails import runs_see_the_variance
from pipeline_lib.claims.theory_evaluators import NETWORK, RATES
from pipeline_lib.claims.verdict import Finding
from pipeline_lib.errors import ArtifactError
from pipeline_lib.theory.counterexample import counterexample_table
from pipeline_lib.theory.heavy_tails import ScalarTraining
from pipeline_lib.theory.network_tables import network_degrees_table
from pipeline_lib.theory.scalar_network import variances
from pipeline_lib.theory.scalar_tables import degree_rows, repeats_table
from pipeline_lib.theory.scheme_tables import equal_epochs_table, small_sample
from pipeline_lib.theory.studied_networks import solve_studied

Floats = NDArray[np.float64]

LARGEST_STEP = 2
_SMALL_PROBLEM = {"rows": 20, "features": "3 of a normal distribution"}


def _gaussian_regression(seed: int) -> tuple[Floats, Floats, Floats, list[float]]:
    rng = np.random.default_rng(seed)
    x, y, w = rng.standard_normal((20, 3)), rng.standard_normal(20), rng.standard_normal(3)
    return x, y, w, [0.5 / (t + 1) for t in range(50)]


def _theorem_2(seed: int) -> Finding:
    found = corollary_1(
        linear_theory.small_problem(seed)[0],
        *_gaussian_regression(seed),
        polynomial_steps=[1, 5, 10],
    )
    return _small(found)


def _expected_loss(seed: int) -> Finding:
    return _small(expected_loss(*_gaussian_regression(seed)))


def _small(found: Finding) -> Finding:
    """The finding as one on an instance that is not the paper's."""
    stated = {name: ADMISSIONS[name] for name in _SMALL_PROBLEM}
    return instance(found, _SMALL_PROBLEM, stated)


def _heavy_tails(seed: int) -> Finding:
    table = repeats_table(
        ScalarTraining(NETWORK, RATES, LARGEST_STEP), [1, 2, 4], 1000, 200, seed, 0.95
    )
    return runs_see_the_variance(table)


def _equal_epochs(seed: int) -> Finding:
    rng = np.random.default_rng(seed)
    problem = small_sample(rng.standard_normal((8, 2)), rng.standard_normal(8), 8)
    return monotone_after_equal_epochs(equal_epochs_table(problem, [0.05, 0.2], [1, 2, 4, 8], 6))


ALONE: Mapping[str, Callable[[int], Finding]] = {
    "T1": lambda seed: linear_theory.lemma_1(*linear_theory.small_problem(seed)),
    "T2": lambda seed: linear_theory.lemma_2(*linear_theory.small_problem(seed), b=2),
    "T3": lambda seed: linear_theory.theorem_1(
        *linear_theory.small_combinations(seed), LARGEST_STEP
    ),
    "T4": _theorem_2,
    "T5": lambda seed: linear_theory.degree_in_linear_regression(
        linear_theory.small_problem(seed)[0], LARGEST_STEP
    ),
    "T6": network_theory.lemma_7,
    "T7": lambda _: network_theory.theorem_4_degree(
        degree_rows(variances(NETWORK, RATES, LARGEST_STEP))
    ),
    "T8": lambda _: network_theory.theorem_4_proof(NETWORK, RATES, LARGEST_STEP),
    "T9": lambda _: network_theory.theorem_5(degree_rows(variances(NETWORK, RATES, LARGEST_STEP))),
    "T10": lambda _: network_theory.lemma_3_digits(
        3, {b: network_theory.class_sizes(3, b) for b in range(3, 9)}
    ),
    "T11": lambda _: networks_exact.nonnegative_traces(),
    "T12": lambda seed: networks_exact.decreasing_at_every_b(
        counterexample_table(range(1, 17), [1, 2, 3], 200_000, seed, 0.95)
    ),
    "T13": lambda _: networks_exact.theorem_3(NETWORK, RATES),
    "T14": lambda _: networks_exact.corollary_2(NETWORK, RATES),
    "T15": lemma_8,
    "T16": lemma_1_for_any_model,
    "T17": lambda seed: networks_exact.any_depth(
        network_degrees_table(solve_studied(seed, LARGEST_STEP))
    ),
    "E3": lambda _: count_of_batch_sizes(),
    "H1": _heavy_tails,
    "H2": _expected_loss,
    "H4": lambda seed: held_out_loss_falls(linear_theory.small_problem(seed)[0], None),
    "H5": _equal_epochs,
}


def from_folder(folder: Path, names: Sequence[str]) -> dict[str, Finding]:
    """The findings of ``names`` in the ``claims`` artefact of a folder such as results/quick.

    Raises:
        ArtifactError: there is no such artefact, or it has no row of a name.
    """
    path = folder / "claims.parquet"
    rows = read_table(path, "claims").set_index("id", drop=False)
    absent = [name for name in names if name not in rows.index]
    if absent:
        raise ArtifactError(f"{path}: no row {', '.join(absent)}; allowed: {', '.join(rows.index)}")
    columns = [field.name for field in fields(Finding)]
    whole = rows[columns].astype(object).mask(rows[columns].isna(), None)
    plain: dict[Any, dict[Any, Any]] = whole.to_dict("index")
    return {name: Finding(**plain[name]) for name in names}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the finding of each id asked for, or the ids that can be asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline_lib.claims",
        description="One claim computed alone, or as found with the tables of a folder.",
    )
    parser.add_argument("ids", nargs="*", metavar="id", help="one of " + ", ".join(CLAIMS))
    parser.add_argument("--seed", type=int, default=0, help="of the small random problems")
    parser.add_argument(
        "--results", type=Path, metavar="FOLDER", help="print what claims.parquet in it says"
    )
    options = parser.parse_args(arguments)
    unknown = [name for name in options.ids if name not in CLAIMS]
    if unknown:
        parser.error(f"unknown claim {', '.join(unknown)}; choose from {', '.join(CLAIMS)}")
    from_tables = [name for name in options.ids if name not in ALONE]
    if from_tables and options.results is None:
        parser.error(
            f"cannot compute {', '.join(from_tables)} alone; name a folder of results, as in "
            f"--results results/quick, or choose from {', '.join(ALONE)}"
        )
    if not options.ids:
        for name, claim in CLAIMS.items():
            print(f"{name:4} {claim.place}: {claim.statement}")
    try:
        if options.results is None:
            found = {name: ALONE[name](options.seed) for name in options.ids}
            found |= {name: on_instance(found[name]) for name in THEOREMS & found.keys()}
        else:
            found = from_folder(options.results, options.ids)
    except ArtifactError as error:
        parser.exit(1, f"error: {error}\n")
    for one in found.values():
        print(f"{one.id}, {one.place}: {one.verdict}")
        print(f"  claim     {one.statement}")
        print(f"  test      {one.test}")
        print(f"  evidence  {one.evidence}")
        if one.scale_needed:
            print(f"  needed    {one.scale_needed}")


if __name__ == "__main__":
    main()
