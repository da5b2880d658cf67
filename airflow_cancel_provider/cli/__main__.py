"""``python -m airflow_cancel_provider.cli``."""

from __future__ import annotations

from airflow_cancel_provider.cli import main

main()
