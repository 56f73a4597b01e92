"""What an edit of the code makes run again: all that may change by it, and nothing else."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from checkout import NOTHING, jobs, snakemake, with_cosmetic_edits, with_real_edit
from pipeline_lib.models import MODELS
from pipeline_lib.study.code.search import WITHOUT_NUMBERS, Library

SMOKE = ("--dry-run", "--config", "scale=smoke")
FIGURES = {f"fig{name}" for name in ("1a", "1b", "2a", "2b", "3a", "3b", "4a", "4b", "5a", "5b")}
FIGURES |= {"fig5c", "fig6", "heavy_tails", "distortion"}
FIGURES |= {"b0_counterexample", "equal_epochs", "sampling_schemes"}
NOISE_SCALES = {"noise_scale"} | {
    f"noise_scale of {name}"
    for name in ("admission", "admission_sweep", "teacher_student", "mnist", "mnist_inits", "yelp")
}
WITHOUT_VARIANCE = {"distortion", "fig3b", "fig4a", "fig4b", "fig5b", "fig5c", "equal_epochs"}
REGRESSION = {"train_block of admission", "train_block of admission_sweep"}
TWO_LAYERS = {"train_block of teacher_student"}
PERCEPTRON = {"train_network of mnist", "train_network of mnist_inits"}
TRANSFORMER = {"train_network of yelp"}
TRAINING = REGRESSION | TWO_LAYERS | PERCEPTRON | TRANSFORMER
WEIGHTS = {f"draw_weights of {job.split()[-1]}" for job in TRAINING}
RULES = {"train_block", "train_network", "draw_weights", "draw_own_weights"}
CHECK = "check_own_code"
THEORY = {"exact_moments", "exact_polynomial", "exact_two_layer", "scalar_theory"}
RAW_DATA = {"prepare_admissions", "prepare_mnist"}

LIST_RULES = """
import json, sys
from pathlib import Path
from snakemake.api import SnakemakeApi
from snakemake.settings.types import OutputSettings, Quietness, ResourceSettings
with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as api:
    snakefile, folder = map(Path, sys.argv[1:])
    workflow = api.workflow(ResourceSettings(cores=1), snakefile=snakefile, workdir=folder)
    rules = [rule for rule in workflow._workflow.rules if rule.script is not None]
    found = {rule.name: [rule.script, rule.params.code({})] for rule in rules}
print(json.dumps(found))
"""

KINDS = [f"{kind.__module__}:{kind.__name__}" for kind in MODELS.values()]


def planned(folder: Path, data: str | None, *arguments: str) -> set[str]:
    """Rules of which a dry run lists jobs, and as "rule of experiment" what it lists them for."""
    return set(counted(folder, data, *arguments))


def counted(folder: Path, data: str | None, *arguments: str) -> Counter[str]:
    """`planned`, with the number of jobs."""
    done = snakemake(folder, *SMOKE, *arguments, data=data)
    assert done.returncode == 0, done.stderr
    output = done.stdout + done.stderr
    if NOTHING in output:
        return Counter()
    rules = Counter({name: n for name, n in jobs(output).items() if name not in ("all", "total")})
    listed = re.findall(r"^(?:local)?rule (\w+):\n((?: +.*\n)*)", output, re.MULTILINE)
    assert set(rules) <= {rule for rule, _ in listed}
    for rule, told in listed:
        if named := re.search(r"wildcards: .*experiment=(\w+)", told):
            rules[f"{rule} of {named[1]}"] += 1
    return rules


@pytest.fixture
def edit(smoke):
    """A function that edits a file of the checkout; the test's end takes it back."""
    originals = {}

    def edited(name: str, change) -> None:
        path = smoke / name
        originals.setdefault(path, path.read_text())
        text = change(path.read_text())
        assert text != path.read_text()
        path.write_text(text)

    yield edited
    for path, text in originals.items():
        path.write_text(text)


