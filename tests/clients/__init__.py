"""Libraries through which people start jobs, in tasks of a real Airflow that has the guard: ``make clients``.

Each starts its jobs in its own way (``dags/submissions.py``), and the task then raises, gets SIGTERM, or gets
SIGKILL. Whatever it was, each of its jobs is on record, has the label of the task's try, and is cancelled.
Where a library waits for its jobs by itself, the signal meets it while it waits.

Here: awswrangler (EMR steps, EMR Serverless), luigi (Batch), mrjob (EMR, with its files in S3), dagster-aws
(``EmrJobRunner``, Pipes for EMR Serverless), aioboto3 (Batch), and boto3 with the instrumentation of
OpenTelemetry and of ddtrace, put on in the task and before Airflow starts.

Not here: ``emr_pyspark_step_launcher`` of dagster-aws, which needs pyspark (400 MB) and submits through
``EmrJobRunner``.

Nothing of the package is imported here but by Airflow: what is tested is what a user has installed. The
libraries are in a virtual environment of their own, since aioboto3 allows one release of botocore only.
"""
