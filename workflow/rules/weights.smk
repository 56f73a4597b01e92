# Initial weights, drawn once for all runs that start from them, and the user's own code tried before.


localrules:
    draw_weights,


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
    threads: study.compute.threads
    resources:
        mem_mb=own_code_mem_mb,
        # All initial weights are tried, one after the other.
        runtime=lambda wildcards, attempt: own_code_runtime(wildcards, attempt)
        * experiment_of(wildcards).initial_weights.count,
        cpus_per_task=study.compute.threads,
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
        mem_mb=own_code_mem_mb,
        runtime=own_code_runtime,
