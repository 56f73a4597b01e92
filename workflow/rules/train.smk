# One job trains one block: R runs of one experiment, initial weights and batch size.


rule train_block:
    """R runs side by side for a number of iterations, summarised at every step."""
    input:
        sources=sources_of,
        own=own_files_of,
        weights=WEIGHTS,
    output:
        statistics=block_table("statistics"),
        divergence=block_table("divergence"),
        noise=block_table("noise"),
    log:
        f"{LOGS}/runs/{{experiment}}.init={{init}}.b={{b}}.seed={{seed}}.log",
    benchmark:
        f"{BENCHMARKS}/runs/{{experiment}}.init={{init}}.b={{b}}.seed={{seed}}.tsv"
    wildcard_constraints:
        experiment=any_of(e for e in study.experiments if e not in IN_EPOCHS),
    conda:
        "../../envs/pipeline.yaml"
    threads: study.compute.threads
    resources:
        mem_mb=block_mem_mb,
        runtime=block_runtime,
        cpus_per_task=study.compute.threads,
    params:
        trained=digest_of,
        allow_tf32=study.compute.allow_tf32,
        checkpoint=CHECKPOINT,
    script:
        "../scripts/train_block.py"


use rule train_block as train_network with:
    # In epochs, with losses and errors. The Slurm profile gives these jobs a GPU.
    output:
        statistics=block_table("statistics"),
        divergence=block_table("divergence"),
        noise=block_table("noise"),
        metrics=block_table("metrics"),
    wildcard_constraints:
        experiment=any_of(IN_EPOCHS),
