"""What a cancel of EMR steps can be told. Imports no SDK."""

from __future__ import annotations

from typing import Literal

CancellationOption = Literal["SEND_INTERRUPT", "TERMINATE_PROCESS"]
CANCELLATION_OPTIONS: tuple[CancellationOption, ...] = ("SEND_INTERRUPT", "TERMINATE_PROCESS")
