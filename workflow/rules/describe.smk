# What a scale's results were made with, and which tables there are.


localrules:
    describe_results,


rule describe_results:
    """The configuration as applied, code, packages and data; a Frictionless data package."""
    input:
        tables=FINAL_TABLES,
        variance=expand(
            f"{RESULTS}/variance/{{experiment}}.parquet", experiment=study.chosen
        ),
    output:
        config=f"{RESULTS}/config.yaml",
        package=f"{RESULTS}/datapackage.json",
    log:
        f"{LOGS}/describe_results.log",
    benchmark:
        f"{BENCHMARKS}/describe_results.tsv"
    conda:
        "../../envs/light.yaml"
    params:
        configuration=digest(as_applied(study)),
    script:
        "../scripts/describe_results.py"
