# Initial weights, drawn once for all runs that start from them.


localrules:
    draw_weights,


rule draw_weights:
    """Initial weights of one experiment, shared by training and theory."""
    input:
        sources=weight_sources_of,
        own=own_files_of,
    output:
        WEIGHTS,
    log:
        f"{LOGS}/weights/{{experiment}}.{{init}}.log",
    benchmark:
        f"{BENCHMARKS}/weights/{{experiment}}.{{init}}.tsv"
    wildcard_constraints:
        experiment=any_of(e for e in study.experiments if e not in DRAWN_BY_OWN_CODE),
    conda:
        "../../envs/pipeline.yaml"
    params:
        drawn=drawn_of,
    script:
        "../scripts/draw_weights.py"


use rule draw_weights as draw_own_weights with:
    # Runs the user's code, which checks it and may load all their data: a job of its own.
    wildcard_constraints:
        experiment=any_of(DRAWN_BY_OWN_CODE),
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * 2 ** (attempt - 1),
        runtime=lambda wildcards, attempt: 30 * 2 ** (attempt - 1),
