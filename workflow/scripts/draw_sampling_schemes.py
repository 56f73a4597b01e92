"""Draw the variance of the gradient under four ways of drawing mini-batches."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_provenance, read_table
from pipeline_lib.figures.sampling_schemes import draw
from pipeline_lib.figures.style import save_figure
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    path = Path(snakemake.input.table)
    figure = draw(
        read_table(path, "sampling_schemes"),
        read_provenance(path)["n_rows"],
        snakemake.params.runs,
        snakemake.params.confidence_level,
    )
    save_figure(figure, [Path(output) for output in snakemake.output])
