"""The fault matrix on a distributed Airflow: Celery, Redis, PostgreSQL, each worker on a host of its own.

``python -m tests.matrix_celery``; see ``cells`` for the table, ``network`` for what a host is here.
"""
