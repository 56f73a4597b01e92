"""Draw losses and errors of an experiment of the user's own against the epoch."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_provenance, read_table
from pipeline_lib.figures.own_losses import draw
from pipeline_lib.figures.own_note import own_note
from pipeline_lib.figures.style import save_figure
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    path, params = Path(snakemake.input.metrics), snakemake.params
    figure = draw(
        read_table(path, "metric_summary", expected=params.made_with),
        params.made_with["confidence_level"],
        own_note(params, read_provenance(path)),
    )
    save_figure(figure, [Path(path) for path in snakemake.output])
