"""Run the account: first line of standard output is its address. Ends with its standard input.

Arguments: the population as JSON, seconds that each answer takes, and maybe a file for the calls.
"""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path

from benchmarks.account.population import Population
from benchmarks.account.server import Account, make_server


def main() -> None:
    """Serve the population that the command line holds, until nobody is interested any more."""
    population, latency = Population(**json.loads(sys.argv[1])), float(sys.argv[2])
    server = make_server(Account(population, latency, *map(Path, sys.argv[3:])))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    sys.stdin.read()  # also ends when the process at its other end does, however that ends
    server.shutdown()


if __name__ == "__main__":
    main()
