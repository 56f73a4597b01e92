"""The workflow as a user meets it: one command, partial reruns, bad input, artefacts."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from checkout import NOTHING, copy_of, jobs, snakemake
from pipeline_lib.artifacts.files import read_provenance, read_table


@pytest.mark.parametrize(
    ("scale", "blocks"), [("smoke", 2 * 2 + 20 + 2), ("quick", 4 + 20 + 6), ("paper", 4 + 20 + 6)]
)
def test_dry_run_of_every_scale_lists_its_blocks(fresh, scale, blocks):
    done = snakemake(fresh, "--dry-run", "--config", f"scale={scale}")
    assert done.returncode == 0, done.stderr
    counted = jobs(done.stdout + done.stderr)
    assert counted["train_block"] == blocks
    assert counted["fig1a"] == counted["fig1b"] == 1


def test_figure_1b_needs_nothing_of_figure_1a(fresh):
    done = snakemake(fresh, "--dry-run", "fig1b")
    counted = jobs(done.stdout + done.stderr)
    assert counted["train_block"] == 20
    assert counted["aggregate_variance"] == 1
    assert "fig1a" not in counted


def test_slurm_profile_is_found_and_keeps_the_default_profile(fresh):
    done = snakemake(fresh, "--dry-run", "--profile", "slurm")
    assert done.returncode == 0, done.stderr
    assert jobs(done.stdout + done.stderr)["train_block"] == 30
    assert "profiles/default" in done.stderr


def test_artefacts_of_the_smoke_study_have_their_schemas(smoke, data_dir):
    results = smoke / "results/smoke"
    kinds = {
        "data/admissions.parquet": "admissions",
        "runs/statistics/admission/init_0/b_4/seed_1.parquet": "statistics",
        "runs/divergence/admission/init_0/b_4/seed_1.parquet": "divergence",
        "runs/noise/admission/init_0/b_4/seed_1.parquet": "noise",
        "runs/noise/teacher_student/init_0/b_4/seed_0.parquet": "noise",
        "noise/admission.parquet": "noise_scale",
        "noise/teacher_student.parquet": "noise_scale",
        "variance/admission.parquet": "variance",
        "variance/admission_sweep.parquet": "variance",
        "theory/variance/admission.parquet": "theory",
        "theory/loss/admission.parquet": "expected_loss",
        "theory/polynomial/admission_sweep.parquet": "polynomial",
        "fits/admission_sweep.parquet": "fits",
        "fitted_curves/admission_sweep.parquet": "fitted_curves",
    }
    tables = {path: read_table(results / path, kind) for path, kind in kinds.items()}
    empty = [path for path, table in tables.items() if table.empty]
    # No run diverged, and the noise scale of linear regression is exact.
    assert empty == [
        f"runs/{kind}/admission/init_0/b_4/seed_1.parquet" for kind in ("divergence", "noise")
    ]
    assert tables["noise/admission.parquet"]["exact"].all()
    assert not tables["noise/teacher_student.parquet"]["exact"].any()
    variance = tables["variance/admission.parquet"]
    assert set(variance["b"]) == {4, 64}
    assert set(variance["n_runs"]) == {60}
    assert set(variance["dof"]) == {58}  # two blocks, each with a mean of its own
    for figure in ("fig1a", "fig1b", "admission_noise_scale", "teacher_student_noise_scale"):
        for kind in ("svg", "png"):
            assert (results / f"figures/{figure}.{kind}").stat().st_size > 10_000
    origin = json.loads((results / "data/admissions.json").read_text())
    assert origin["n_rows"] == len(tables["data/admissions.parquet"])
    # What the README says of the metadata.
    listed = [
        path
        for name in ("runs", "variance", "noise", "metrics")
        for path in (results / name).rglob("*.parquet")
    ]
    for path in listed:
        provenance = read_provenance(path)
        assert re.fullmatch("[0-9a-f]{16,}", provenance["config"]), path
        online = provenance["experiment"] == "teacher_student"
        assert (provenance["data_sha256"] is None) == online, path


def test_second_run_does_no_work(smoke, data_dir):
    done = snakemake(smoke, "--config", "scale=smoke", data=data_dir)
    assert done.returncode == 0
    assert NOTHING in done.stdout + done.stderr


def test_one_figure_is_drawn_again_alone(smoke, data_dir):
    figure = smoke / "results/smoke/figures/fig1b.png"
    before = figure.read_bytes()
    figure.unlink()
    arguments = ("fig1b", "--config", "scale=smoke")
    planned = snakemake(smoke, "--dry-run", *arguments, data=data_dir)
    assert jobs(planned.stdout + planned.stderr) == {"fig1b": 1, "total": 1}
    assert snakemake(smoke, *arguments, data=data_dir).returncode == 0
    assert figure.read_bytes() == before


def test_results_from_another_machine_are_drawn_without_training(smoke, repository, tmp_path):
    """Whatever order copying them has given to their modification times."""
    elsewhere = copy_of(repository, tmp_path / "elsewhere")
    shutil.copytree(smoke / "results", elsewhere / "results", copy_function=shutil.copy)
    for path in (elsewhere / "results/smoke/weights").rglob("*.*"):
        path.touch()
    scale = ("--config", "scale=smoke")
    planned = snakemake(elsewhere, "--dry-run", *scale)
    assert jobs(planned.stdout + planned.stderr)["train_block"] == 26
    touched = snakemake(elsewhere, "--touch", "--forceall", *scale)
    assert touched.returncode == 0, touched.stderr
    planned = snakemake(elsewhere, "--dry-run", *scale)
    assert NOTHING in planned.stdout + planned.stderr
    # What every job was made with is noted, also of those that were not out of date before.
    other = {"experiments": {"admission": {"initial_weights": {"seed": 2}}}}
    (elsewhere / "other.yaml").write_text(json.dumps(other))
    planned = snakemake(elsewhere, "--dry-run", "--configfile", "other.yaml", *scale)
    changed = jobs(planned.stdout + planned.stderr)
    assert changed["draw_weights"] == 1
    assert changed["train_block"] == 4
    figure = "results/smoke/figures/fig1b.png"
    (elsewhere / figure).unlink()
    drawn = snakemake(elsewhere, "fig1b", *scale)
    assert drawn.returncode == 0, drawn.stderr
    assert jobs(drawn.stdout + drawn.stderr) == {"fig1b": 1, "total": 1}
    assert (elsewhere / figure).read_bytes() == (smoke / figure).read_bytes()


def test_same_seed_gives_the_same_values_and_another_seed_does_not(smoke, data_dir):
    path = "results/smoke/runs/statistics/admission/init_0/b_4/seed_0.parquet"
    first = read_table(smoke / path, "statistics")
    (smoke / path).unlink()
    arguments = ("--config", "scale=smoke", "--forcerun", "train_block", "--", path)
    assert snakemake(smoke, *arguments, data=data_dir).returncode == 0
    assert read_table(smoke / path, "statistics").equals(first)
    other = "results/smoke/runs/statistics/admission/init_0/b_4/seed_1.parquet"
    assert not read_table(smoke / other, "statistics").equals(first)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        (
            "scale: papr",
            "scale: 'papr' is not one of the allowed values: smoke, quick",
        ),
        ("sed: 3", "sed: unknown key"),
        (
            "experiments: {admission: {batch_sizes: [4, 501]}}",
            "experiments.admission.batch_sizes: 501 is above the 500 rows",
        ),
        (
            "experiments: {admission: {runs: -5}}",
            "experiments.admission.runs: -5",
        ),
        (
            "scales: {smoke: {admision: {runs: 4}}}",
            "scales.smoke.admision: unknown experiment",
        ),
        (
            "experiments: {admission_sweep: {polynomial: null}}",
            "experiments.admission_sweep.polynomial: null, but Figure 1b is drawn from it",
        ),
    ],
)
def test_bad_configuration_is_told_in_one_line_before_any_job(fresh, override, expected):
    (fresh / "mine.yaml").write_text(override)
    done = snakemake(fresh, "--configfile", "mine.yaml")
    assert done.returncode != 0
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == 1
    told, n_places = re.subn(r" \(mine\.yaml, line \d+\)", "", errors[0])
    assert n_places == 1
    assert expected in told
    assert "allowed" in told
    assert "Traceback" not in done.stderr
    assert not (fresh / "results").exists()


def test_a_checkout_may_have_a_space_in_its_path(repository, tmp_path, data_dir):
    (tmp_path / "a folder").mkdir()
    folder = copy_of(repository, tmp_path / "a folder/checkout")
    weights = "results/smoke/weights/experiment=admission/init=0.safetensors"
    done = snakemake(folder, "--config", "scale=smoke", "--", weights, data=data_dir)
    assert done.returncode == 0, done.stderr


def test_an_interpreter_with_a_space_in_its_path_is_refused_in_one_line(fresh, tmp_path):
    (tmp_path / "a folder").symlink_to(Path(sys.executable).parent.parent)
    python = tmp_path / "a folder/bin" / Path(sys.executable).name
    command = [python, "-m", "snakemake", "--cores", "1", "--dry-run"]
    done = subprocess.run(command, cwd=fresh, capture_output=True, text=True, check=False)
    (told,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "an interpreter whose path has a space" in told


def test_altered_data_stops_the_run_and_leaves_nothing(fresh, tmp_path):
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    rows = ["1,2,3,4,5,6,7,8,9", "2,1,1,1,1,1,oops,1,0.5"]
    (mirror / "Admission_Predict_Ver1.1.csv").write_text("\n".join(["a,b,c,d,e,f,g,h,i", *rows]))
    done = snakemake(fresh, "fig1a", "--config", "scale=smoke", data=str(mirror))
    assert done.returncode != 0
    assert "row 2 (line 3), column cgpa: 'oops'" in done.stderr
    log = (fresh / "logs/smoke/data/admissions.log").read_text()
    assert len([line for line in log.splitlines() if "error:" in line]) == 1
    assert "Traceback" not in log
    assert not list((fresh / "results").rglob("*.parquet"))
    assert not list((fresh / "results").rglob("*.json"))


@pytest.fixture
def older_mirror(raw_data, tmp_path) -> Path:
    """A data folder with the older file: the first 400 of the 500 rows."""
    names = [folder / "Admission_Predict_Ver1.1.csv" for folder in raw_data]
    full = next((name for name in names if name.is_file()), None)
    if full is None:
        pytest.skip("the 500-row file is in no data folder")
    mirror = tmp_path / "older"
    mirror.mkdir()
    lines = full.read_text().splitlines(keepends=True)
    (mirror / "Admission_Predict.csv").write_text("".join(lines[:401]))
    return mirror


def small_sweep(folder: Path, **changes: object) -> tuple[str, ...]:
    """Arguments for a sweep of few runs and sizes."""
    sweep = {"batch_sizes": [4, 40, 400, 480], "polynomial": {"degree": 1, "steps": [1, 3]}}
    sweep |= {"runs": 40, "runs_per_block": 40, "iterations": 4}
    values = {**changes, "scales": {"smoke": {"admission_sweep": sweep}}}
    (folder / "mine.yaml").write_text(json.dumps(values))
    return ("--configfile", "mine.yaml", "--config", "scale=smoke")


def test_sizes_above_an_older_copy_are_left_out_and_a_supplied_file_is_noticed(
    fresh, older_mirror, data_dir
):
    arguments = small_sweep(fresh, only=["admission_sweep"])
    done = snakemake(fresh, *arguments, data=str(older_mirror))  # every table, figure and claim
    assert done.returncode == 0, done.stderr
    noise = read_table(fresh / "results/smoke/noise/admission_sweep.parquet", "noise_scale")
    assert sorted(noise["b"].unique()) == [4, 40, 400]
    table = read_table(fresh / "results/smoke/variance/admission_sweep.parquet", "variance")
    assert table["b"].max() == 400
    assert (table.loc[table["b"] == 400, "variance"] == 0).all()
    assert "above the 400 rows" in done.stderr
    planned = snakemake(fresh, "--dry-run", "fig1b", *arguments, data=data_dir)
    assert jobs(planned.stdout + planned.stderr)["prepare_admissions"] == 1


def test_sizes_that_are_all_above_the_rows_at_hand_are_told_before_a_run(fresh, older_mirror):
    (fresh / "mine.yaml").write_text(
        "scales: {smoke: {admission: {batch_sizes: [410, 450], runs: 4, runs_per_block: 4}}}"
    )
    arguments = ("--configfile", "mine.yaml", "--config", "scale=smoke")
    target = "results/smoke/variance/admission.parquet"
    done = snakemake(fresh, target, *arguments, data=str(older_mirror))
    assert done.returncode != 0
    told = (
        "config: experiments.admission.batch_sizes: every size, from 410 on, is above the 400 rows "
        "at hand; allowed: one of at most 400"
    )
    assert done.stderr.splitlines()[-1].endswith(told)
    assert "Traceback" not in done.stderr
    assert not (fresh / "results/smoke/runs").exists()


def test_long_lists_that_have_changed_are_told_in_a_line(fresh, data_dir):
    target = "results/smoke/noise/admission.parquet"

    def planned(iterations: int, *options: str) -> str:
        changes = {"scales": {"smoke": {"admission": {"iterations": iterations}}}}
        (fresh / "mine.yaml").write_text(json.dumps(changes))
        arguments = (*options, target, "--configfile", "mine.yaml", "--config", "scale=smoke")
        done = snakemake(fresh, *arguments, data=data_dir)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    planned(1000)
    assert "Nothing to be done" in planned(1000, "--dry-run")
    told = planned(1001, "--dry-run")
    assert "Params have changed" in told
    assert re.search(r"before: .*<1,000 values, \w+>.* now: .*<1,001 values, \w+>", told)
    assert max(map(len, told.splitlines())) < 1000


def test_the_registry_is_the_last_place_looked_at(fresh):
    arguments = small_sweep(fresh, data_dir=None)
    done = snakemake(fresh, "results/smoke/data/admissions.json", *arguments)
    if done.returncode != 0:
        assert "no usable copy" in done.stderr
        pytest.skip("neither the internet nor a package registry can be reached")
    origin = json.loads((fresh / "results/smoke/data/admissions.json").read_text())
    assert (origin["n_rows"], origin["source"].split(":")[0]) in {(500, "url"), (400, "wheel")}


def test_full_batch_and_divergence_are_noted_not_drawn(fresh, data_dir):
    """At b = n the variance is 0; with far too large a learning rate runs are lost."""
    sizes = {"batch_sizes": [4, 400], "runs": 20, "runs_per_block": 20, "iterations": 200}
    rate = {"learning_rate": {"schedule": "constant", "initial": 30.0}}
    values = {"scales": {"smoke": {"admission": {**rate, **sizes}}}}
    (fresh / "mine.yaml").write_text(json.dumps(values))
    arguments = ("--configfile", "mine.yaml", "--config", "scale=smoke")
    done = snakemake(fresh, "fig1a", *arguments, data=data_dir)
    assert done.returncode == 0, done.stderr
    table = read_table(fresh / "results/smoke/variance/admission.parquet", "variance")
    late = table[(table["b"] == 4) & (table["step"] == 199)]
    assert (late["n_diverged"] == 20).all()
    assert late["variance"].isna().all()
    # Before that the error bars overflow first, and nothing without one is called reliable.
    assert table["std_error"].isna().any()
    assert not table.loc[table["std_error"].isna(), "reliable"].any()
