# Figures and verdicts of the user's own experiments: docs/own_experiment.md.


localrules:
    gradient_variance,
    tensor_variance,
    tensors_variance,
    own_losses,
    decide_ordering,
    own_page,


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
            labels={"experiment": "{experiment}", "shows": "variance"},
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


use rule gradient_variance as tensor_variance with:
    """The same of one parameter tensor, named as in the table of variances."""
    output:
        report(
            multiext(
                f"{RESULTS}/figures/{{experiment}}/variance_of_{{tensor}}",
                ".svg",
                ".png",
            ),
            caption="../report/own.rst",
            category="7 Own experiments",
            labels={"experiment": "{experiment}", "shows": "variance of {tensor}"},
        ),
    log:
        f"{LOGS}/figures/{{experiment}}/variance_of_{{tensor}}.log",
    benchmark:
        f"{BENCHMARKS}/figures/{{experiment}}/variance_of_{{tensor}}.tsv"


rule tensors_variance:
    """The same of every parameter tensor, a panel each."""
    input:
        variance=f"{RESULTS}/variance/{{experiment}}.parquet",
    output:
        report(
            multiext(f"{RESULTS}/figures/{{experiment}}_tensors", ".svg", ".png"),
            caption="../report/own_tensors.rst",
            category="7 Own experiments",
            labels={"experiment": "{experiment}", "shows": "variance by tensor"},
        ),
    log:
        f"{LOGS}/figures/{{experiment}}_tensors.log",
    benchmark:
        f"{BENCHMARKS}/figures/{{experiment}}_tensors.tsv"
    wildcard_constraints:
        experiment=any_of(study.experiments),
    conda:
        "../../envs/light.yaml"
    params:
        runs=lambda wildcards: experiment_of(wildcards).runs,
        length=length_of,
        made_with=made_with_of,
    script:
        "../scripts/own_tensors.py"


rule own_losses:
    """Losses and errors of an experiment in epochs, by batch size."""
    input:
        metrics=f"{RESULTS}/metrics/{{experiment}}.parquet",
    output:
        report(
            multiext(f"{RESULTS}/figures/{{experiment}}_losses", ".svg", ".png"),
            caption="../report/own_losses.rst",
            category="7 Own experiments",
            labels={"experiment": "{experiment}", "shows": "losses"},
        ),
    log:
        f"{LOGS}/figures/{{experiment}}_losses.log",
    benchmark:
        f"{BENCHMARKS}/figures/{{experiment}}_losses.tsv"
    wildcard_constraints:
        experiment=any_of(EVALUATED),
    conda:
        "../../envs/light.yaml"
    params:
        runs=lambda wildcards: experiment_of(wildcards).runs,
        length=length_of,
        made_with=made_with_of,
    script:
        "../scripts/own_losses.py"


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


rule own_page:
    """Verdict, losses and efficiency of an experiment as a page."""
    input:
        verdict=rules.decide_ordering.output.table,
        efficiency=f"{RESULTS}/efficiency/{{experiment}}.parquet",
        metrics=lambda wildcards: (
            [f"{RESULTS}/metrics/{wildcards.experiment}.parquet"]
            if wildcards.experiment in EVALUATED
            else []
        ),
    output:
        report(
            f"{PAGES}/own/{{experiment}}.html",
            caption="../report/own_page.rst",
            category="7 Own experiments",
            labels={
                "experiment": "{experiment}",
                "shows": "verdict, losses, efficiency",
            },
        ),
    log:
        f"{LOGS}/pages/own/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/pages/own/{{experiment}}.tsv"
    wildcard_constraints:
        experiment=any_of(study.experiments),
    conda:
        "../../envs/light.yaml"
    params:
        made_with=made_with_of,
        scale=study.scale,
        commit=commit,
    script:
        "../scripts/own_page.py"
