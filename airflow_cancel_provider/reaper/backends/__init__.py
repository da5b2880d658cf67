"""Two ways to get the states of tries from an Airflow: its database, and its API server."""
