"""How the console says no: a status, a code and a sentence."""

from __future__ import annotations

from starlette.responses import JSONResponse, Response


def problem(status: int, reason: str, message: str) -> Response:
    """The answer to a request that is not done."""
    return JSONResponse({"reason": reason, "message": message}, status)
