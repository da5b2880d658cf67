"""A real Airflow in processes of its own, for tests and the demo."""
