"""The tables under results/: every column with its type, description, unit and formula.

A module a subject; `pipeline_lib.artifacts.schemas` puts them together. What is written here goes
into the metadata of the parquet files, into results/README.md and into datapackage.json. Words
about a column or a table decide no number: editing them reruns nothing.
"""
