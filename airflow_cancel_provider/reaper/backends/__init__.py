"""Ways to ask an Airflow for the states of the tries that started jobs."""
