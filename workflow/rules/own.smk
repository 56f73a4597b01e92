# Figures and verdicts of the user's own experiments: docs/own_experiment.md.


localrules:
    gradient_variance,
    decide_ordering,


rule gradient_variance:
    """Variance of the stochastic gradient by batch size, any experiment."""
    input:
        variance=f"{RESULTS}/variance/{{experiment}}.parquet",
        theory=lambda wildcards: theory_of(wildcards.experiment),
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
        experiment=any_of(study.experiments),
    conda:
        "../../envs/light.yaml"
    params:
        runs=lambda wildcards: experiment_of(wildcards).runs,
        uncovered=lambda wildcards: uncovered(wildcards.experiment),
        length=length_of,
        made_with=made_with_of,
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
        experiment=any_of(study.experiments),
    conda:
        "../../envs/light.yaml"
    params:
        made_with=made_with_of,
    script:
        "../scripts/ordering.py"
