"""Files that tools of the field look for at fixed places."""

import re
import tomllib

import yaml


def test_license_citation_and_package_agree(repository):
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    citation = yaml.safe_load((repository / "CITATION.cff").read_text())
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"] == "MIT"
    assert (repository / "LICENSE").read_text().startswith("MIT License\n")
    [author] = citation["authors"]
    assert author["name"] in (repository / "LICENSE").read_text()
    [paper] = citation["references"]
    assert paper["identifiers"][0]["value"] == "arXiv:2004.13146"


def test_the_catalogue_finds_the_workflow(repository):
    usage = yaml.safe_load((repository / ".snakemake-workflow-catalog.yml").read_text())["usage"]
    assert usage["software-stack-deployment"] == {"conda": True}
    assert usage["report"] is True
    page = repository / "config/README.md"
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    assert "../config.yaml" in links
    assert all((page.parent / link).resolve().exists() for link in links)


def test_hosted_ci_runs_what_runs_here(repository):
    workflow = yaml.safe_load((repository / ".github/workflows/ci.yml").read_text())
    [job] = workflow["jobs"].values()
    assert [step["run"] for step in job["steps"] if "run" in step] == [".ci/run"]


def test_the_container_installs_the_lock_file_and_runs_the_study(repository):
    lines = (repository / "Dockerfile").read_text()
    assert "--requirement envs/requirements.lock" in lines
    assert lines.rstrip().endswith('CMD ["make", "study"]')
    # make finds its environment installed: the stamp is newer than what it is made from
    assert lines.index("COPY . .") < lines.index("touch .venv/.installed")
