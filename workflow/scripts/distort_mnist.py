"""Distort the validation images of MNIST."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_provenance, read_table, write_table
from pipeline_lib.data.mnist_table import distorted_table
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    images = Path(snakemake.input.table)
    settings = snakemake.params.distortion
    table = distorted_table(read_table(images, "mnist"), **settings)
    provenance = read_provenance(images) | {"n_rows": len(table), "distortion": settings}
    write_table(Path(snakemake.output.table), table, "mnist", provenance)
