"""The configuration: what is read from config.yaml, and the one line told for each mistake."""

import copy
import dataclasses
from fractions import Fraction
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from pipeline_lib.artifacts.digest import digest
from pipeline_lib.errors import ConfigError
from pipeline_lib.models import MODELS, LinearRegression
from pipeline_lib.study.config import load_study
from pipeline_lib.study.experiment import Experiment
from pipeline_lib.study.experiment_checks import check_known
from pipeline_lib.study.learning_rate import LearningRate
from pipeline_lib.study.schema import file_schema
from pipeline_lib.study.settings import InitialWeights, Polynomial
from pipeline_lib.study.study import Settings

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = Draft202012Validator(file_schema(MODELS))


@pytest.fixture
def raw():
    return yaml.safe_load((ROOT / "config.yaml").read_text())


def fields_of(cls):
    return {field.name for field in dataclasses.fields(cls)}


def set_value(raw, path, value):
    """Set the dotted ``path``; a part of digits is an index."""
    *parents, last = path.split(".")
    for part in parents:
        raw = raw[part]
    raw[last] = value


def message_of(raw):
    with pytest.raises(ConfigError) as caught:
        load_study(raw, MODELS)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith("config: ")
    return message


@pytest.mark.parametrize("scale", ["quick", "paper"])
def test_full_scales_are_the_papers_values(raw, scale):
    raw["scale"] = scale
    study = load_study(raw, MODELS)
    assert study.scale == scale
    runs = study.experiments["admission"]
    assert runs.batch_sizes == (4, 16, 64, 256)
    assert (runs.runs, runs.iterations, len(runs.blocks)) == (1000, 2000, 1)
    assert runs.polynomial is None
    sweep = study.experiments["admission_sweep"]
    powers = {2**k for k in range(1, 9)}
    assert sweep.batch_sizes == tuple(sorted(powers | set(range(40, 500, 40))))
    assert len(sweep.batch_sizes) == 20
    assert sweep.runs * len(sweep.batch_sizes) == 200_000
    assert sweep.polynomial == Polynomial((10, 20, 30, 40), 6)
    for experiment in (runs, sweep):
        assert experiment.learning_rates() == [0.5 / (t + 1) for t in range(experiment.iterations)]
        assert experiment.initial_weights == InitialWeights(1, 1, 1.0)
        assert experiment.model == LinearRegression("linear_regression", "admissions", "all")


def test_mnist_at_paper_scale_has_the_papers_values(raw):
    raw["scale"] = "paper"
    study = load_study(raw, MODELS)
    mnist, inits = study.experiments["mnist"], study.experiments["mnist_inits"]
    for experiment in (mnist, inits):
        assert experiment.model.layers == (784, 1024, 512, 10)
        assert experiment.model.training_examples == 60_000
        assert experiment.model.validation_examples == 10_000
        assert experiment.epochs == 1000
        assert experiment.learning_rate == LearningRate("constant", 0.003)
    assert (mnist.runs, mnist.batch_sizes) == (100, (64, 128, 256, 512))
    assert (inits.runs, inits.batch_sizes, inits.initial_weights.count) == (50, (64, 128), 5)
    evaluated = mnist.evaluated_epochs()
    assert evaluated["training"] == evaluated["validation"] == list(range(1001))
    assert evaluated["distorted"] == list(range(0, 1001, 100))


def test_the_last_epoch_is_evaluated_and_a_gap_has_its_training_error(raw):
    raw["experiments"]["mnist"] |= {"epochs": 7, "evaluate_every": 3, "distorted_every": 2}
    raw["scales"]["quick"]["mnist"] = {}
    evaluated = load_study(raw, MODELS).experiments["mnist"].evaluated_epochs()
    assert evaluated["validation"] == [0, 3, 6, 7]
    assert evaluated["distorted"] == [0, 2, 4, 6, 7]
    assert evaluated["training"] == [0, 2, 3, 4, 6, 7]


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("mnist.model.layers", [784, 5, 3], "784 inputs, any hidden layers, 10 outputs"),
        ("mnist.model.training_examples", 60_001, "60001 is above the 60000 images"),
        ("mnist.model.training_examples", 300, "batch_sizes: 512 is above the 300 training"),
        ("mnist.recorded_steps", "all", "allowed values: every"),
        ("mnist.iterations", 5, "iterations: not for a model of kind perceptron; allowed: epochs"),
        ("admission.epochs", 5, "epochs: not for a model of kind linear_regression"),
    ],
)
def test_a_mistake_in_an_epoch_experiment_is_told_in_one_line(raw, path, value, expected):
    raw["scale"] = "paper"
    set_value(raw, f"experiments.{path}", value)
    assert expected in message_of(raw)


