"""Airflow's own pages, and ours, in a real browser."""
