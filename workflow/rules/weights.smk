# Initial weights, drawn once for all runs that start from them, and the user's own code tried before.


localrules:
    draw_weights,


own_code_resources = {
    "mem_mb": lambda wildcards, attempt: 8000 * 2 ** (attempt - 1),
    "runtime": lambda wildcards, attempt: 30 * 2 ** (attempt - 1),
}


rule check_own_code:
    """Try a module, loss and data of the user's own on all that they will be asked.

    A job of its own, for each state of the code: what refuses them deletes no weights and no block,
    and the state before is as good as it was.
    """
    input:
        own=own_files_of,
    output:
        CHECKED,
    log:
        f"{LOGS}/checks/{{experiment}}.{{state}}.log",
    benchmark:
        f"{BENCHMARKS}/checks/{{experiment}}.{{state}}.tsv"
    wildcard_constraints:
        experiment=any_of(DRAWN_BY_OWN_CODE),
        state="[0-9a-f]{8}",
    conda:
        "../../envs/pipeline.yaml"
    resources:
        **own_code_resources,
    params:
        # Not its own, whose edits would draw weights and train anew.
        code=code_of("draw_weights.py"),
        drawn=drawn_of,
        imports=IMPORTS,
    script:
        "../scripts/check_own_code.py"


rule draw_weights:
    """Initial weights of one experiment, shared by training and theory."""
    input:
        sources=weight_sources_of,
        own=own_files_of,
        checked=checked_of,
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
    # Runs the user's code, which may load all their data: a job of its own.
    wildcard_constraints:
        experiment=any_of(DRAWN_BY_OWN_CODE),
    resources:
        **own_code_resources,