@pytest.mark.parametrize(("name", "key"), [("mnist", "epochs"), ("admission", "iterations")])
def test_a_missing_length_is_named(raw, name, key):
    del raw["experiments"][name][key]
    for scale in raw["scales"].values():
        scale.get(name, {}).pop(key, None)
    assert f"{name}.{key}: missing" in message_of(raw)


def test_smoke_changes_only_what_it_lists(raw):
    paper = load_study(raw | {"scale": "paper"}, MODELS)
    smoke = load_study(raw | {"scale": "smoke"}, MODELS)
    changed = {"batch_sizes": (4, 64), "runs": 60, "runs_per_block": 30, "iterations": 50}
    for name, changes in (
        ("admission", changed),
        ("admission_sweep", {"runs": 200, "runs_per_block": 200}),
    ):
        assert smoke.experiments[name] == dataclasses.replace(paper.experiments[name], **changes)
    for name, experiment in smoke.experiments.items():
        for field in fields_of(Experiment) - set(raw["scales"]["smoke"].get(name, {})):
            assert getattr(experiment, field) == getattr(paper.experiments[name], field)
    assert list(smoke.experiments["admission"].blocks) == [0, 1]


def test_an_override_reaches_into_nested_values(raw):
    raw["scale"] = "smoke"
    raw["scales"]["smoke"]["admission_sweep"]["polynomial"] = {"steps": [5, 3], "degree": 2}
    raw["scales"]["smoke"]["admission"]["learning_rate"] = {"schedule": "constant", "initial": 0.1}
    raw["scales"]["paper"]["admission"] = {"runs": 7, "runs_per_block": 7}
    study = load_study(raw, MODELS)
    assert study.experiments["admission_sweep"].polynomial == Polynomial((3, 5), 2)
    assert study.experiments["admission"].learning_rate == LearningRate("constant", 0.1)
    assert study.experiments["admission"].runs == 60


def test_loading_does_not_change_the_dictionaries(raw):
    before = copy.deepcopy(raw)
    load_study(raw, MODELS)
    assert raw == before


ADMISSION, SWEEP = "experiments.admission", "experiments.admission_sweep"


