# One rule a figure, named as in the paper. Figures read tables only.


localrules:
    fig1a,
    fig1b,
    fig2a,
    fig2b,
    draw_heavy_tails,


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
        paper_runs=study.at_paper_scale["admission"].runs,
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
        paper_runs=study.at_paper_scale["admission_sweep"].runs,
        degree=study.experiments["admission_sweep"].polynomial.degree,
        steps=study.experiments["admission_sweep"].polynomial.steps,
        confidence_level=study.confidence_level,
    script:
        "../scripts/fig1b.py"


rule fig2a:
    """Figure 2a: variance of the gradient of W1 against the iteration, two-layer network."""
    input:
        variance=f"{RESULTS}/variance/teacher_student.parquet",
        theory=f"{RESULTS}/theory/teacher_student.parquet",
        code=modules("figures/variance_curves", "figures/style"),
    output:
        report(
            multiext(f"{RESULTS}/figures/fig2a", ".svg", ".png"),
            caption="../report/fig2.rst",
            category="Two-layer linear network",
            labels={"figure": "2a"},
        ),
    log:
        f"{LOGS}/figures/fig2a.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig2a.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        runs=study.experiments["teacher_student"].runs,
        iterations=study.experiments["teacher_student"].iterations,
        paper_runs=study.at_paper_scale["teacher_student"].runs,
        confidence_level=study.confidence_level,
        tensor="W1",
        titles=(
            r"stochastic gradient, $\mathrm{var}(g_{t,1} \mid \mathcal{F}_0)$",
            r"population gradient, $\mathrm{var}(\nabla_{W_1}\mathcal{L} \mid \mathcal{F}_0)$",
        ),
    script:
        "../scripts/variance_curves.py"


rule fig2b:
    """Figure 2b: variance of the gradient of W2 against the iteration, two-layer network."""
    input:
        variance=f"{RESULTS}/variance/teacher_student.parquet",
        theory=f"{RESULTS}/theory/teacher_student.parquet",
        code=modules("figures/variance_curves", "figures/style"),
    output:
        report(
            multiext(f"{RESULTS}/figures/fig2b", ".svg", ".png"),
            caption="../report/fig2.rst",
            category="Two-layer linear network",
            labels={"figure": "2b"},
        ),
    log:
        f"{LOGS}/figures/fig2b.log",
    benchmark:
        f"{BENCHMARKS}/figures/fig2b.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        runs=study.experiments["teacher_student"].runs,
        iterations=study.experiments["teacher_student"].iterations,
        paper_runs=study.at_paper_scale["teacher_student"].runs,
        confidence_level=study.confidence_level,
        tensor="W2",
        titles=(
            r"stochastic gradient, $\mathrm{var}(g_{t,2} \mid \mathcal{F}_0)$",
            r"population gradient, $\mathrm{var}(\nabla_{W_2}\mathcal{L} \mid \mathcal{F}_0)$",
        ),
    script:
        "../scripts/variance_curves.py"


rule draw_heavy_tails:
    """Estimates from 1,000 to 10 million runs beside the exact variance, scalar two-layer network."""
    input:
        estimates=rules.heavy_tails.output.estimates,
        repeats=rules.heavy_tails.output.repeats,
        code=modules("figures/heavy_tails", "figures/style"),
    output:
        report(
            multiext(f"{RESULTS}/figures/heavy_tails", ".svg", ".png"),
            caption="../report/heavy_tails.rst",
            category="Two-layer linear network",
            labels={"figure": "heavy tails"},
        ),
    log:
        f"{LOGS}/figures/heavy_tails.log",
    benchmark:
        f"{BENCHMARKS}/figures/heavy_tails.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        settings=scalar_settings("polynomial_max_step"),
        confidence_level=study.confidence_level,
    script:
        "../scripts/draw_heavy_tails.py"
