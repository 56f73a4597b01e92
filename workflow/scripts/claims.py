"""Evaluate every claim of the ledger from the study's tables; write it as a table and as a page."""

import json
from pathlib import Path

from pipeline_lib.artifacts.files import read_provenance, read_table, write_table, write_text
from pipeline_lib.artifacts.weights import read_weights
from pipeline_lib.claims.artefacts import claimed, expected_of, needed_tables
from pipeline_lib.claims.ledger import evaluate, ledger_page
from pipeline_lib.claims.source import Regression
from pipeline_lib.claims.verdict import claims_table
from pipeline_lib.data.admissions import read_design
from pipeline_lib.logs import job_log
from pipeline_lib.models import MODELS
from pipeline_lib.study.config import load_study

with job_log(snakemake.log[0]):
    inputs = snakemake.input
    study = load_study(snakemake.config, MODELS)
    kinds = needed_tables(study).items()
    tables = {
        name: read_table(Path(path), kind, expected=expected_of(study, name))
        for (name, kind), path in zip(kinds, inputs.tables, strict=True)
    }
    regression = rows = None
    if inputs.admissions:
        rows = read_provenance(Path(inputs.admissions[0]))["n_rows"]
    if "admission" in claimed(study):
        features = study.experiments["admission"].model.features
        design = read_design(Path(inputs.admissions[0]), features)
        weights = read_weights(Path(inputs.weights[0]))["weights"]
        regression = Regression(design.features, design.target, weights)
    reviews = None
    if "yelp" in claimed(study):
        reviews = json.loads(Path(inputs.reviews[0]).read_text(encoding="utf-8"))
    findings = evaluate(study, tables, regression, reviews, rows)
    write_table(
        Path(snakemake.output.table), claims_table(findings), "claims", snakemake.params.made_with
    )
    write_text(Path(snakemake.output.page), ledger_page(findings, study.scale))
