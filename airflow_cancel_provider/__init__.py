"""Airflow provider that cancels remote jobs and confirms that they ended."""

from __future__ import annotations

__version__ = "0.1.0"
