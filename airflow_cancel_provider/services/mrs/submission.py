"""The call that starts MRS jobs, and how their names carry a label. Imports no SDK."""

from __future__ import annotations

from airflow_cancel_provider.services.submissions import Submission

LONGEST_JOB_NAME = 64
SUBMISSIONS = (Submission("mrs", "CreateExecuteJob", joint="-", longest_name=LONGEST_JOB_NAME),)
