"""Fetch and check Graduate Admissions; write the table and where it came from."""

import json
import os
from pathlib import Path

from pipeline_lib.artifacts.files import write_table, write_text
from pipeline_lib.data.admissions import load_admissions
from pipeline_lib.data.fetch import mirror_folders
from pipeline_lib.data.kept import FOLDER
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    mirrors = mirror_folders(snakemake.config["data_dir"], os.environ)
    table = load_admissions(mirrors, kept_in=FOLDER)
    origin = {
        "source": table.source,
        "data_sha256": table.body_sha256,
        "n_rows": table.n_rows,
        "supplied": snakemake.params.supplied,
    }
    write_text(Path(snakemake.output.origin), json.dumps(origin, indent=2) + "\n")
    write_table(Path(snakemake.output.table), table.frame, "admissions", origin)
