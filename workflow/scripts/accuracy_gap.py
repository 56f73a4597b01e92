"""Draw the accuracy on training less distorted images against the epoch: Figure 3b."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_table
from pipeline_lib.figures.numbers import image_note
from pipeline_lib.figures.style import save_figure
from pipeline_lib.figures.training_curves import draw_gap
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    params = snakemake.params
    figure = draw_gap(
        read_table(Path(snakemake.input.metrics), "metric_summary", expected=params.made_with),
        params.first_epoch,
        params.made_with["confidence_level"],
        image_note(params),
    )
    save_figure(figure, [Path(path) for path in snakemake.output])
