"""Sphinx configuration; `make docs` turns every warning into an error."""

from __future__ import annotations

import sys
from pathlib import Path

from airflow_cancel_provider import __version__

project = "airflow-cancel-provider"
author = "the airflow-cancel-provider contributors"
copyright = f"2026, {author}"
release = version = __version__

extensions = ["sphinx.ext.autodoc"]
exclude_patterns = ["_build"]
nitpicky = False
# An empty text in a docstring stays one.
smartquotes = False

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "show-inheritance": True}

html_theme = "furo"
html_title = f"airflow-cancel-provider {release}"
html_copy_source = False
html_show_sphinx = False

# Our own extensions: the reference of the command line is written from its parser.
sys.path.insert(0, str(Path(__file__).parent / "_ext"))
extensions.append("cli_reference")
