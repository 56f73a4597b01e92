"""Fetch and check MNIST; write the images as a table and where they came from."""

import json
import os
from pathlib import Path

from pipeline_lib.artifacts.files import write_table, write_text
from pipeline_lib.data.fetch import mirror_folders
from pipeline_lib.data.kept import FOLDER
from pipeline_lib.data.mnist import load_mnist
from pipeline_lib.data.mnist_table import mnist_table
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    mirrors = mirror_folders(snakemake.config["data_dir"], os.environ)
    mnist = load_mnist(mirrors, kept_in=FOLDER)
    table = mnist_table(mnist)
    origin = {"source": mnist.source, "data_sha256": mnist.sha256, "n_rows": len(table)}
    write_text(Path(snakemake.output.origin), json.dumps(origin, indent=2) + "\n")
    write_table(Path(snakemake.output.table), table, "mnist", origin)