OF_ONE_VALUE = [
    (f"{ADMISSION}.batch_size", [4], ["admission.batch_size:", "did you mean batch_sizes?"]),
    (f"{ADMISSION}.zzz", 1, ["admission.zzz: unknown key", "allowed: model, initial_weights"]),
    ("sede", 1, ["config: sede: unknown key", "allowed: scale, seed", "did you mean seed?"]),
    ("scales.tiny", 3, ["scales.tiny: 3", "allowed: object"]),
    (f"{ADMISSION}.batch_sizes", [0, 4], ["admission.batch_sizes.0: 0", "at least 1"]),
    (f"{ADMISSION}.batch_sizes", [4, 4], ["batch_sizes: [4, 4]", "each value once"]),
    (f"{ADMISSION}.batch_sizes", [], ["admission.batch_sizes: []", "at least 1 entries"]),
    (f"{ADMISSION}.batch_sizes", 4, ["admission.batch_sizes: 4", "allowed: array"]),
    (f"{ADMISSION}.batch_sizes", [4.5], ["batch_sizes.0: 4.5", "allowed: integer"]),
    (f"{ADMISSION}.runs", -3, ["admission.runs: -3", "at least 2"]),
    (f"{ADMISSION}.runs", 1, ["admission.runs: 1 ", "at least 2"]),
    (f"{ADMISSION}.runs", "many", ["admission.runs: 'many'", "allowed: integer"]),
    (f"{ADMISSION}.runs", True, ["admission.runs: True", "allowed: integer"]),
    (f"{ADMISSION}.iterations", 0, ["admission.iterations: 0", "at least 1"]),
    (
        f"{ADMISSION}.learning_rate",
        {"schedule": "cosin", "initial": 0.5},
        ["admission.learning_rate.schedule: 'cosin'", "constant, inverse_time"],
    ),
    (f"{ADMISSION}.learning_rate.initial", 0, ["learning_rate.initial: 0", "above 0"]),
    (f"{ADMISSION}.model.features", [], ["admission.model.features: []", "at least 1 entries"]),
    (f"{ADMISSION}.model.features", ["gpa"], ["features.0: 'gpa'", "gre_score, toefl_score"]),
    (f"{ADMISSION}.model.dataset", "iris", ["model.dataset: 'iris'", "admissions"]),
    (f"{SWEEP}.polynomial.degree", 13, ["polynomial.degree: 13", "at most 12"]),
    (f"{SWEEP}.polynomial.step", [1], ["polynomial.step: unknown", "did you mean steps?"]),
    ("scales.smoke.admission.run", 3, ["scales.smoke.admission.run:", "did you mean runs?"]),
    (f"{ADMISSION}.model.kind", "three_layer", ["model.kind: 'three_layer'", "linear_network"]),
    (f"{ADMISSION}.model.feature", "all", ["model.feature: unknown", "did you mean features?"]),
    ("experiments.teacher_student.model.layers", [4, 4], ["layers: [4, 4]", "at least 3"]),
    ("experiments.teacher_student.model.layers", [4, 0, 4], ["layers.1: 0", "at least 1"]),
    ("experiments.teacher_student.model.dtype", "half", ["dtype: 'half'", "float32, float64"]),
    (
        "experiments.admision",
        {"runs": 4},
        ["admision: unknown", "allowed: admission"],
    ),
    ("experiments.other", {}, ["experiments.other: unknown experiment", "no model"]),
    ("experiments", {}, ["experiments: {}", "at least 1 entries"]),
    (
        "experiments.mnist.rao_blackwell",
        {"examples": "some"},
        ["mnist.rao_blackwell.examples: 'some'", "all"],
    ),
    ("experiments.mnist.rao_blackwell", {"examples": 1}, ["examples: 1", "at least 2"]),
    ("experiments.mnist.rao_blackwell", {"examples": "1 b"}, ["examples: '1 b'", "all"]),
    ("compute.device", "tpu", ["compute.device: 'tpu'", "auto, cpu, cuda"]),
    ("compute.threads", 0, ["compute.threads: 0", "at least 1"]),
    ("compute.checkpoint_every_s", 0, ["compute.checkpoint_every_s: 0", "above 0"]),
    ("seed", -1, ["seed: -1", "at least 0"]),
    ("data_dir", 3, ["data_dir: 3", "allowed: string or null"]),
    ("confidence_level", 1.0, ["confidence_level: 1.0", "at most 0.9999"]),
    ("confidence_level", 1 - 1e-16, ["confidence_level: 0.9999999999999999", "at most 0.9999"]),
    ("confidence_level", 0.05, ["confidence_level: 0.05", "at least 0.5"]),
    (
        f"{ADMISSION}.model.features",
        "cgpa",
        ["admission.model.features: 'cgpa'", "all, or a list, such as [gre_score], of", "cgpa"],
    ),
    (f"{ADMISSION}.learning_rate.initial", 1e300, ["initial: 1e+300", "at most 1000000"]),
    (f"{ADMISSION}.iterations", 10**9, ["iterations: 1000000000", "at most 10000000"]),
]
OF_SEVERAL_VALUES = [
    (
        "scales.quick.mnist_inits.initial_weights",
        {"count": 5 * 10**8},
        ["scales.quick.mnist_inits.runs_per_block", "1,000,000,000 training jobs", "at most"],
    ),
    (
        "scales.quick.yelp.model.training_examples",
        801,
        ["scales.quick.yelp.model.training_examples: 801", "even numbers"],
    ),
    (
        f"{ADMISSION}.rao_blackwell",
        {"examples": "all"},
        ["admission.rao_blackwell: not for a model of kind linear_regression"],
    ),
    (
        "experiments.mnist.rao_blackwell",
        {"examples": 511},
        ["mnist.rao_blackwell.examples: 511", "allowed: all, or at least 512"],
    ),
    (
        "experiments.mnist.sampling",
        "shuffled_once",
        ["mnist.rao_blackwell: sampling shuffled_once", "allowed with: epochs, fresh, with_repl"],
    ),
    ("scales.quick.yelp.model.n_head", 5, ["d_model: 32 with n_head 5", "even multiple"]),
    ("scale", "tiny", ["scale: 'tiny'", "allowed values: smoke, quick, overnight, paper"]),
    (f"{ADMISSION}.batch_sizes", [4, 501], ["admission.batch_sizes: 501", "allowed: 1 to 500"]),
    (f"{ADMISSION}.runs", 1500, ["admission.runs: 1500", "multiples of runs_per_block = 1000"]),
    (f"{SWEEP}.polynomial.steps", [10, 41], ["polynomial.steps: 41", "allowed: 0 to iterati"]),
    (f"{SWEEP}.batch_sizes", [2, 4], ["polynomial.degree: 6", "at least 8", "got 2"]),
    (
        f"{ADMISSION}.learning_rate",
        {"schedule": "warmup_linear", "initial": 0.1, "warmup": 0.9999},
        ["admission.learning_rate.warmup: 0.9999 takes all steps, 2000", "leaves at least one"],
    ),
    (  # in epochs
        "experiments.mnist.learning_rate",
        {"schedule": "cosine", "initial": 0.1, "warmup": 0.99999999},
        ["mnist.learning_rate.warmup: 0.99999999 takes all steps", "leaves at least one"],
    ),
    (
        "scales.smoke.admision",
        {},
        ["scales.smoke.admision: unknown", "allowed: admission, "],
    ),
]


