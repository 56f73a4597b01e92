# One job trains one block: R replicas of one experiment, initial weights and batch size.


localrules:
    draw_initial_weights,
    draw_two_layer_weights,
    draw_mlp_weights,
    draw_xlnet_weights,


rule draw_initial_weights:
    """Initial weights of linear regression, shared by training and theory."""
    input:
        data=data_of,
    output:
        WEIGHTS,
    log:
        f"{LOGS}/weights/{{experiment}}.{{init}}.log",
    benchmark:
        f"{BENCHMARKS}/weights/{{experiment}}.{{init}}.tsv"
    wildcard_constraints:
        experiment=any_of(REGRESSIONS),
    conda:
        "../../envs/pipeline.yaml"
    params:
        features=features_of,
        scale=lambda wildcards: experiment_of(wildcards).initial_weights.scale,
        seed=lambda wildcards: experiment_of(wildcards).initial_weights.seed,
    script:
        "../scripts/draw_initial_weights.py"


rule draw_two_layer_weights:
    """Initial weights of the student network, and its teacher."""
    output:
        WEIGHTS,
    log:
        f"{LOGS}/weights/{{experiment}}.{{init}}.log",
    benchmark:
        f"{BENCHMARKS}/weights/{{experiment}}.{{init}}.tsv"
    wildcard_constraints:
        experiment=any_of(NETWORKS),
    conda:
        "../../envs/pipeline.yaml"
    params:
        model=model_of,
        scale=lambda wildcards: experiment_of(wildcards).initial_weights.scale,
        seed=lambda wildcards: experiment_of(wildcards).initial_weights.seed,
    script:
        "../scripts/draw_two_layer_weights.py"


rule draw_mlp_weights:
    """Initial weights of the fully connected network; its biases start at 0."""
    output:
        WEIGHTS,
    log:
        f"{LOGS}/weights/{{experiment}}.{{init}}.log",
    benchmark:
        f"{BENCHMARKS}/weights/{{experiment}}.{{init}}.tsv"
    wildcard_constraints:
        experiment=any_of(PERCEPTRONS),
    conda:
        "../../envs/pipeline.yaml"
    params:
        model=model_of,
        scale=lambda wildcards: experiment_of(wildcards).initial_weights.scale,
        seed=lambda wildcards: experiment_of(wildcards).initial_weights.seed,
    script:
        "../scripts/draw_mlp_weights.py"


rule draw_xlnet_weights:
    """Initial weights of the XLNet classifier, as wide as its vocabulary turned out."""
    input:
        origin=f"{RESULTS}/data/{{experiment}}.json",
    output:
        WEIGHTS,
    log:
        f"{LOGS}/weights/{{experiment}}.{{init}}.log",
    benchmark:
        f"{BENCHMARKS}/weights/{{experiment}}.{{init}}.tsv"
    wildcard_constraints:
        experiment=any_of(TRANSFORMERS),
    conda:
        "../../envs/pipeline.yaml"
    params:
        model=model_of,
        scale=lambda wildcards: experiment_of(wildcards).initial_weights.scale,
        seed=lambda wildcards: experiment_of(wildcards).initial_weights.seed,
    script:
        "../scripts/draw_xlnet_weights.py"


rule train_block:
    """R runs of SGD on linear regression in lock-step, summarised step by step."""
    input:
        data=data_of,
        weights=WEIGHTS,
    output:
        statistics=f"{BLOCK}/statistics.parquet",
        divergence=f"{BLOCK}/divergence.parquet",
    log:
        f"{LOGS}/runs/{{experiment}}.init={{init}}.b={{b}}.seed={{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/runs/{{experiment}}.init={{init}}.b={{b}}.seed={{seed}}.tsv"
    wildcard_constraints:
        experiment=any_of(REGRESSIONS),
    conda:
        "../../envs/pipeline.yaml"
    threads: study.compute.threads
    resources:
        mem_mb=block_mem_mb,
        runtime=block_runtime,
        cpus_per_task=study.compute.threads,
    params:
        features=features_of,
        learning_rates=lambda wildcards: experiment_of(wildcards).learning_rates(),
        n_replicas=lambda wildcards: experiment_of(wildcards).runs_per_block,
        checkpoint=CHECKPOINT,
        checkpoint_every_s=checkpoint_every_s,
        seed=study.seed,
        device=study.compute.device,
        config_digest=block_digest,
    script:
        "../scripts/train_block.py"


rule train_two_layer_block:
    """R runs of SGD on the two-layer linear network with online samples."""
    input:
        weights=WEIGHTS,
    output:
        statistics=f"{BLOCK}/statistics.parquet",
        divergence=f"{BLOCK}/divergence.parquet",
    log:
        f"{LOGS}/runs/{{experiment}}.init={{init}}.b={{b}}.seed={{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/runs/{{experiment}}.init={{init}}.b={{b}}.seed={{seed}}.tsv"
    wildcard_constraints:
        experiment=any_of(NETWORKS),
    conda:
        "../../envs/pipeline.yaml"
    threads: study.compute.threads
    resources:
        mem_mb=block_mem_mb,
        runtime=block_runtime,
        cpus_per_task=study.compute.threads,
    params:
        model=model_of,
        learning_rates=lambda wildcards: experiment_of(wildcards).learning_rates(),
        n_replicas=lambda wildcards: experiment_of(wildcards).runs_per_block,
        checkpoint=CHECKPOINT,
        checkpoint_every_s=checkpoint_every_s,
        seed=study.seed,
        device=study.compute.device,
        config_digest=block_digest,
    script:
        "../scripts/train_two_layer_block.py"


rule train_mlp_block:
    """R runs of SGD on a fully connected network in epochs, summarised at the recorded steps."""
    input:
        data=rules.prepare_mnist.output.table,
        distorted=rules.distort_mnist.output.table,
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
        experiment=any_of(PERCEPTRONS),
    conda:
        "../../envs/pipeline.yaml"
    threads: study.compute.threads
    resources:
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
        "../scripts/train_mlp_block.py"


rule train_xlnet_block:
    """R runs of XLNet under AdamW in epochs, summarised at every step."""
    input:
        data=f"{RESULTS}/data/{{experiment}}.parquet",
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
        experiment=any_of(TRANSFORMERS),
    conda:
        "../../envs/pipeline.yaml"
    threads: study.compute.threads
    resources:
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
        "../scripts/train_xlnet_block.py"


rule heavy_tails:
    """What R runs see of a variance that is known exactly: the scalar two-layer network."""
    output:
        estimates=f"{RESULTS}/heavy_tails/estimates.parquet",
        repeats=f"{RESULTS}/heavy_tails/repeats.parquet",
    log:
        f"{LOGS}/heavy_tails/estimates.log",
    benchmark:
        f"{BENCHMARKS}/heavy_tails/estimates.tsv"
    conda:
        "../../envs/pipeline.yaml"
    resources:
        mem_mb=lambda wildcards, attempt: 1000 * 2 ** (attempt - 1),
        runtime=lambda wildcards, attempt: 10 * 2 ** (attempt - 1),
    params:
        settings=scalar_settings("polynomial_max_step"),
        seed=study.seed,
        confidence_level=study.confidence_level,
    script:
        "../scripts/heavy_tails.py"
