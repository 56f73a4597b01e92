"""Every claim on an experiment, from planted tables of the whole study at the paper's settings.

Which table, which settings and which sizes decide which claim: one change of the problem leaves the
claim open, whatever its tables say, and a smaller extent does not confirm it.
"""

import dataclasses
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline_lib.artifacts.schemas import SCHEMAS
from pipeline_lib.claims.artefacts import needed_tables
from pipeline_lib.claims.evaluators import EVALUATORS
from pipeline_lib.claims.ledger import evaluate
from pipeline_lib.claims.source import Regression, Source
from pipeline_lib.fits.tables import fit_tables
from pipeline_lib.models import MODELS
from pipeline_lib.study.config import load_study
from pipeline_lib.study.learning_rate import LearningRate
from pipeline_lib.theory.counterexample import counterexample_table
from pipeline_lib.theory.expected_losses import Sample
from pipeline_lib.theory.heavy_tails import ScalarTraining
from pipeline_lib.theory.network_tables import network_degrees_table
from pipeline_lib.theory.regression_moments import Optimiser, RegressionProblem
from pipeline_lib.theory.regression_tables import Training, losses_table
from pipeline_lib.theory.scalar_network import ScalarNetwork, variances
from pipeline_lib.theory.scalar_tables import degree_rows, repeats_table
from pipeline_lib.theory.scheme_tables import equal_epochs_table, small_sample
from pipeline_lib.theory.studied_networks import solve_studied

ROWS = 500
NETWORK = ScalarNetwork(Fraction(3, 2), Fraction(-1, 2), 1)
ON_EXPERIMENTS = {
    "E1": "confirmed", "E2": "confirmed", "E4": "confirmed", "E5": "confirmed",
    "E6": "confirmed", "E7": "confirmed", "E8": "refuted", "E9": "refuted", "E10": "refuted",
    "E12": "confirmed", "E13": "confirmed", "E14": "confirmed", "H4": "confirmed",
}  # fmt: skip
DECIDED = ("confirmed", "refuted")
POLYNOMIAL = "theory/polynomial/admission_sweep"  # T5 does without
STEPS_IN_EPOCHS = (0, 1, 5, 50)
EPOCHS = (0, 100, 500, 900, 1000)


def truth(b, step):
    """Falls in b and in t, convex in b, and 0 with all rows in the batch."""
    return 0.99**step * (1 / b - 1 / (ROWS + 1))


def variance_rows(sizes, steps, runs, tensors=("all",), inits=(0,)):
    keys = pd.MultiIndex.from_product(
        [inits, sizes, steps, ["stochastic_gradient", "full_gradient"], tensors],
        names=["init", "b", "step", "quantity", "tensor"],
    )
    frame = keys.to_frame(index=False)
    value = truth(frame["b"].astype(float), frame["step"])
    return frame.assign(
        epoch=frame["step"], estimator="sample", variance=value, std_error=1e-3 * value,
        ci_low=0.9 * value, ci_high=1.1 * value, n_runs=runs, dof=runs - 1, max_share=0.01,
        reliable=True, n_diverged=0,
    )[SCHEMAS["variance"].names]  # fmt: skip


def metric_rows(sizes, epochs, runs):
    """Training losses fall with b; every other mean rises."""
    parts = []
    for split in ("training", "validation", "distorted"):
        for metric in ("loss", "error", *(["gap"] if split == "distorted" else [])):
            falls = (split, metric) == ("training", "loss")
            for b in sizes:
                for epoch in epochs:
                    mean = (1 - 0.1 * np.log2(b) * (1 if falls else -1)) * 0.999**epoch
                    parts.append((0, b, epoch, split, metric, mean, 1e-4, 0, 9, runs, 0))
    return pd.DataFrame(parts, columns=SCHEMAS["metric_summary"].names)


def with_settings(study, **changes):
    """The study with some keys beside its experiments changed."""
    return dataclasses.replace(study, settings=dataclasses.replace(study.settings, **changes))


@pytest.fixture(scope="module")
def study(repository: Path):
    raw = yaml.safe_load((repository / "config.yaml").read_text())
    raw["scale"] = "paper"
    return load_study(raw, MODELS)


