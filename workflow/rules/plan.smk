# What the study costs, before a job is submitted: `snakemake --cores 1 plan`.


localrules:
    plan,


rule plan:
    """Print the training jobs of the chosen scale with their time, memory and storage."""
    log:
        f"{LOGS}/plan.log",
    conda:
        "../../envs/light.yaml"
    script:
        "../scripts/plan.py"
