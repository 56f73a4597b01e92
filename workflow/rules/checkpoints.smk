# States that stopped blocks left and that no block can go on from, as code or values have changed.

import re

from pipeline_lib.artifacts.checkpoint import is_stale


localrules:
    clear_checkpoints,


def stale_checkpoints():
    """The checkpoints of other code or configuration than their block has now.

    States of experiments that are not configured are left alone: another configuration has them.
    """
    pattern = re.compile(r"(?P<experiment>\w+)\.init=\d+\.b=\d+\.seed=\d+\.zip")
    stale = []
    for path in sorted(Path(CHECKPOINT).parent.glob("*.zip")):
        found = pattern.fullmatch(path.name)
        if found is None or found["experiment"] not in study.experiments:
            continue
        values = {
            "configuration": [
                block_digest(study.experiments[found["experiment"]], study.seed),
                study.compute.allow_tf32,
                study.compute.tf32_in_evaluations,
            ],
            "code": code_of("train_block.py")(found.groupdict()),
        }
        if is_stale(path, values):
            stale.append(str(path))
    return stale


def stop_if_stale(jobs):
    """End in one line if one of ``jobs`` would refuse its checkpoint, on a cluster three times."""
    wanted = {job.params.get("checkpoint") for job in jobs}
    refused = [path for path in stale_checkpoints() if path in wanted]
    if refused:
        stop(
            f"{refused[0]} is the state of a run of other code or configuration"
            + (f", and {len(refused) - 1} more are" if len(refused) > 1 else "")
            + "; to start these blocks anew: snakemake --cores 1 clear_checkpoints, with the same "
            "--config and --configfile"
        )


rule clear_checkpoints:
    """Remove the states of stopped blocks that are of other code or configuration."""
    log:
        f"{LOGS}/clear_checkpoints.log",
    conda:
        "../../envs/light.yaml"
    params:
        stale=lambda wildcards: stale_checkpoints(),
    script:
        "../scripts/clear_checkpoints.py"
