"""The whole ledger at once: what it reads, what is left out, its page, and the command line."""

import dataclasses
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from pipeline_lib.artifacts.files import write_table
from pipeline_lib.artifacts.schemas import SCHEMAS
from pipeline_lib.claims.__main__ import main
from pipeline_lib.claims.artefacts import claimed, needed_tables
from pipeline_lib.claims.catalogue import CLAIMS
from pipeline_lib.claims.experiment_evaluators import two_orders
from pipeline_lib.claims.extent import FIGURE_1A, FIGURE_1B, FIGURE_2
from pipeline_lib.claims.ledger import evaluate, ledger_page
from pipeline_lib.claims.paper_settings import FIGURE_3A, FIGURE_4, FIGURE_5
from pipeline_lib.claims.setting import departures, setting_of, shortfalls
from pipeline_lib.claims.source import Regression, Source
from pipeline_lib.claims.verdict import claims_table, finding
from pipeline_lib.models import MODELS
from pipeline_lib.study.config import load_study
from pipeline_lib.study.learning_rate import LearningRate
from pipeline_lib.theory.counterexample import counterexample_table
from pipeline_lib.theory.heavy_tails import ScalarTraining
from pipeline_lib.theory.linear_regression import exact_moments
from pipeline_lib.theory.network_tables import network_degrees_table
from pipeline_lib.theory.scalar_network import ScalarNetwork, variances
from pipeline_lib.theory.scalar_tables import degree_rows, repeats_table
from pipeline_lib.theory.studied_networks import solve_studied
from pipeline_lib.theory.tables import theory_table

NETWORK = ScalarNetwork(Fraction(3, 2), Fraction(-1, 2), 1)


def with_settings(study, **changes):
    """The study with some keys beside its experiments changed."""
    return dataclasses.replace(study, settings=dataclasses.replace(study.settings, **changes))


@pytest.fixture(scope="module")
def study(repository: Path):
    raw = yaml.safe_load((repository / "config.yaml").read_text())
    raw["scale"] = "smoke"
    return load_study(raw, MODELS)


@pytest.fixture(scope="module")
def always():
    """The tables that do not depend on an experiment."""
    rates = [Fraction(1, 5)] * 2
    return {
        "theory/scalar_degrees": degree_rows(variances(NETWORK, rates, 2)),
        "heavy_tails/repeats": repeats_table(
            ScalarTraining(NETWORK, rates, 2), [1, 2, 4], 1000, 100, 0, 0.95
        ),
        "theory/network_degrees": network_degrees_table(solve_studied(0, 1)),
        "theory/b0_counterexample": counterexample_table([1, 2, 3], [], 0, 0, 0.95),
    }


@pytest.fixture(scope="module")
def alone(study, always):
    """The findings if nothing of the paper is configured."""
    return evaluate(dataclasses.replace(study, experiments={}), always)


def test_the_needed_tables_are_those_of_what_is_chosen(study):
    every = needed_tables(study)
    assert set(every.values()) <= set(SCHEMAS)
    assert {"variance/yelp", "epoch_variance/yelp", "fits/admission_sweep"} <= set(every)
    assert set(claimed(study)) == set(study.experiments)
    one = with_settings(study, only=("mnist",))
    always = {"theory/scalar_degrees", "heavy_tails/repeats"}
    always |= {"theory/network_degrees", "theory/b0_counterexample"}
    assert set(needed_tables(one)) == {"metrics/mnist", "variance/mnist", *always}
    sweep = dataclasses.replace(study.experiments["admission_sweep"], polynomial=None)
    unfitted = dataclasses.replace(study, experiments={sweep.name: sweep})
    assert set(needed_tables(unfitted)) == {"variance/admission_sweep", *always}
    # an experiment of that name about something else
    other = dataclasses.replace(study, experiments={"admission": study.experiments["mnist"]})
    assert not claimed(other)


def test_claims_without_their_experiment_are_listed_as_not_tested(alone):
    assert [one.id for one in alone] == list(CLAIMS)
    verdicts = {one.id: one.verdict for one in alone}
    tested = {name for name, verdict in verdicts.items() if verdict != "not tested at this scale"}
    theory = {f"T{k}" for k in range(1, 18)} - {"T4"}
    assert tested == {*theory, "E3", "H1", "H4"}
    e7 = next(one for one in alone if one.id == "E7")
    assert e7.evidence == "Nothing to test: mnist is not configured."
    assert all(one.scale_needed for one in alone if one.verdict == "not tested at this scale")


