# Modules, losses and data sets of the user's own: docs/own_experiment.md.


localrules:
    gradient_variance,
    decide_ordering,


rule draw_module_weights:
    """Check that module, loss and data fit together; write the initial weights of all runs."""
    input:
        own=own_code,
    output:
        WEIGHTS,
    log:
        f"{LOGS}/weights/{{experiment}}.{{init}}.log",
    benchmark:
        f"{BENCHMARKS}/weights/{{experiment}}.{{init}}.tsv"
    wildcard_constraints:
        experiment=any_of(MODULES),
    conda:
        "../../envs/pipeline.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 8000 * 2 ** (attempt - 1),
        runtime=lambda wildcards, attempt: 30 * 2 ** (attempt - 1),
    params:
        model=model_of,
        seed=lambda wildcards: experiment_of(wildcards).initial_weights.seed,
        largest_batch=lambda wildcards: experiment_of(wildcards).batch_sizes[-1],
    script:
        "../scripts/draw_module_weights.py"


rule train_module_block:
    """R runs of a module of the user's own in epochs, summarised at the recorded steps."""
    input:
        own=own_code,
        weights=WEIGHTS,
    output:
        statistics=f"{BLOCK}/statistics.parquet",
        divergence=f"{BLOCK}/divergence.parquet",
        metrics=f"{BLOCK}/metrics.parquet",
    log:
        f"{LOGS}/runs/{{experiment}}.init={{init}}.b={{b}}.seed={{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/runs/{{experiment}}.init={{init}}.b={{b}}.seed={{seed}}.tsv"
    wildcard_constraints:
        experiment=any_of(MODULES),
    conda:
        "../../envs/pipeline.yaml"
    threads: study.compute.threads
    resources:
        # What it costs is not known beforehand. As many replicas are trained at once as fit.
        mem_mb=block_mem_mb,
        runtime=block_runtime,
        cpus_per_task=study.compute.threads,
    params:
        training=training_of,
        evaluated_epochs=lambda wildcards: experiment_of(wildcards).evaluated_epochs(),
        checkpoint=CHECKPOINT,
        checkpoint_every_s=checkpoint_every_s,
        seed=study.seed,
        device=study.compute.device,
        allow_tf32=study.compute.allow_tf32,
        config_digest=block_digest,
    script:
        "../scripts/train_module_block.py"


rule gradient_variance:
    """Variance of the stochastic gradient by batch size, any module trained in epochs."""
    input:
        variance=f"{RESULTS}/variance/{{experiment}}.parquet",
    output:
        report(
            multiext(f"{RESULTS}/figures/{{experiment}}_variance", ".svg", ".png"),
            caption="../report/own.rst",
            category="7 Own experiments",
            labels={"figure": "{experiment}"},
        ),
    log:
        f"{LOGS}/figures/{{experiment}}_variance.log",
    benchmark:
        f"{BENCHMARKS}/figures/{{experiment}}_variance.tsv"
    wildcard_constraints:
        experiment=any_of(MODULES),
    conda:
        "../../envs/pipeline.yaml"
    params:
        runs=lambda wildcards: experiment_of(wildcards).runs,
        epochs=lambda wildcards: experiment_of(wildcards).epochs,
        confidence_level=study.confidence_level,
    script:
        "../scripts/own_variance.py"


rule decide_ordering:
    """Is the variance of the stochastic gradient decreasing in b at every recorded iteration?"""
    input:
        variance=f"{RESULTS}/variance/{{experiment}}.parquet",
    output:
        table=f"{RESULTS}/verdicts/{{experiment}}.parquet",
        page=f"{RESULTS}/verdicts/{{experiment}}.md",
    log:
        f"{LOGS}/verdicts/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/verdicts/{{experiment}}.tsv"
    wildcard_constraints:
        experiment=any_of(MODULES),
    conda:
        "../../envs/pipeline.yaml"
    params:
        confidence_level=study.confidence_level,
    script:
        "../scripts/ordering.py"
