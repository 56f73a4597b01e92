"""Draw losses or errors against the epoch: Figures 4a and 4b."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_table
from pipeline_lib.figures.numbers import image_note
from pipeline_lib.figures.style import save_figure
from pipeline_lib.figures.training_curves import draw_curves
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    params = snakemake.params
    figure = draw_curves(
        read_table(Path(snakemake.input.metrics), "metric_summary", expected=params.made_with),
        params.metric,
        params.made_with["confidence_level"],
        image_note(params),
    )
    save_figure(figure, [Path(path) for path in snakemake.output])
