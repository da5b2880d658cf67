"""The figures of a run, for people: tables in reStructuredText, and which goals were missed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from benchmarks.series import NAMES, SIDES, calls_a_minute, cancel_panels, throttled_a_minute, wait_panels
from benchmarks.slopes import slope

Row = Sequence[str]
TRIGGER = "trigger, or API server"
"""Who sends the request for a deferred task that was marked: whoever is first."""


def document(results: dict[str, Any]) -> str:
    """Everything that was measured, for ``docs/benchmarks.rst`` to include."""
    parts = [
        (".. Written by make bench. Do not edit.", ()),
        ("Machine", _list(f"{name}: {words}" for name, words in results["machine"].items())),
        ("Waits", _waits(results)),
        ("Cancels", _cancels(results)),
        ("From a kill to the cancel request", _kills(results)),
        ("The guard", _guard(results)),
        ("Parse time", _parse(results)),
        ("Reaper", _reaper(results)),
        ("Goals", _goals(results)),
    ]
    lines: list[str] = []
    for title, body in parts:
        found = list(body)
        if found or title.startswith(".."):
            lines += [title, *([] if title.startswith("..") else ["-" * len(title)]), "", *found, ""]
    return "\n".join(lines).rstrip() + "\n"


def goals(results: dict[str, Any]) -> Iterator[tuple[str, float, float, str]]:
    """What is to be reached: words, figure, the most that it may be, and what bounds it."""
    for run in results.get("waits", []):
        if run["side"] == "ours":
            yield from _goals_of_waits(run)
    for run in results.get("cancels", []):
        if run["side"] == "ours":
            yield from _goals_of_cancels(run)
    trigger = results.get("kills", {}).get("layers", {}).get(TRIGGER)
    if trigger:
        what = "deferred task marked failed to cancel request, worst, seconds"
        yield (
            what,
            trigger["worst"],
            3.0,
            "other processes: the API server asks 2 s after the mark, as soon as it gets a processor",
        )
    for name, figures in results.get("parse", {}).items():
        if name.endswith("operators, ours"):
            yield f"import of {name[:-6]}, ms of CPU", figures["least"] * 1e3, 20.0, "modules, see Parse time"


def _goals_of_waits(run: dict[str, Any]) -> Iterator[tuple[str, float, float, str]]:
    name = f"{run['waits']:,} waits"
    yield f"{name}: waits lost", run["lost"] + run["errors"], 0, "an error: see the JSON"
    yield f"{name}: worst block, seconds", run["block"], 0.05, _bound_of_block(run)
    most = run["latest"] * 1.1 + 1.0
    yield (
        f"{name}: job's end to event, worst, seconds",
        run["late"]["worst"],
        most,
        "calls that wait their turn",
    )
    share = throttled_a_minute(run) / max(1.0, calls_a_minute(run))
    yield f"{name}: calls throttled, %", share * 100, 1.0, "the account's clock is not the client's"


def _bound_of_block(run: dict[str, Any]) -> str:
    cpu, collection = run["callback"], run["collection"]
    if collection > run["block"] / 2:
        return f"a full garbage collection, {collection:.3f} s, which goes through Airflow's objects, too"
    busy = "threads that parse answers hold the interpreter, and other processes the cores"
    return f"longest callback: {cpu:.3f} s of CPU; {busy if cpu < run['block'] / 2 else 'this callback'}"


def _goals_of_cancels(run: dict[str, Any]) -> Iterator[tuple[str, float, float, str]]:
    name = f"cancel of {run['jobs']:,} {NAMES[run['service']]} jobs"
    yield f"{name}: times the floor", run["ratio"], 1.1, _bound_of_cancel(run)
    yield (
        f"{name}: calls throttled, %",
        run["throttled"] * 100,
        5.0,
        "the account's clock is not the client's",
    )
    yield f"{name}: jobs asked again", run["asked again"], 0, "answers that were lost"


def _bound_of_cancel(run: dict[str, Any]) -> str:
    """What the time above the floor goes to."""
    taken, floor, first = run["from request"], run["floor"]["ended"], run["polls first"]
    polls = f"a poll before the cancel makes the floor {first:.2f} s; " if first and first > floor else ""
    collecting = (
        f"{taken['collections']} full garbage collections, which go through Airflow's objects, too, stop all "
        f"threads for {taken['collecting']:.2f} s; "
        if taken["collections"]
        else ""
    )
    return f"{polls}{collecting}{taken['cpu']:.1f} s of CPU"


def missed(results: dict[str, Any]) -> Iterator[str]:
    """A sentence for each goal that was missed."""
    for words, figure, most, bound in goals(results):
        if figure > most:
            yield f"Missed: {words}: {figure:.3g}, goal {most:.3g}. Bounded by: {bound}."


def _goals(results: dict[str, Any]) -> Iterator[str]:
    rows = [
        (words, f"{figure:.3g}", f"{most:.3g}", "" if figure <= most else f"missed: {bound}")
        for words, figure, most, bound in goals(results)
    ]
    yield from table(("goal", "figure", "at most", ""), rows)


def _waits(results: dict[str, Any]) -> Iterator[str]:
    runs = results.get("waits", [])
    if not runs:
        return
    first = runs[0]
    yield "One event loop; a third of the waits in each of EMR, Batch and EMR Serverless."
    yield f"A poll each {first['delay']:g} seconds; the published quotas are enforced."
    yield f"One job in {first['ending']} ends within {first['window']:g} seconds."
    yield "*Least*: calls a minute that see every end once in that time, as far as the quotas allow it."
    yield "*Start*: until each wait has polled once."
    yield ""
    heads = (
        "waits", "", "calls/min", "least", "throttled/min", "CPU s/min", "CPU s at start", "MiB",
        "worst block s", "at start s", "end to event s, median", "worst", "forced by quota", "lost",
    )  # fmt: skip
    yield from table(heads, [_wait_row(run) for run in runs])
    yield from _slopes(wait_panels(results))
    yield from ("", ".. image:: /images/bench-waits.svg", "   :alt: Growth with the number of waits")


def _wait_row(run: dict[str, Any]) -> Row:
    start, late = run["start"], run["late"]
    return (
        f"{run['waits']:,}",
        SIDES[run["side"]],
        f"{calls_a_minute(run):,.0f}",
        f"{sum(run['least'].values()):.0f}",
        f"{throttled_a_minute(run):,.0f}",
        f"{run['cpu'] * 60 / run['seconds']:.1f}",
        f"{start['cpu']:.1f}",
        f"{run['memory']:.0f}",
        f"{run['block']:.3f}",
        f"{start['block']:.3f}",
        f"{late['median']:.1f}",
        f"{late['worst']:.1f}",
        f"{run['latest']:.1f}",
        f"{run['lost'] + run['errors']} of {run['ends']}",
    )


def _cancels(results: dict[str, Any]) -> Iterator[str]:
    runs = results.get("cancels", [])
    if not runs:
        return
    yield "Seconds from the first call until each job was seen to have ended, 2 seconds after its cancel."
    yield "*Floor*: the fewest calls that cancel all jobs and read the last state of each, within the quotas,"
    yield "page after page of a listing."
    yield "Stock: one job after the other, as ``on_kill`` and the waiters of the Amazon provider do."
    yield "~: stopped, and extrapolated from what was done by then."
    yield ""
    heads = ("jobs", "", "", "seconds", "floor", "times floor", "calls", "throttled", "CPU s", "MiB")
    yield from table(heads, [_cancel_row(run) for run in runs])
    for run in runs:
        yield from _parts(run)
    yield from _slopes(cancel_panels(results))
    yield from ("", ".. image:: /images/bench-cancels.svg", "   :alt: Growth with the number of jobs")


def _cancel_row(run: dict[str, Any]) -> Row:
    about = "~" if run["is extrapolated"] else ""
    return (
        f"{run['jobs']:,}",
        NAMES[run["service"]],
        SIDES[run["side"]],
        f"{about}{run['from the first call']:,.1f}",
        f"{run['floor']['ended']:,.1f}",
        f"{about}{run['ratio']:,.2f}",
        f"{sum(call['calls'] for call in run['calls'].values()):,}",
        f"{run['throttled']:.0%}",
        f"{run['cpu']:.1f}",
        f"{run['memory']:.0f}",
    )


def _parts(run: dict[str, Any]) -> Iterator[str]:
    """Whose code the processor time of many cancels goes to."""
    if not run.get("parts"):
        return
    cpu = run["from request"]["cpu"]
    yield f"CPU of the cancel of {run['jobs']:,} {NAMES[run['service']]} jobs: {cpu:.1f} s from the first"
    yield "request on, by whose code it goes to (shares as a profiler sees them in a run of its own):"
    yield ""
    yield from _list(f"{part}: {share:.0%}, {share * cpu:.1f} s" for part, share in run["parts"].items())
    yield ""


def _kills(results: dict[str, Any]) -> Iterator[str]:
    found = results.get("kills", {})
    rows = [
        (layer, f"{seconds['median']:.2f}", f"{seconds['worst']:.2f}", f"{seconds['kills']}")
        for layer, seconds in found.get("layers", {}).items()
    ]
    if rows:
        yield "Real Airflow processes on SQLite, one kill at a time."
        yield ""
        yield from table(("request sent by", "seconds, median", "worst", "kills"), rows)
    yield from (f"\nNot as expected: {words}" for words in found.get("wrong", []))


def _guard(results: dict[str, Any]) -> Iterator[str]:
    figures = results.get("guard", {})
    rows = []
    for name, value in figures.items():
        stock = figures.get(name.replace("guarded", "stock")) if name.endswith("guarded") else None
        times = f"{value / stock:.2f} times stock" if stock else ""
        rows.append((name, f"{value:.1f} MiB" if "MiB" in name else _time(value), times))
    yield from table(("", "", ""), rows)


def _parse(results: dict[str, Any]) -> Iterator[str]:
    rows = [
        (name, f"{found['least'] * 1e3:.0f}", f"{found['median'] * 1e3:.0f}", f"{found['modules']:,}")
        for name, found in results.get("parse", {}).items()
    ]
    if rows:
        yield "Import beyond what Airflow has imported for any operator, in a new process; CPU time."
        yield ""
    yield from table(("import", "ms, least", "ms, median", "modules"), rows)


def _reaper(results: dict[str, Any]) -> Iterator[str]:
    runs = results.get("reaper", [])
    heads = ("living jobs", "first check s", "floor", "times floor", "CPU s", "MiB")
    rows = [
        (
            f"{run['jobs']:,}",
            f"{run['seconds']:.1f}",
            f"{run['floor']:.1f}",
            f"{run['ratio']:.2f}",
            f"{run['cpu']:.1f}",
            f"{run['memory']:.1f}",
        )
        for run in runs
    ]
    yield from table(heads, rows)
    yield from (f"\nWrong: {mistake}" for run in runs for mistake in run["mistakes"])


def _slopes(panels: Iterable[Any]) -> Iterator[str]:
    said = []
    for panel in panels:
        of_lines = [(line.name, slope(line.points)) for line in panel.lines if line.side != "floor"]
        words = "; ".join(f"{name}: {found}" for name, found in of_lines if found)
        if words:
            said.append(f"{panel.title}: {words}")
    if said:
        yield from ("", "Growth with N (least squares, both axes logarithmic; 1 is linear):", "")
        yield from _list(said)


def _time(seconds: float) -> str:
    if seconds >= 1:
        return f"{seconds:.3g} s"
    return f"{seconds * 1e3:.3g} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.3g} µs"


def _list(lines: Iterable[str]) -> Iterator[str]:
    return (f"- {line}" for line in lines)


def table(heads: Row, rows: Sequence[Row]) -> Iterator[str]:
    """A list-table; nothing where there are no rows."""
    if not rows:
        return
    yield from (".. list-table::", *(["   :header-rows: 1"] if any(heads) else []), "")
    for row in [heads, *rows] if any(heads) else rows:
        for at, cell in enumerate(row):
            yield f"   {'*' if at == 0 else ' '} - {cell}".rstrip()
    yield ""
