# The ledger: every claim of the paper, tested with what the study made.

from pipeline_lib.claims.artefacts import claimed, needed_tables

CLAIMED = claimed(study)
CLAIMS_MODULES = (
    "artefacts",
    "batch_dependence",
    "catalogue",
    "enumeration",
    "epochs",
    "evaluators",
    "experiments",
    "extent",
    "ledger",
    "linear_exact",
    "linear_theory",
    "network_theory",
    "ordering",
    "overfitting",
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
            "estimation/reliability",
            "estimation/metrics",
            "study/settings",
            "estimation/statistics",
            "theory/batch_polynomial",
            "theory/linear_regression",
            "theory/polynomial",
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
