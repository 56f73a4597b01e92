"""Names of a user's own: of experiments, packages and files, told before a job starts."""

import copy
import hashlib
import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline_lib.errors import ConfigError
from pipeline_lib.imports import (
    named_files,
    refuse_missing,
    refuse_shadows,
    source_files,
)
from pipeline_lib.models import MODELS
from pipeline_lib.new import main, write_study
from pipeline_lib.study.code import imported
from pipeline_lib.study.config import choose_own, load_study
from pipeline_lib.study.layers import apply_changes

ROOT = Path(__file__).resolve().parents[2]


def raw_with(*names: str) -> dict[str, Any]:
    """The study's configuration with experiments of these names added."""
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    example = yaml.safe_load((ROOT / "examples/digits/config.yaml").read_text())
    for name in names:
        raw["experiments"][name] = copy.deepcopy(example["experiments"]["digits_plain_sgd"])
    return raw


PAPERS = raw_with()["experiments"]


@pytest.mark.parametrize(
    "name", ["yelp_epochs", "admission_efficiency", "mnist_loss", "scalar_degrees"]
)
def test_a_name_like_that_of_a_table_is_a_name_like_any_other(name) -> None:
    """Every table has a folder of its own, so files of two experiments cannot meet."""
    assert name in load_study(raw_with(name), MODELS).experiments


def test_own_experiments_are_built_alone_unless_others_are_chosen() -> None:
    raw = raw_with("mine", "other")
    choose_own(raw, PAPERS)
    assert load_study(raw, MODELS).chosen == ("mine", "other")
    named = raw_with("mine") | {"only": ["mnist"]}
    choose_own(named, PAPERS)
    assert named["only"] == ["mnist"]
    papers = raw_with()
    choose_own(papers, PAPERS)
    assert papers["only"] is None


def test_an_experiment_named_as_one_of_the_papers_is_told_so() -> None:
    raw = raw_with("mnist")
    expected = "experiments.mnist: the paper's experiment of this name has a model of kind percep"
    with pytest.raises(ConfigError, match=expected):
        choose_own(raw, PAPERS)


def test_the_same_where_it_is_laid_over_the_configuration_of_the_checkout() -> None:
    base = yaml.safe_load((ROOT / "config.yaml").read_text())
    example = yaml.safe_load((ROOT / "examples/digits/config.yaml").read_text())
    changes = {"experiments": {"mnist": example["experiments"]["digits_plain_sgd"]}}
    expected = "experiments.mnist: the paper's experiment of this name has a model of kind percep"
    with pytest.raises(ConfigError, match=expected):
        choose_own(apply_changes(base, changes), PAPERS)


# --- files


