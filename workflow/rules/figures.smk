# One rule a figure, named as in the paper. Figures read tables only.


localrules:
    fig1a,
    fig1b,


rule fig1a:
    """Figure 1a: variance of both gradients against the iteration, linear regression."""
    input:
        variance=f"{RESULTS}/variance/admission.parquet",
        theory=f"{RESULTS}/theory/admission.parquet",
        code=modules("figures/variance_curves", "figures/style"),
    output:
        report(
            multiext(f"{RESULTS}/figures/fig1a", ".svg", ".png"),
            caption="../report/fig1a.rst",
            category="Linear regression",
            labels={"figure": "1a"},
        ),
    log:
        f"{LOGS}/figures/fig1a.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig1a.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        runs=study.experiments["admission"].runs,
        iterations=study.experiments["admission"].iterations,
        confidence_level=study.confidence_level,
        tensor="all",
        titles=(
            r"stochastic gradient, $\mathrm{var}(g_t \mid \mathcal{F}_0)$",
            r"full gradient, $\mathrm{var}(\nabla L(w_t) \mid \mathcal{F}_0)$",
        ),
    script:
        "../scripts/variance_curves.py"


rule fig1b:
    """Figure 1b: variance against b, fitted and exact polynomials, linear regression."""
    input:
        variance=f"{RESULTS}/variance/admission_sweep.parquet",
        theory=f"{RESULTS}/theory/admission_sweep.parquet",
        curves=f"{RESULTS}/fits/admission_sweep_curves.parquet",
        code=modules("figures/fig1b", "figures/style"),
    output:
        report(
            multiext(f"{RESULTS}/figures/fig1b", ".svg", ".png"),
            caption="../report/fig1b.rst",
            category="Linear regression",
            labels={"figure": "1b"},
        ),
    log:
        f"{LOGS}/figures/fig1b.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig1b.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        runs=study.experiments["admission_sweep"].runs,
        degree=study.experiments["admission_sweep"].polynomial.degree,
        steps=study.experiments["admission_sweep"].polynomial.steps,
        confidence_level=study.confidence_level,
    script:
        "../scripts/fig1b.py"
