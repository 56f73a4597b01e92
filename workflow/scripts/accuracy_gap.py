"""Draw the accuracy on training less distorted images against the epoch: Figure 3b."""

from pathlib import Path

from pipeline_lib.artifacts import read_table
from pipeline_lib.figures.style import save_figure, scale_note
from pipeline_lib.figures.training_curves import draw_gap
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    params = snakemake.params
    figure = draw_gap(
        read_table(Path(snakemake.input.metrics), "metric_summary"),
        params.first_epoch,
        params.confidence_level,
        scale_note(
            {
                "runs": (params.runs, params.paper_runs),
                "epochs": (params.epochs, params.paper_epochs),
                "training images": (params.examples, params.paper_examples),
            }
        ),
    )
    save_figure(figure, [Path(path) for path in snakemake.output])
