"""Draw variance, loss or accuracy of XLNet against the epoch: Figures 5a, 5b and 5c."""

import json
from pathlib import Path

from pipeline_lib.artifacts.files import read_table
from pipeline_lib.figures import epoch_panels
from pipeline_lib.figures.numbers import scale_note
from pipeline_lib.figures.style import save_figure
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    params = snakemake.params
    kind = "epoch_variance" if params.panels == "variance" else "metric_summary"
    table = read_table(Path(snakemake.input.table), kind, expected=params.made_with)
    origin = json.loads(Path(snakemake.input.origin).read_text())
    n_reviews = origin["sets"]["training"]["n_reviews"]
    scale = scale_note(
        {
            "runs": (params.runs, params.paper_runs),
            "epochs": (params.epochs, params.paper_epochs),
            "reviews": (n_reviews, params.paper_examples),
        }
    )
    figure = epoch_panels.draw(
        getattr(epoch_panels, f"{params.panels}_panels")(table),
        params.ylabel,
        params.made_with["confidence_level"],
        f"{scale}\n{epoch_panels.source_note(origin['name'], params.model)}",
    )
    save_figure(figure, [Path(path) for path in snakemake.output])