@pytest.fixture(scope="module")
def tables(study):
    found = {
        "theory/scalar_degrees": degree_rows(variances(NETWORK, [Fraction(1, 5)] * 2, 2)),
        "heavy_tails/repeats": repeats_table(
            ScalarTraining(NETWORK, [Fraction(1, 5)] * 2, 2), [1, 2, 4], 1000, 100, 0, 0.95
        ),
    }
    for name in ("admission", "admission_sweep", "teacher_student"):
        one = study.experiments[name]
        tensors = ("W1", "W2") if name == "teacher_student" else ("all",)
        steps = range(one.iterations)
        found[f"variance/{name}"] = variance_rows(one.batch_sizes, steps, one.runs, tensors)
    regression = found["variance/admission"][SCHEMAS["theory"].names]
    found["theory/variance/admission"] = regression
    found["theory/variance/teacher_student"] = found["variance/teacher_student"][
        SCHEMAS["theory"].names
    ].query("step == 0")
    swept = variance_rows(range(1, ROWS + 1), (10, 20, 30, 40), 1)
    found["theory/variance/admission_sweep"] = swept[SCHEMAS["theory"].names]
    fits, curves = fit_tables(found["variance/admission_sweep"], swept, ROWS, (10, 20, 30, 40), 6)
    found |= {"fits/admission_sweep": fits, "fitted_curves/admission_sweep": curves}
    found |= {
        "theory/network_degrees": network_degrees_table(solve_studied(0, 1)),
        "theory/b0_counterexample": counterexample_table([1, 2, 3], [], 0, 0, 0.95),
    }
    rng = np.random.default_rng(1)
    whole = RegressionProblem(
        rng.standard_normal((10, 2)), rng.standard_normal(10), rng.standard_normal(2)
    )
    held_out = Sample(rng.standard_normal((5, 2)), rng.standard_normal(5))
    sgd = {"sgd": Training([0.1] * 4, Optimiser())}
    found["theory/test_loss/admission"] = losses_table(whole, held_out, sgd, [1, 2, 5], [0, 3])
    found["theory/equal_epochs"] = equal_epochs_table(
        small_sample(whole.features, whole.target, 6), [0.05, 0.3], [1, 2, 6], 2
    )
    mnist, inits, yelp = (study.experiments[name] for name in ("mnist", "mnist_inits", "yelp"))
    found["metrics/mnist"] = metric_rows(mnist.batch_sizes, EPOCHS, mnist.runs)
    drawn = variance_rows(mnist.batch_sizes, STEPS_IN_EPOCHS, mnist.runs)
    # a batch of 512 is larger than all the rows of `truth`
    found["variance/mnist"] = drawn.assign(variance=1 / drawn["b"], std_error=1e-3 / drawn["b"])
    found["variance/mnist_inits"] = variance_rows(
        inits.batch_sizes, STEPS_IN_EPOCHS, inits.runs, inits=range(5)
    )
    found["variance/yelp"] = variance_rows(yelp.batch_sizes, range(20), yelp.runs)
    found["epoch_variance/yelp"] = found["variance/yelp"].assign(n_steps=1)[
        SCHEMAS["epoch_variance"].names
    ]
    found["metrics/yelp"] = metric_rows(yelp.batch_sizes, range(21), yelp.runs)
    assert set(needed_tables(study)) - set(found) == {POLYNOMIAL}
    return found


@pytest.fixture(scope="module")
def source(study, tables):
    x = np.random.default_rng(0).standard_normal((ROWS, 3))
    reviews = {
        "name": "Yelp Review Polarity",
        "vocabulary": 31_246,
        "sets": {"training": {"n_reviews": 10_000}, "validation": {"n_reviews": 1_000}},
    }
    return Source(study, tables, Regression(x[:, :2], x[:, 2], x[0, :2]), reviews, ROWS, 0)


def verdicts(source, names):
    return {name: EVALUATORS[name][1](source).verdict for name in names}