def test_cosmetic_edits_of_every_file_and_new_modification_times_rerun_nothing(
    smoke, data_dir, edit
):
    files = [*smoke.glob("src/**/*.py"), *smoke.glob("workflow/scripts/*.py")]
    for path in files:
        os.utime(path)
    assert planned(smoke, data_dir) == set()
    for path in files:
        edit(str(path.relative_to(smoke)), with_cosmetic_edits)
    assert planned(smoke, data_dir) == set()


@pytest.mark.parametrize(
    ("name", "reruns", "spares"),
    [
        ("seeding", TRAINING | WEIGHTS
         | {"distort_mnist", "prepare_yelp", "estimate_heavy_tails", "claims"},
         RAW_DATA | {"scalar_theory"}),
        ("estimation/inference", FIGURES - WITHOUT_VARIANCE
         | {"aggregate_variance", "estimate_heavy_tails", "claims"},
         TRAINING | WEIGHTS | THEORY | RAW_DATA | {"summarise_metrics"}),
        ("estimation/statistics", TRAINING | {"aggregate_variance", "claims"},
         WEIGHTS | THEORY | RAW_DATA | {"estimate_heavy_tails"}),
        ("training/replica_moments", TRAINING | {"aggregate_variance"}, WEIGHTS | THEORY),
        ("training/dropout_stack", TRANSFORMER, TRAINING - TRANSFORMER),
        ("models/linear_regression/kernel", REGRESSION, (TRAINING - REGRESSION) | THEORY),
        ("models/linear_network/two_layer", TWO_LAYERS, (TRAINING - TWO_LAYERS) | WEIGHTS),
        ("data/admissions", REGRESSION | {"prepare_admissions", "exact_moments"},
         (TRAINING - REGRESSION) | {"estimate_heavy_tails", "scalar_theory"}),
        ("theory/wick", {"exact_two_layer", "fig2a"}, TRAINING | WEIGHTS),
        ("fits/fitting", {"fit_polynomials", "fig1b", "claims"}, TRAINING | THEORY | {"fig1a"}),
        ("artifacts/files", TRAINING | THEORY | RAW_DATA | FIGURES | {"claims"}, set()),
    ],
)  # fmt: skip
def test_a_real_edit_reruns_what_depends_on_it(smoke, data_dir, edit, name, reruns, spares):
    edit(f"src/pipeline_lib/{name}.py", with_real_edit)
    found = planned(smoke, data_dir)
    assert reruns - found == set()
    assert spares & found == set()


@pytest.mark.parametrize(
    ("name", "change", "expected"),
    [
        ("src/pipeline_lib/figures/style.py", with_real_edit, FIGURES | NOISE_SCALES),
        ("workflow/scripts/variance_curves.py", lambda text: text + "assert True\n",
         {"fig1a", "fig2a", "fig2b"}),
        ("src/pipeline_lib/claims/catalogue.py", lambda text: text + "CLAIMS = dict(CLAIMS)\n",
         {"claims", "describe_results"}),
        # What no job uses, and what decides no number.
        ("src/pipeline_lib/seeding.py", lambda text: text + "def more():\n    return 1\n", set()),
        ("src/pipeline_lib/study/cost.py", with_real_edit, set()),
        ("src/pipeline_lib/logs.py", with_real_edit, set()),
        ("src/pipeline_lib/pages/table_page.css", lambda text: text + "p {margin: 0}", set()),
    ],
)  # fmt: skip
def test_an_edit_reruns_exactly(smoke, data_dir, edit, name, change, expected):
    edit(name, change)
    assert planned(smoke, data_dir) == expected


NOT_COMPUTED = {"describe_results"}  # which says how the tables were made
MNIST = PERCEPTRON - {"train_network of mnist_inits"}
SUMMARIES = {"aggregate_variance", "summarise_metrics"}
OF_DATA = RAW_DATA | {"prepare_yelp", "distort_mnist"}


