"""What each service can do with remote jobs, given a client. Nothing here imports Airflow."""
