# The ledger: every claim of the paper, tested with what the study made.

from pipeline_lib.claims.artefacts import claimed, claims_made_with, needed_tables

CLAIMED = claimed(study)
CLAIMS_MADE_WITH = claims_made_with(study)


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
        reviews=[f"{RESULTS}/data/reviews/yelp.json"] if "yelp" in CLAIMED else [],
    output:
        table=f"{RESULTS}/claims.parquet",
        page=f"{RESULTS}/claims.md",
    log:
        f"{LOGS}/claims.log",
    benchmark:
        f"{BENCHMARKS}/claims.tsv"
    conda:
        "../../envs/light.yaml"
    params:
        made_with=CLAIMS_MADE_WITH,
    script:
        "../scripts/claims.py"
