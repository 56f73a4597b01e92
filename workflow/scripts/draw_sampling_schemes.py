"""Draw the variance of the gradient under four ways of drawing mini-batches."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_provenance, read_table
from pipeline_lib.figures.sampling_schemes import draw
from pipeline_lib.figures.style import save_figure
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    path, params = Path(snakemake.input.table), snakemake.params
    figure = draw(
        read_table(path, "sampling_schemes", expected=params.made_with),
        read_provenance(path)["n_rows"],
        params.runs,
        params.made_with["confidence_level"],
    )
    save_figure(figure, [Path(output) for output in snakemake.output])
