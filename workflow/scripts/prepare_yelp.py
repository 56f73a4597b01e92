"""Fetch and check the reviews, split and encode them; write table, vocabulary and origin."""

import json
import os
from pathlib import Path

import numpy as np

from pipeline_lib.artifacts.files import write_table, write_text, write_whole
from pipeline_lib.data.fetch import mirror_folders
from pipeline_lib.data.kept import FOLDER
from pipeline_lib.data.reviews_table import prepare
from pipeline_lib.data.yelp import load_reviews
from pipeline_lib.logs import job_log
from pipeline_lib.seeding import seed_sequence

with job_log(snakemake.log[0]):
    wanted = snakemake.params.reviews
    mirrors = mirror_folders(snakemake.config["data_dir"], os.environ)
    prepared = prepare(
        load_reviews(mirrors, kept_in=FOLDER),
        wanted["training_examples"],
        wanted["validation_examples"],
        wanted["vocabulary"],
        np.random.default_rng(seed_sequence(wanted["subset_seed"], "split", "yelp")),
        length=wanted["tokens"],
    )
    write_whole(Path(snakemake.output.vocabulary), lambda path: path.write_bytes(prepared.model))
    origin = prepared.origin | {"supplied": snakemake.params.supplied}
    write_text(Path(snakemake.output.origin), json.dumps(origin, indent=2) + "\n")
    write_table(Path(snakemake.output.table), prepared.frame, "reviews", origin)
