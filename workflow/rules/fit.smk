# Polynomial fits of the variance against the batch size (Section 4.2 of the paper).


localrules:
    fit_polynomials,


rule fit_polynomials:
    """Weighted fits in 1/b and in c_b, judged against the exact variance."""
    input:
        variance=rules.aggregate_variance.output.variance,
        theory=f"{RESULTS}/theory/variance/{{experiment}}.parquet",
    output:
        fits=f"{RESULTS}/fits/{{experiment}}.parquet",
        curves=f"{RESULTS}/fitted_curves/{{experiment}}.parquet",
    log:
        f"{LOGS}/fits/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/fits/{{experiment}}.tsv"
    wildcard_constraints:
        experiment=any_of(FITTED),
    conda:
        "../../envs/light.yaml"
    params:
        made_with=made_with_of,
        steps=lambda wildcards: experiment_of(wildcards).polynomial.steps,
        degree=lambda wildcards: experiment_of(wildcards).polynomial.degree,
    script:
        "../scripts/fit_polynomials.py"
