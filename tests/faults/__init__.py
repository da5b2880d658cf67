"""Faults of what a task runs on: its host, its process, Airflow's servers; see docs/faults.rst."""
