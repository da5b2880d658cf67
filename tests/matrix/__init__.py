"""The fault-injection matrix: what becomes of remote jobs when tasks end badly, on a real Airflow.

``python -m tests.matrix``; see ``cells`` for the table.
"""
