"""Remove the states of stopped blocks that no block can go on from."""

import logging
from pathlib import Path

from pipeline_lib.logs import job_log

with job_log(snakemake.log[0]):
    log = logging.getLogger("pipeline_lib")
    for name in snakemake.params.stale:
        Path(name).unlink()
        log.info("removed %s", name)
    log.info("%d checkpoints of other code or configuration", len(snakemake.params.stale))