def changed(source, name, **changes):
    """The source with other settings of an experiment; those of its model and rate by name."""
    study = source.study
    experiment = study.experiments[name]
    model = changes.pop("model", {})
    experiment = dataclasses.replace(
        experiment, model=dataclasses.replace(experiment.model, **model), **changes
    )
    study = dataclasses.replace(study, experiments=study.experiments | {name: experiment})
    return dataclasses.replace(source, study=study)


def test_each_claim_reads_its_own_tables(source):
    assert verdicts(source, ON_EXPERIMENTS) == ON_EXPERIMENTS
    for name in ON_EXPERIMENTS:
        artefact = EVALUATORS[name][1](source).artefact
        assert artefact is None or artefact.startswith("results/paper/")


OTHER_PROBLEMS = [
    ("admission", {"learning_rate": LearningRate("constant", 0.01)}, ["E1"]),
    ("admission_sweep", {"model": {"features": ("cgpa",)}}, ["E2"]),
    ("teacher_student", {"model": {"layers": (64, 200, 128)}}, ["E4"]),
    ("mnist_inits", {"model": {"layers": (784, 16, 10)}}, ["E5", "E14"]),
    ("mnist", {"model": {"training_examples": 100}}, ["E6", "E7", "E8", "E9", "E13"]),
    ("yelp", {"model": {"d_model": 24}}, ["E10"]),
]


@pytest.mark.parametrize(("name", "changes", "claims"), OTHER_PROBLEMS)
def test_another_problem_decides_none_of_its_claims(source, name, changes, claims):
    found = verdicts(changed(source, name, **changes), claims)
    assert not set(found.values()) & set(DECIDED), found


@pytest.mark.parametrize(
    ("name", "changes", "claims"),
    [
        ("admission_sweep", {"batch_sizes": (2, 4, 8, 16, 32, 64, 128, 256, 480)}, ["E2"]),
        ("mnist_inits", {"recorded_steps": 1}, ["E5"]),
        ("mnist", {"distorted_every": 1000}, ["E6"]),
        ("mnist", {"evaluate_every": 1000}, ["E6", "E7"]),
    ],
)
def test_a_smaller_extent_confirms_none(source, name, changes, claims):
    assert set(verdicts(changed(source, name, **changes), claims).values()) == {"partly"}


@pytest.mark.parametrize(
    ("name", "claims"),
    [("admission_sweep", ["E2"]), ("mnist", ["E6", "E7"]), ("mnist_inits", ["E5"])],
)
def test_what_fewer_runs_settle_is_settled(source, name, claims):
    found = verdicts(changed(source, name, runs=8), claims)
    assert found == {claim: ON_EXPERIMENTS[claim] for claim in claims}


def test_the_number_of_runs_is_no_part_of_an_order(source, study):
    fewer = {
        f"variance/{name}": source.tables[f"variance/{name}"].assign(n_runs=99, dof=98)
        for name in ("admission", "teacher_student")
    }
    few = dataclasses.replace(source, tables={**source.tables, **fewer})
    # but of the claim that the stated numbers are enough
    expected = {"E1": "confirmed", "E4": "confirmed", "E12": "partly"}
    assert verdicts(few, expected) == expected


def test_fewer_epochs_are_another_problem_where_learning_rates_depend_on_them(source):
    found = EVALUATORS["E10"][1](changed(source, "yelp", epochs=10))
    assert found.verdict == "not tested at this scale"
    assert found.scale_needed == "the paper's learning rates over 20 epochs (here 10)"
    assert verdicts(changed(source, "mnist", epochs=500), ["E9"]) == {"E9": "refuted"}


def test_exact_claims_on_fresh_mini_batches_do_not_speak_of_another_way_of_drawing(source):
    # the recursion of both is that of the paper, without replacement, whatever `admission` does
    drawn = changed(source, "admission", sampling="with_replacement", iterations=3)
    for name in ("T4", "H2"):
        found = EVALUATORS[name][1](drawn)
        assert (found.verdict, found.artefact) == ("confirmed", None)
        assert "with_replacement" not in found.evidence
        assert EVALUATORS[name][1](changed(source, "admission", iterations=3)).artefact is not None


