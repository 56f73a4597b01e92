# One job trains one block: R replicas of one experiment, initial weights and batch size.


localrules:
    draw_initial_weights,


rule draw_initial_weights:
    """Initial weights, shared by training and theory."""
    input:
        data=data_of,
        code=modules("initial_weights", "seeding"),
    output:
        f"{RESULTS}/weights/experiment={{experiment}}/init={{init}}.safetensors",
    log:
        f"{LOGS}/weights/{{experiment}}.{{init}}.log",
    benchmark:
        f"{BENCHMARKS}/weights/{{experiment}}.{{init}}.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        features=features_of,
        scale=lambda wildcards: experiment_of(wildcards).initial_weights.scale,
        seed=lambda wildcards: experiment_of(wildcards).initial_weights.seed,
    script:
        "../scripts/draw_initial_weights.py"


rule train_block:
    """R runs of SGD in lock-step, summarised step by step."""
    input:
        data=data_of,
        weights=rules.draw_initial_weights.output[0],
        code=modules(
            "blocks",
            "statistics",
            "variance",
            "training",
            "sampling",
            "seeding",
            "xoshiro",
            "models/linear",
            "models/linear_kernel",
            "models/regression_design",
        ),
    output:
        statistics=f"{RESULTS}/runs/experiment={{experiment}}/init={{init}}/b={{b}}/seed={{seed}}/statistics.parquet",
        divergence=f"{RESULTS}/runs/experiment={{experiment}}/init={{init}}/b={{b}}/seed={{seed}}/divergence.parquet",
    log:
        f"{LOGS}/runs/{{experiment}}.init={{init}}.b={{b}}.seed={{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/runs/{{experiment}}.init={{init}}.b={{b}}.seed={{seed}}.tsv"
    conda:
        "../../envs/pipeline.yaml"
    threads: study.compute.threads
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * attempt,
        runtime=lambda wildcards, attempt: 10 * attempt,
    params:
        features=features_of,
        learning_rates=lambda wildcards: experiment_of(wildcards).learning_rates(),
        n_replicas=lambda wildcards: experiment_of(wildcards).runs_per_block,
        seed=study.seed,
        backend=study.compute.backend,
        config_digest=block_digest,
    script:
        "../scripts/train_block.py"