def trained(rules: Counter[str]) -> dict[str, int]:
    """The jobs that cost something: training, by experiment, with their number."""
    return {name: n for name, n in rules.items() if name in TRAINING}


@pytest.mark.parametrize(
    ("change", "trains", "runs", "spares"),
    [
        # Exact tables state the seed, confidence level and configuration, and are made again.
        ({"seed": 1}, dict.fromkeys(TRAINING), {"estimate_heavy_tails", "claims"},
         WEIGHTS | OF_DATA),
        ({"compute": {"allow_tf32": True}}, dict.fromkeys(TRAINING), {"aggregate_variance"},
         WEIGHTS | OF_DATA),
        ({"compute": {"tf32_in_evaluations": True}}, dict.fromkeys(TRAINING),
         {"aggregate_variance"}, WEIGHTS | OF_DATA),
        ({"scales": {"smoke": {"admission": {"runs": 90}}}}, {"train_block of admission": 2},
         {"aggregate_variance of admission", "fig1a", "claims"},
         WEIGHTS | OF_DATA | THEORY | {"fig1b", "aggregate_variance of admission_sweep"}),
        ({"scales": {"smoke": {"mnist": {"batch_sizes": [64, 128, 256]}}}},
         {"train_network of mnist": 2}, {"aggregate_variance of mnist", "fig6", "claims"},
         WEIGHTS | OF_DATA | THEORY | {"fig3a"}),
        ({"scales": {"smoke": {"mnist": {"runs_per_block": 4}}}}, {"train_network of mnist": 2},
         {"aggregate_variance of mnist", "fig6"}, WEIGHTS | OF_DATA | THEORY | {"fig3a"}),
        ({"scales": {"smoke": {"teacher_student": {"iterations": 12}}}},
         {"train_block of teacher_student": 2}, {"fig2a", "fig2b"},
         WEIGHTS | OF_DATA | {"fig1a", "fig6", "exact_moments"}),
        # Losses are evaluated during training and cannot be had afterwards.
        ({"scales": {"smoke": {"mnist": {"evaluate_every": 2}}}}, {"train_network of mnist": 4},
         {"summarise_metrics of mnist", "fig4a"}, WEIGHTS | OF_DATA | THEORY | {"fig3a"}),
        ({"distortion": {"alpha": 9}}, dict.fromkeys(PERCEPTRON),
         {"distort_mnist", "distortion", "fig3b"}, WEIGHTS | RAW_DATA | THEORY | {"fig1a"}),
        ({"confidence_level": 0.9}, {}, {"aggregate_variance", "fig1a", "claims"},
         WEIGHTS | OF_DATA),
        # Replicas trained together may round otherwise; initial weights know none.
        ({"experiments": {"teacher_student": {"model": {"replicas_at_once": 5}}}},
         {"train_block of teacher_student": 2}, {"fig2a"}, WEIGHTS | OF_DATA | {"exact_moments"}),
        ({"experiments": {"mnist": {"initial_weights": {"seed": 2}}}},
         {"train_network of mnist": 4}, {"draw_weights of mnist"},
         (WEIGHTS - {"draw_weights of mnist"}) | OF_DATA | THEORY),
    ],
)  # fmt: skip
def test_a_change_of_the_configuration_reruns(
    smoke, data_dir, tmp_path, change, trains, runs, spares
):
    """``trains`` has the training jobs, their number where it is not that of all blocks."""
    (tmp_path / "mine.yaml").write_text(json.dumps(change))
    found = counted(smoke, data_dir, "--configfile", str(tmp_path / "mine.yaml"))
    assert {name: n for name, n in trained(found).items() if trains.get(name)} == {
        name: n for name, n in trains.items() if n
    }
    assert set(trained(found)) == set(trains)
    assert runs - set(found) == set()
    assert spares & set(found) == set()