def test_claims_read_their_tables(study, always):
    rng = np.random.default_rng(1)
    x, y, w = rng.standard_normal((9, 2)), rng.standard_normal(9), rng.standard_normal(2)
    admission = study.experiments["admission"]
    rates = admission.learning_rates()
    theory = theory_table(exact_moments(x, y, w, rates, np.arange(1, 10)), 0)
    estimates = theory[theory["b"].isin([2, 6])].assign(
        estimator="sample",
        std_error=1e-3 * theory["variance"],
        n_runs=60,
        dof=59,
        reliable=True,
    )
    only = with_settings(study, only=("admission",))
    tables = always | {"theory/variance/admission": theory, "variance/admission": estimates}
    found = {one.id: one for one in evaluate(only, tables, Regression(x, y, w), rows=9)}
    # of every regression: these data are an instance as good as any
    assert {found[name].verdict for name in ("T4", "H2")} == {"confirmed"}
    assert found["T4"].scale_needed is None
    assert found["T4"].evidence.endswith("It holds on this instance, exactly.")
    assert f"n = 9, {admission.iterations} iterations" in found["T4"].evidence
    assert found["E11"].verdict == "refuted"
    assert found["E11"].evidence.endswith("An instance other than the paper's 500 rows (here 9).")
    # of the admission data: these are others
    assert found["E1"].verdict == "not tested at this scale"
    assert found["E1"].scale_needed == "the paper's 500 rows (here 9)"
    assert found["E1"].artefact == "results/smoke/variance/admission.parquet"
    assert found["E12"].scale_needed == (
        "500 rows (here 9) and 1,000 runs a batch size (here 60) and b = 4, 16, 64, 256 and 2,000 "
        "steps (here 50) for Figure 1a; the runs of Figure 1b; the runs of Figure 2"
    )


def test_claims_on_figures_are_decided_on_their_problem_alone(study, repository):
    data = np.random.default_rng(1).standard_normal((500, 3))
    source = Source(study, {}, Regression(data[:, :2], data[:, 2], data[0, :2]), {}, 500, 0)
    assert departures(source.problem("admission"), FIGURE_1A.problem) == []
    assert departures(source.problem("admission_sweep"), FIGURE_1B.problem) == []
    assert departures(source.problem("teacher_student"), FIGURE_2.problem) == []
    raw = yaml.safe_load((repository / "config.yaml").read_text())
    at_paper_scale = load_study(raw | {"scale": "paper"}, MODELS).experiments
    for name, stated in (("mnist", FIGURE_4), ("mnist_inits", FIGURE_3A), ("yelp", FIGURE_5)):
        paper = setting_of(at_paper_scale[name], reviews="Yelp Review Polarity")
        assert departures(paper.problem, stated.problem) == []
        assert shortfalls(paper, stated) == []

    def changed(name, **changes):
        experiment = dataclasses.replace(study.experiments[name], **changes)
        return dataclasses.replace(study, experiments=study.experiments | {name: experiment})

    constant = LearningRate("constant", 0.1)
    found = finding(CLAIMS["E4"], "confirmed", "All.", exact=False, n_comparisons=3, p_value=0.01)
    rows = pd.DataFrame({"b": [4], "step": [0], "estimator": ["sample"], "n_runs": [1000]})
    tables = {f"{kind}/teacher_student": rows for kind in ("variance", "theory/variance")}
    needs, evaluator = two_orders(lambda *_, artefact: found, "teacher_student", FIGURE_2)
    assert set(needs) == set(tables)
    other = Source(changed("teacher_student", learning_rate=constant), tables, None, {}, None, 0)
    kept = Source(study, tables, None, {}, None, 0)
    assert evaluator(kept) == found
    left = evaluator(other)
    assert (left.verdict, left.p_value) == ("not tested at this scale", None)
    assert left.scale_needed == "the paper's inverse_time learning rates (here constant)"


def test_the_page_opens_with_counts_and_three_findings(alone):
    page = ledger_page(alone, "smoke")
    head, _ = page.split("| id |")
    assert "35 claims at scale `smoke`: 11 confirmed, " in head
    assert head.count("\n- ") == 2  # of what was tested, H1 and T7
    assert "refuted" in head
    assert page.count("\n| ") == len(CLAIMS) + 1


def test_the_command_prints_what_the_rule_found(alone, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["E7", "--results", str(tmp_path)])
    assert "claims.parquet: no such file; run the rule" in capsys.readouterr().err
    write_table(tmp_path / "claims.parquet", claims_table(alone), "claims")
    main(["E7", "T2", "--results", str(tmp_path)])
    printed = capsys.readouterr().out
    assert "Figure 4a; abstract: not tested at this scale" in printed
    assert "needed    the experiment mnist" in printed
    assert "T2, Lemma 2: refuted" in printed


def test_the_rule_is_light():
    code = (
        "import sys, pipeline_lib.claims.ledger, pipeline_lib.study.config,"
        "pipeline_lib.data.admissions, pipeline_lib.models.initial_weights;"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    light = "import sys, pipeline_lib.claims.artefacts; sys.exit('scipy' in sys.modules)"
    subprocess.run([sys.executable, "-c", light], check=True)
