"""A model of the protocol: every order of events for one task, with the package's own decisions.

``world``: what there is, as plain values. ``guards``, ``sentinels``, ``deciders``: the package's own objects,
put into the state of a world and taken out of it again; ``wiring`` connects them to it. ``moves``: what can
happen next, in ``task_moves``, ``airflow_moves`` and ``faults``. ``promises``: what must hold. ``explorer``:
breadth-first over all of it. ``mutants``: faults that it has to find.
"""
