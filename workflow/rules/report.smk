# The report: every figure, and tables as pages. `make report` builds it. Snakemake lists
# categories by the alphabet, so their names start with their place.


report: "../report/workflow.rst"


localrules:
    report_items,
    claims_page,
    scalar_degrees_page,
    polynomial_degrees_page,
    efficiency_page,


# Pages of the whole study, and those of what is built of it.
SHOWN = ["claims", "scalar_degrees"] if study.builds_everything else []
SHOWN += ["polynomial_degrees"] if chosen(["admission_sweep"]) else []
SHOWN += ["efficiency"] if chosen(WITH_AVERAGES) else []


rule report_items:
    """Everything that the report shows."""
    input:
        rules.all.input,
        expand(
            f"{PAGES}/{{page}}.html",
            page=SHOWN,
        ),
        expand(f"{PAGES}/own/{{experiment}}.html", experiment=chosen(OWN)),


rule claims_page:
    """The ledger of claims as a page that can be searched."""
    input:
        claims=f"{RESULTS}/claims.parquet",
    output:
        report(
            f"{PAGES}/claims.html",
            caption="../report/claims.rst",
            category="5 Claims",
            labels={"table": "the paper's claims, tested"},
        ),
    log:
        f"{LOGS}/pages/claims.log",
    benchmark:
        f"{BENCHMARKS}/pages/claims.tsv"
    conda:
        "../../envs/light.yaml"
    params:
        made_with=CLAIMS_MADE_WITH,
        scale=study.scale,
        commit=commit,
    script:
        "../scripts/claims_page.py"


rule scalar_degrees_page:
    """Exact degrees of the network of one unit a layer as a page."""
    input:
        degrees=f"{RESULTS}/theory/scalar_degrees.parquet",
    output:
        report(
            f"{PAGES}/scalar_degrees.html",
            caption="../report/scalar_degrees.rst",
            category="6 Exact theory",
            labels={"table": "degrees, one unit a layer"},
        ),
    log:
        f"{LOGS}/pages/scalar_degrees.log",
    benchmark:
        f"{BENCHMARKS}/pages/scalar_degrees.tsv"
    conda:
        "../../envs/light.yaml"
    params:
        **of_scalar_network(simulated=False),
        scale=study.scale,
        commit=commit,
    script:
        "../scripts/scalar_degrees_page.py"


rule polynomial_degrees_page:
    """Exact polynomials of linear regression, one a row, as a page."""
    input:
        polynomials=f"{RESULTS}/theory/polynomial/admission_sweep.parquet",
    output:
        report(
            f"{PAGES}/polynomial_degrees.html",
            caption="../report/polynomial_degrees.rst",
            category="6 Exact theory",
            labels={"table": "polynomials, linear regression"},
        ),
    log:
        f"{LOGS}/pages/polynomial_degrees.log",
    benchmark:
        f"{BENCHMARKS}/pages/polynomial_degrees.tsv"
    conda:
        "../../envs/light.yaml"
    params:
        made_with=made_with(study, "admission_sweep"),
        scale=study.scale,
        commit=commit,
    script:
        "../scripts/polynomial_degrees_page.py"


rule efficiency_page:
    """What one run of the Rao-Blackwell estimate is worth, as a page."""
    input:
        efficiency=expand(
            f"{RESULTS}/efficiency/{{experiment}}.parquet",
            experiment=chosen(WITH_AVERAGES),
        ),
    output:
        report(
            f"{PAGES}/efficiency.html",
            caption="../report/efficiency.rst",
            category="6 Exact theory",
            labels={"table": "worth of one run"},
        ),
    log:
        f"{LOGS}/pages/efficiency.log",
    benchmark:
        f"{BENCHMARKS}/pages/efficiency.tsv"
    conda:
        "../../envs/light.yaml"
    params:
        made_with=[made_with(study, name) for name in chosen(WITH_AVERAGES)],
        scale=study.scale,
        commit=commit,
    script:
        "../scripts/efficiency_page.py"
