"""The fault matrix with each task in a container of its own, as KubernetesExecutor has it.

``python -m tests.matrix_containers``; see ``cells`` for the table, ``executor`` for what a container is here.
"""