@pytest.mark.parametrize(
    "change",
    [
        {"compute": {"threads": 2}},
        {"compute": {"checkpoint_every_s": 5}},
        {"compute": {"device": "cpu"}},  # from auto
        {"data_dir": None},
    ],
)
def test_a_change_that_no_result_depends_on_computes_nothing(smoke, data_dir, tmp_path, change):
    (tmp_path / "mine.yaml").write_text(json.dumps(change))
    found = planned(smoke, data_dir, "--configfile", str(tmp_path / "mine.yaml"))
    assert found - NOT_COMPUTED == set()


def test_another_data_folder_with_the_same_files_computes_nothing(smoke, data_dir, tmp_path):
    if data_dir is None:
        pytest.skip("there is no data folder")
    shutil.copytree(data_dir, tmp_path / "moved")
    assert planned(smoke, str(tmp_path / "moved")) - NOT_COMPUTED == set()
    # Nor does a folder that is forgotten.
    assert planned(smoke, None) - NOT_COMPUTED == set()


def test_new_modification_times_of_tables_run_nothing(smoke, data_dir):
    data = sorted((smoke / "results/smoke/data").rglob("*.parquet"))
    assert max(path.stat().st_size for path in data) > 10**6  # Snakemake's own limit
    for path in data:
        os.utime(path)
    assert planned(smoke, data_dir) == set()


def test_the_version_of_a_package_reruns_what_imports_it(smoke, data_dir, edit):
    def bumped(package: str):
        return lambda text: re.sub(rf"^{package}==", f"{package}==1000.", text, flags=re.MULTILINE)

    lock = "envs/requirements.lock"
    edit(lock, bumped("pytest"))
    assert planned(smoke, data_dir) - NOT_COMPUTED == set()
    edit(lock, bumped("matplotlib"))
    drawn = planned(smoke, data_dir)
    assert FIGURES - drawn == set()
    assert (TRAINING | WEIGHTS | THEORY | RAW_DATA) & drawn == set()
    edit(lock, bumped("torch"))
    assert planned(smoke, data_dir) >= PERCEPTRON | TRANSFORMER


def test_every_rule_with_a_script_is_given_the_code_behind_it(fresh):
    command = [sys.executable, "-c", LIST_RULES, fresh / "Snakefile", fresh]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found.keys() > RULES | THEORY | RAW_DATA | FIGURES
    # What makes weights be drawn anew is looked at again, and nothing else.
    assert found.pop(CHECK)[1] == found["draw_own_weights"][1]
    digests = {name: code for name, (_, code) in found.items()}
    assert all(re.fullmatch("[0-9a-f]{32}", digest) for digest in digests.values()), digests
    # Rules of one script share one digest; those of different scripts never do.
    assert len(set(digests.values())) == len({script for script, _ in found.values()})


def test_what_the_jobs_called_is_among_what_was_found(smoke, calls):
    """Every function that ran in a job of the smoke study, against the search in the code."""
    called = defaultdict(set)
    for path in calls.iterdir():
        called[path.name.rpartition(".")[0]] |= set(path.read_text().split())
    assert len(called) > 30
    library = Library(smoke / "src")
    for script, names in called.items():
        texts = library.search(smoke / "workflow/scripts" / script, KINDS).texts
        found = {f"{module}:{name}" for module, name in texts}
        told = {f"pipeline_lib.{name}" for name in WITHOUT_NUMBERS}
        missed = {
            name
            for name in names - found
            # A lambda belongs to the constant in which it stands. What reads the configuration is
            # left out of the search: its values are parameters.
            if name.partition(":")[0] not in told
            and not name.startswith("pipeline_lib.study.")
            # So is what it asks of the sampling.
            and name != "pipeline_lib.sampling.epochs:steps_per_epoch"
            # The body of a model's class runs at import, for whichever job: it counts apart.
            and name not in KINDS
            and not name.endswith(":<lambda>")
        }
        assert not missed, script
