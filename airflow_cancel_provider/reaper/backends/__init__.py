"""Ways to ask an Airflow how the tries that started jobs stand."""