@pytest.mark.parametrize(("path", "value", "fragments"), OF_ONE_VALUE + OF_SEVERAL_VALUES)
def test_a_mistake_is_told_in_one_line(raw, path, value, fragments):
    set_value(raw, path, value)
    message = message_of(raw)
    for fragment in fragments:
        assert fragment in message


@pytest.mark.parametrize(("path", "value", "fragments"), OF_ONE_VALUE)
def test_an_editor_finds_what_is_a_matter_of_one_value(raw, path, value, fragments):
    assert SCHEMA.is_valid(raw)
    set_value(raw, path, value)
    assert not SCHEMA.is_valid(raw)


def test_a_fit_needs_standard_errors(raw):
    """Of two runs there is none, and the fit would fail in its job."""
    for runs, per_block in ((3, 3), (4, 2), (2, 2)):
        set_value(raw, f"{SWEEP}.runs", runs)
        set_value(raw, f"{SWEEP}.runs_per_block", per_block)
        if runs > 2:
            assert load_study(raw, MODELS).experiments["admission_sweep"].runs == runs
    message = message_of(raw)
    assert "admission_sweep.runs: 2 have no standard error" in message
    assert "allowed: at least 3 with polynomial" in message
    assert "\n" not in message


def test_a_mistake_in_the_chosen_scale_is_found(raw):
    raw["scale"] = "smoke"
    raw["scales"]["smoke"]["admission"]["batch_sizes"] = [501]
    assert "admission.batch_sizes: 501" in message_of(raw)


@pytest.mark.parametrize("key", sorted(fields_of(Settings) | {"experiments", "scales"}))
def test_a_missing_key_is_named(raw, key):
    del raw[key]
    assert f"config: {key}: missing" in message_of(raw)


def test_a_missing_value_of_an_experiment_is_named(raw):
    del raw["experiments"]["admission"]["runs"]
    assert "experiments.admission.runs: missing" in message_of(raw)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("path", ["learning_rate.initial", "initial_weights.scale"])
def test_numbers_must_be_finite(raw, path, value):
    set_value(raw, f"{ADMISSION}.{path}", value)
    assert path in message_of(raw)


@pytest.mark.parametrize(
    ("path", "value"), [("runs", 1000.0), ("batch_sizes", [4.0]), ("iterations", 10.0)]
)
def test_whole_numbers_with_a_point_do_not_stay_floats(raw, path, value):
    set_value(raw, f"{ADMISSION}.{path}", value)
    try:
        experiment = load_study(raw, MODELS).experiments["admission"]
    except ConfigError:
        return  # as good as a whole number
    kept = getattr(experiment, path)
    assert all(isinstance(v, int) for v in (kept if path == "batch_sizes" else [kept]))


