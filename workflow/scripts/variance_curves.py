"""Draw variances against the iteration: Figures 1a, 2a and 2b."""

from pathlib import Path

from pipeline_lib.artifacts.files import read_provenance, read_table
from pipeline_lib.figures.exact import read_theory, with_reason
from pipeline_lib.figures.numbers import sample_note
from pipeline_lib.figures.style import save_figure
from pipeline_lib.figures.variance_curves import draw
from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    params = snakemake.params
    figure = draw(
        read_table(Path(snakemake.input.variance), "variance", expected=params.made_with),
        read_theory(snakemake.input.theory, params.made_with),
        params.made_with["confidence_level"],
        params.tensor,
        params.titles,
        with_reason(
            sample_note(
                params.runs,
                params.paper_runs,
                read_provenance(Path(snakemake.input.variance)).get("n_rows"),
                params.paper_rows,
            ),
            params.uncovered,
        ),
    )
    save_figure(figure, [Path(path) for path in snakemake.output])
