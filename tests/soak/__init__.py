"""Random faults on random tasks of a real Airflow for a long time; then every job is judged."""
