"""``python -m tests.cloud``: run the local cloud until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from tests.cloud import LocalCloud

HINTS = """\
# local cloud at {url}
export AWS_ENDPOINT_URL={url}
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_DEFAULT_REGION=us-east-1
"""


def main() -> None:
    """Serve, say where, and wait for the signal to end."""
    parser = argparse.ArgumentParser(prog="python -m tests.cloud", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=4566)
    parser.add_argument("--ready-file", type=Path, help="gets the address once the server listens")
    options = parser.parse_args()
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    with LocalCloud(options.host, options.port) as cloud:
        sys.stdout.write(HINTS.format(url=cloud.url))
        sys.stdout.flush()
        if options.ready_file:
            # Renamed into place, so that whoever waits for the file never reads half an address.
            draft = options.ready_file.with_suffix(".part")
            draft.write_text(cloud.url)
            draft.replace(options.ready_file)
        stopped.wait()


if __name__ == "__main__":
    main()
