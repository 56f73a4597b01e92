# The ledger: every claim of the paper, tested with what the study made.

from pipeline_lib.claims.artefacts import claimed, needed_tables

CLAIMED = claimed(study)
CLAIMS_MODULES = (
    "any_model",
    "artefacts",
    "batch_dependence",
    "catalogue",
    "enumeration",
    "epochs",
    "evaluators",
    "experiments",
    "extent",
    "further_claims",
    "further_evaluators",
    "gaussian_words",
    "ledger",
    "linear_exact",
    "linear_theory",
    "mnist_variance",
    "network_theory",
    "networks_exact",
    "ordering",
    "overfitting",
    "regression_losses",
    "reviews",
    "setting",
    "tails",
    "verdict",
)


localrules:
    claims,


rule claims:
    """Evaluate every claim; those whose experiments are not configured are listed as not tested."""
    input:
        tables=expand(f"{RESULTS}/{{table}}.parquet", table=needed_tables(study)),
        admissions=(
            [f"{RESULTS}/data/admissions.parquet"]
            if {"admission", "admission_sweep"} & set(CLAIMED)
            else []
        ),
        weights=expand(
            WEIGHTS,
            experiment=[name for name in CLAIMED if name == "admission"],
            init=0,
        ),
        reviews=[f"{RESULTS}/data/yelp.json"] if "yelp" in CLAIMED else [],
        code=modules(
            *(f"claims/{name}" for name in CLAIMS_MODULES),
            "estimation/inference",
            "estimation/metrics",
            "study/settings",
            "estimation/statistics",
            "theory/batch_polynomial",
            "theory/linear_regression",
            "theory/matrix_network",
            "theory/polynomial",
            "theory/regression_moments",
            "theory/scalar_depth",
            "theory/scalar_network",
            "theory/wick",
            "data/admissions",
        ),
    output:
        table=f"{RESULTS}/claims.parquet",
        page=f"{RESULTS}/claims.md",
    log:
        f"{LOGS}/claims.log",
    benchmark:
        f"{BENCHMARKS}/claims.tsv"
    conda:
        "../../envs/pipeline.yaml"
    params:
        settings=digest(
            {name: dataclasses.asdict(one) for name, one in CLAIMED.items()}
            | {
                "network": scalar_settings(),
                "distortion": dataclasses.asdict(study.distortion),
                "confidence_level": study.confidence_level,
            }
        ),
    script:
        "../scripts/claims.py"
