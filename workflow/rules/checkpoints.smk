# States that stopped blocks left and that no block can go on from, as code or values have changed.


localrules:
    clear_checkpoints,


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