def test_other_distorted_images_are_another_problem(source):
    weak = dataclasses.replace(source.study.distortion, alpha=0.0)
    other = dataclasses.replace(source, study=with_settings(source.study, distortion=weak))
    found = EVALUATORS["E6"][1](other)
    assert found.verdict == "not tested at this scale"
    assert "distorted images of alpha = 8, sigma = 2 (here alpha = 0" in found.scale_needed


def test_the_sweep_alone_knows_the_rows_of_its_data(source, study, tables):
    only = with_settings(study, only=("admission_sweep",))
    own = {name: tables[name] for name in needed_tables(only) if name != POLYNOMIAL}
    found = {one.id: one for one in evaluate(only, own, rows=ROWS)}
    assert found["E2"].verdict == "confirmed"
    assert found["E12"].scale_needed == "the runs of Figure 1a; the runs of Figure 2"


def with_network(source, repeats=None, **changes):
    tails = dataclasses.replace(source.study.heavy_tails, **changes)
    rates = [Fraction(tails.learning_rate)] * tails.polynomial_max_step
    network = ScalarNetwork(*(Fraction(v) for v in (tails.w1, tails.w2, tails.target)))
    exact = variances(network, rates, tails.polynomial_max_step)
    tables = {**source.tables, "theory/scalar_degrees": degree_rows(exact)}
    if repeats is not None:
        tables["heavy_tails/repeats"] = repeats
    study = with_settings(source.study, heavy_tails=tails)
    return dataclasses.replace(source, study=study, tables=tables)


def test_one_scalar_network_of_few_steps_confirms_nothing_of_all(source):
    usual = {"T7": "partly", "T8": "refuted", "T9": "confirmed", "H1": "refuted"}
    assert verdicts(source, usual) == usual
    first = with_network(source, polynomial_max_step=1, max_step=1)
    found = EVALUATORS["T7"][1](first)
    assert (found.verdict, found.scale_needed) == (
        "partly", "the usual network's t = 2 (here up to 1)",
    )  # fmt: skip
    start = with_network(source, polynomial_max_step=0, max_step=0)
    assert verdicts(start, ["T7", "T8", "T9"]) == dict.fromkeys(("T7", "T8", "T9"), "partly")
    still = with_network(source, w1="1", w2="1", target="1", polynomial_max_step=2)
    assert verdicts(still, ["T7", "T8", "T9"]) == dict.fromkeys(("T7", "T8", "T9"), "partly")
    # any other network decides as well
    slow = with_network(source, learning_rate="1/100", polynomial_max_step=2)
    found = EVALUATORS["T9"][1](slow)
    assert found.verdict == "confirmed"
    assert "An instance other than the usual network's initial or peak" in found.evidence
    # the same numbers, written otherwise, are the same network
    same = with_network(source, w1="6/4", polynomial_max_step=2)
    assert EVALUATORS["T9"][1](same).verdict == "confirmed"


def test_tails_are_asked_about_at_the_nominal_level_and_in_the_usual_network(source):
    seen = source.tables["heavy_tails/repeats"].assign(missed_below=0.01, missed_above=0.0)
    seen = seen.assign(repeats=1000)
    plain = with_network(source, seen, polynomial_max_step=2)
    assert EVALUATORS["H1"][1](plain).verdict == "confirmed"
    slow = with_network(source, seen, learning_rate="1/100", polynomial_max_step=2)
    assert EVALUATORS["H1"][1](slow).verdict == "partly"
    large = with_network(source, seen, batch_sizes=(4,), polynomial_max_step=2)
    assert EVALUATORS["H1"][1](large).scale_needed == "b = 1, 2"
    wide = dataclasses.replace(plain, study=with_settings(plain.study, confidence_level=0.8))
    found = EVALUATORS["H1"][1](wide)
    assert (found.verdict, found.scale_needed) == (
        "not tested at this scale", "confidence_level 0.95",
    )  # fmt: skip


def test_the_configured_network_is_the_usual_one(source):
    assert source.study.heavy_tails.polynomial_max_step >= 2
    assert "An instance other" not in EVALUATORS["T8"][1](source).evidence