def test_nothing_can_be_assigned(raw):
    study = load_study(raw, MODELS)
    experiment = study.experiments["admission_sweep"]
    parts = [
        study,
        study.compute,
        experiment,
        experiment.model,
        experiment.initial_weights,
        experiment.learning_rate,
        experiment.polynomial,
    ]
    for part in parts:
        for field in dataclasses.fields(part):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(part, field.name, None)
    assert isinstance(experiment.batch_sizes, tuple)
    assert isinstance(experiment.polynomial.steps, tuple)


def training_digest(raw, path=None, value=None):
    raw = copy.deepcopy(raw)
    if path is not None:
        set_value(raw, f"{SWEEP}.{path}", value)
    return digest(load_study(raw, MODELS).experiments["admission_sweep"].training())


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("batch_sizes", list(range(1, 20))),
        ("runs", 20000),
        ("initial_weights.count", 2),
        ("polynomial", {"steps": [1], "degree": 1}),
    ],
)
def test_a_finished_block_outlives_changes_that_do_not_touch_it(raw, path, value):
    assert training_digest(raw, path, value) == training_digest(raw)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("learning_rate.initial", 0.25),
        ("learning_rate.schedule", "constant"),
        ("iterations", 50),
        ("runs_per_block", 5000),
        ("model.features", ["gre_score"]),
        ("initial_weights.seed", 2),
        ("initial_weights.scale", 2.0),
    ],
)
def test_a_change_of_training_changes_the_digest(raw, path, value):
    assert training_digest(raw, path, value) != training_digest(raw)


def test_digests_tell_experiments_and_features_apart(raw):
    study = load_study(raw, MODELS)
    one, two = (digest(study.experiments[n].training()) for n in ("admission", "admission_sweep"))
    assert one != two
    forward = training_digest(raw, "model.features", ["gre_score", "cgpa"])
    assert forward == training_digest(raw, "model.features", ["gre_score", "cgpa"])
    assert forward != training_digest(raw, "model.features", ["gre_score", "sop"])


def test_the_digest_does_not_depend_on_the_order_of_keys():
    # sha256 of '{"a": 1, "b": [2, 3]}', so that a new release keeps old results valid
    assert digest({"b": [2, 3], "a": 1}) == digest({"a": 1, "b": [2, 3]}) == "fd28b17488e0d3ec"


def test_the_schedules_are_exact():
    inverse = LearningRate("inverse_time", 0.5)
    assert inverse.exact(4) == [Fraction(1, 2), Fraction(1, 4), Fraction(1, 6), Fraction(1, 8)]
    assert inverse.exact(2000) == [Fraction(1, 2 * (t + 1)) for t in range(2000)]
    assert inverse.values(2000).tolist() == [0.5 / (t + 1) for t in range(2000)]
    assert LearningRate("constant", 0.5).exact(3) == [Fraction(1, 2)] * 3


@given(st.integers(1, 10**6), st.integers(0, 12), st.integers(1, 50))
def test_the_initial_rate_is_read_as_the_decimal_written(digits, places, iterations):
    written = Fraction(digits, 10**places)
    rate = LearningRate("inverse_time", float(written))
    assert rate.exact(iterations) == [written / (t + 1) for t in range(iterations)]


def test_exact_rates_in_writing(raw):
    experiment = load_study(raw, MODELS).experiments["admission"]
    assert experiment.exact_learning_rates()[:3] == ["1/2", "1/4", "1/6"]


def test_a_scale_lists_only_what_it_changes(raw):
    raw["scales"]["quick"] = {"admission": {"learning_rate": {"initial": 0.3}}}
    rate = load_study(raw, MODELS).experiments["admission"].learning_rate
    assert (rate.schedule, rate.initial) == ("inverse_time", 0.3)


def test_an_experiment_that_figures_need_must_be_there(raw):
    del raw["experiments"]["teacher_student"]
    for overrides in raw["scales"].values():
        overrides.pop("teacher_student", None)
    study = load_study(raw, MODELS)
    study.require("admission")
    with pytest.raises(ConfigError, match=r"experiments\.teacher_student: missing"):
        study.require("admission", "teacher_student")


def test_a_mistake_at_another_scale_is_found(raw):
    raw["scales"]["paper"] = {"admission": {"batch_sizes": [501]}}
    assert raw["scale"] != "paper"
    assert "batch_sizes: 501" in message_of(raw)


@pytest.mark.parametrize("value", [3, None, ["runs"]])
def test_an_experiment_that_is_no_mapping_is_told_in_one_line(raw, value):
    raw["experiments"]["admission"] = value
    assert f"experiments.admission: {value!r}" in message_of(raw)
    raw["experiments"] = value
    assert f"experiments: {value!r}" in message_of(raw)


