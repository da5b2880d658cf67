"""From an Airflow connection to a service that can describe and cancel its jobs."""
