"""Draw estimates of the scalar network's variances beside the exact values."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_table
from pipeline_lib.figures.heavy_tails import draw
from pipeline_lib.figures.style import save_figure
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    made_with = snakemake.params.made_with
    figure = draw(
        read_table(Path(snakemake.input.estimates), "heavy_tails", expected=made_with),
        read_table(Path(snakemake.input.repeats), "heavy_tails_repeats", expected=made_with),
        made_with["confidence_level"],
    )
    save_figure(figure, [Path(path) for path in snakemake.output])
