"""Where Airflow's interface shows the page, from Airflow 3.1 on; Airflow 3.0 passes this over."""

from __future__ import annotations

# Without a slash in front: Airflow may be served below a path.
_TASK = "?dag_id={DAG_ID}&run_id={RUN_ID}&task_id={TASK_ID}&map_index={MAP_INDEX}"

VIEWS = [
    {
        "name": "Remote jobs",
        "href": "remote-jobs/",
        "destination": "nav",
        "category": "browse",
        "url_route": "remote-jobs",
    },
    {
        "name": "Remote jobs",
        "href": f"remote-jobs/task-instance{_TASK}",
        "destination": "task_instance",
        "url_route": "remote-jobs-of-task",
    },
]
