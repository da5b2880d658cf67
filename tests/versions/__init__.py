"""The tests on other versions of Airflow, Python and botocore; ``python -m tests.versions``.

``environments`` is the list; ``results`` writes docs/versions.csv, the table of the documents.
"""