def test_a_warmup_belongs_to_its_schedule(raw):
    raw["scale"] = "paper"
    raw["experiments"]["mnist"]["learning_rate"]["warmup"] = 0.1
    assert "warmup: 0.1 is not for the schedule constant" in message_of(raw)


def falls_too_far(step: int) -> float:
    return 1 - step / 100


def test_what_the_number_of_examples_does_not_allow_is_told_once_it_is_known(raw):
    mine = yaml.safe_load((ROOT / "examples/digits/config.yaml").read_text())["experiments"]
    raw["experiments"]["mine"] = mine["digits_plain_sgd"] | {
        "batch_sizes": [8, 32],
        "epochs": 2,
        "learning_rate": {"schedule": f"{__name__}:falls_too_far", "initial": 0.5},
    }
    experiment = load_study(raw, MODELS).experiments["mine"]
    check_known(experiment)
    check_known(experiment, 400)
    with pytest.raises(ConfigError, match=r"experiments.mine.batch_sizes: 32 is above the 20"):
        check_known(experiment, 20)
    with pytest.raises(ConfigError, match=r"mine.learning_rate.schedule: .* gives a rate of -0.0"):
        check_known(experiment, 408)  # 102 steps at b = 8


@pytest.mark.parametrize("initial", [0.1, 0.3, 1 / 3, 0.5, 7e-5])
def test_rates_that_are_rationals_are_rounded_once(initial: float) -> None:
    rates = LearningRate("inverse_time", initial)
    assert rates.values(1000).tolist() == [float(rate) for rate in rates.exact(1000)]


def test_rates_with_a_warmup_are_not_known_as_rationals():
    with pytest.raises(ValueError, match="warmup_linear are not known as rationals"):
        LearningRate("warmup_linear", 1.0).exact(4)


@pytest.mark.parametrize(
    ("path", "value", "fragments"),
    [
        (f"{ADMISSION}.name", "other", ["admission.name: unknown key"]),
        (f"{ADMISSION}.model.kind", ["module"], ["model.kind: ['module']", "perceptron"]),
        (f"{ADMISSION}.model.features", [3], ["features.0: 3", "gre_score"]),
        (f"{ADMISSION}.model.features", 3, ["features: 3", "allowed: string or array"]),
        ("scales.Mine", {}, ["scales.Mine: 'Mine'", "text matching"]),
        ("experiments.mnist.distorted_every", None, ["distorted_every: missing"]),
        ("heavy_tails.run_counts", {"smoke": [2]}, ["run_counts.paper: missing"]),
        ("experiments.mnist.optimiser", {"kind": "sgd"}, ["mnist.optimiser: unknown key"]),
    ],
)
def test_a_rare_mistake_is_told_in_one_line_too(raw, path, value, fragments):
    set_value(raw, path, value)
    message = message_of(raw)
    for fragment in fragments:
        assert fragment in message


@pytest.mark.parametrize("key", [4, None])
@pytest.mark.parametrize("path", [(), ("experiments", "admission"), ("compute",)])
def test_a_key_that_is_no_text_is_unknown(raw, path, key):
    section = raw
    for part in path:
        section = section[part]
    section[key] = 1
    assert f"{key}: unknown key" in message_of(raw)


def test_a_scale_may_be_empty(raw):
    raw["scales"] |= {"mine": None, "other": {"mnist": None}}
    for scale in ("mine", "other"):
        study = load_study(raw | {"scale": scale}, MODELS)
        assert study.scale == scale
        assert study.experiments == load_study(raw | {"scale": "paper"}, MODELS).experiments


def test_an_own_scale_uses_the_papers_numbers_of_runs_unless_it_lists_its_own(raw):
    raw["scales"]["mine"] = {"admission": {"runs": 4, "runs_per_block": 2}}
    raw["scale"] = "mine"
    study = load_study(raw, MODELS)
    assert len(study.experiments["admission"].blocks) == 2
    assert study.run_counts == tuple(raw["heavy_tails"]["run_counts"]["paper"])
    raw["heavy_tails"]["run_counts"]["mine"] = [30, 20]
    assert load_study(raw, MODELS).run_counts == (20, 30)
