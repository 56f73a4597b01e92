"""Tables of raw data."""

import pyarrow as pa

from pipeline_lib.artifacts.tables.columns import (
    CATEGORY,
    FLOAT,
    INT,
    SMALL_INT,
    TEXT,
    column,
    table,
)

SPLIT = column("split", CATEGORY, "training or validation")

DATA = {
    "admissions": table(
        "One row per applicant: Graduate Admissions, as in the file.",
        "data/admissions.parquet",
        (
            column("serial_no", FLOAT, "Number of the row"),
            column("gre_score", FLOAT, "GRE score", unit="of 340"),
            column("toefl_score", FLOAT, "TOEFL score", unit="of 120"),
            column("university_rating", FLOAT, "Rating of the university", unit="1 to 5"),
            column("sop", FLOAT, "Strength of the statement of purpose", unit="1 to 5"),
            column("lor", FLOAT, "Strength of the letter of recommendation", unit="1 to 5"),
            column("cgpa", FLOAT, "Grade point average as an undergraduate", unit="of 10"),
            column("research", FLOAT, "Experience in research", unit="0 or 1"),
            column("chance_of_admit", FLOAT, "Chance of admission, the target", unit="0 to 1"),
        ),
        key=("serial_no",),
        order=(),
    ),
    "mnist": table(
        "One row per image of MNIST. mnist_distorted.parquet holds the validation images under "
        "elastic distortion.",
        "data/mnist{_distorted}.parquet",
        (
            SPLIT,
            column("label", SMALL_INT, "The digit", unit="0 to 9"),
            column(
                "image", pa.binary(784), "28 x 28 pixels, row after row", unit="bytes, 0 to 255"
            ),
        ),
        key=(),
    ),
    "reviews": table(
        "One row per review with its tokens.",
        "data/reviews/{experiment}.parquet",
        (
            SPLIT,
            column("label", SMALL_INT, "1 for a positive review, 0 for a negative one"),
            column("text", TEXT, "The review as it was read"),
            column("n_tokens", INT, "Length before it is cut or padded", unit="tokens"),
            column("input_ids", pa.list_(pa.int32()), "Its tokens as numbers of the vocabulary"),
        ),
        key=(),
    ),
}
