"""The AWS CLI, imported once: each command line is run by a fork of this process, as ``aws`` would run it.

Runs in the virtual environment of the AWS CLI. Standard input has one command line in JSON on each line;
for each, standard output gets how it ended.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback

import awscli.clidriver  # type: ignore[import-not-found]  # not in this environment

# Read once, as every command needs them: no state of a command is in them.
awscli.clidriver.create_clidriver()


def main() -> None:
    """Answer until standard input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        sys.stdout.write(json.dumps(answer(request["arguments"], request["environment"])) + "\n")
        sys.stdout.flush()


def answer(arguments: list[str], environment: dict[str, str]) -> dict[str, object]:
    """Exit code, standard output and standard error of one command line."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        pid = os.fork()
        if not pid:
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            run(arguments, environment)
        _, status = os.waitpid(pid, 0)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    return {"code": os.waitstatus_to_exitcode(status), "out": texts[0], "err": texts[1]}


def run(arguments: list[str], environment: dict[str, str]) -> None:
    """Be ``aws`` with these arguments, in a process that is thrown away."""
    data_path = os.environ["AWS_DATA_PATH"]  # set when awscli was imported
    os.environ.clear()
    os.environ.update(environment, AWS_DATA_PATH=data_path)
    sys.argv = ["aws", *arguments]
    try:
        code = awscli.clidriver.main()
    except SystemExit as ended:
        code = ended.code
    except Exception:  # noqa: BLE001  what Python itself would do
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code if isinstance(code, int) else bool(code))


if __name__ == "__main__":
    main()
