"""``python -m tests.demo``: example Dags on a real Airflow against the local cloud, told as they run."""