def test_a_module_goes_before_a_folder_of_its_name(tmp_path) -> None:
    """Python imports ``data.py`` and not the folder ``data`` beside it, which is no package."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/notes.py").touch()
    (tmp_path / "data.py").touch()
    assert source_files("data:make_dataset", [tmp_path]) == [tmp_path / "data.py"]


def test_imports_are_followed_wherever_they_lead(tmp_path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    (one / "pack").mkdir(parents=True)
    two.mkdir()
    (one / "pack/__init__.py").touch()
    (one / "pack/net.py").write_text("import torch\nfrom shapes import area\n")
    (two / "shapes.py").write_text("def area():\n    import corners.parts\n")
    (two / "corners.py").write_text("not Python:\n")
    (two / "unused.py").touch()
    found = source_files("pack.net:make", [one, two])
    expected = [one / "pack/__init__.py", one / "pack/net.py"]
    assert found == [*expected, two / "corners.py", two / "shapes.py"]


def test_listed_files_and_folders_are_followed(tmp_path) -> None:
    (tmp_path / "tables/old").mkdir(parents=True)
    for name in ("tables/a.csv", "tables/old/b.csv", "c.csv"):
        (tmp_path / name).touch()
    found = named_files("depends_on", ["tables", "c.csv"], tmp_path)
    assert [path.name for path in found] == ["a.csv", "b.csv", "c.csv"]
    with pytest.raises(ConfigError, match=r"depends_on: 'd.csv' is no file or folder in"):
        named_files("depends_on", ["d.csv"], tmp_path)


def test_an_import_by_a_name_that_is_written_out_is_followed(tmp_path) -> None:
    (tmp_path / "one.py").write_text("import importlib\nimportlib.import_module('two.deep')\n")
    (tmp_path / "two").mkdir()
    for name in ("two/__init__.py", "two/deep.py", "three.py"):
        (tmp_path / name).touch()
    found = source_files("one:make", [tmp_path])
    assert found == [tmp_path / name for name in ("one.py", "two/__init__.py", "two/deep.py")]


def test_a_record_of_imports_says_what_was_edited_since_they_were_first_seen(
    tmp_path, monkeypatch
) -> None:
    record_file = tmp_path / "record.json"
    for name in ("seen_first", "seen_later"):
        (tmp_path / f"{name}.py").write_text("one = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("seen_first")
    found = imported.imported_from([tmp_path])
    assert found.keys() == {"seen_first.py"}
    imported.record(record_file, found)
    assert imported.edited(record_file, [tmp_path]) == {}
    (tmp_path / "seen_first.py").write_text("one = 2\n")
    importlib.import_module("seen_later")
    now = imported.edited(record_file, [tmp_path])
    assert now == {"seen_first.py": hashlib.sha256(b"one = 2\n").hexdigest()}
    # A run with the edit leaves it one, for else the next call would run again.
    imported.record(record_file, imported.imported_from([tmp_path]))
    assert imported.edited(record_file, [tmp_path]) == now
    (tmp_path / "seen_first.py").write_text("one = 1\n")
    assert imported.edited(record_file, [tmp_path]) == {}
    (tmp_path / "seen_later.py").unlink()
    assert imported.edited(record_file, [tmp_path]) == {"seen_later.py": "gone"}


def test_a_module_of_an_environment_within_the_folder_is_not_recorded(
    tmp_path, monkeypatch
) -> None:
    (tmp_path / "env").mkdir()
    for name in ("env/of_the_environment", "of_the_user"):
        (tmp_path / f"{name}.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "env")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("of_the_environment", "of_the_user"):
        importlib.import_module(name)
    for prefix in ("prefix", "base_prefix"):
        with monkeypatch.context() as patch:
            patch.setattr(sys, prefix, str(tmp_path / "env"))
            assert imported.imported_from([tmp_path]).keys() == {"of_the_user.py"}


def test_a_package_that_is_nowhere_is_told(tmp_path) -> None:
    (tmp_path / "here.py").touch()
    refuse_missing("model.loss", "here:loss", [tmp_path])
    refuse_missing("model.loss", "torch.nn:MSELoss", [])
    with pytest.raises(ConfigError, match=r"model.loss: 'my_pkg.a:b': no module 'my_pkg' in the"):
        refuse_missing("model.loss", "my_pkg.a:b", [tmp_path])


@pytest.mark.parametrize("name", ["torch/__init__.py", "pipeline_lib/__init__.py", "random.py"])
def test_a_file_that_hides_a_package_is_named(name, tmp_path) -> None:
    (tmp_path / "data").mkdir()
    refuse_shadows([tmp_path])
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    with pytest.raises(ConfigError, match="its name hides the package"):
        refuse_shadows([tmp_path])


# --- a new study


def test_a_new_study_is_one_that_loads_with_every_file_found(tmp_path) -> None:
    folder = tmp_path / "my_study"
    write_study(folder)
    raw = raw_with()
    mine = yaml.safe_load((folder / "config.yaml").read_text())
    raw["experiments"] |= mine["experiments"]
    for scale, changes in mine["scales"].items():
        raw["scales"][scale] |= changes
    choose_own(raw, PAPERS)
    study = load_study(raw, MODELS)
    assert study.chosen == ("my_study_sgd", "my_study_adam")
    files = study.experiments["my_study_adam"].model.own_files([folder])
    assert {path.name for path in files} == {"__init__.py", "data.py", "networks.py"}
    readme = (folder / "README.md").read_text()
    assert f"--snakefile {ROOT / 'Snakefile'} --configfile config.yaml" in readme
    assert "NAME" not in readme


@pytest.mark.parametrize("name", ["My-Study", "torch", "taken"])
def test_a_new_study_of_an_impossible_name_is_refused(name, tmp_path, capsys) -> None:
    (tmp_path / "taken").mkdir()
    assert main([str(tmp_path / name)]) == 1
    assert capsys.readouterr().err.startswith("error: ")
    assert not list((tmp_path / name).glob("*"))
