"""Whether the journal is sound; it is only read, also while the agent has it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

from agent.checkup.agent import RunningAgent
from agent.checkup.finding import Finding
from agent.journal.database import Damage, connect, is_damage
from agent.journal.database import examine as examine_database
from agent.journal.entries import JournalError
from agent.settings import Settings


def examine(settings: Settings, _agent: RunningAgent) -> Iterator[Finding]:
    path = settings.unit.state_dir / "journal.db"
    try:
        if not path.exists():
            yield Finding("database", "ok", "none yet: the agent makes it at its first start")
            return
        with closing(connect(path, writable=False)) as connection:
            contents = examine_database(connection, thorough=True)
    except (Damage, JournalError, sqlite3.Error, OSError) as error:
        if isinstance(error, Damage) or (isinstance(error, sqlite3.Error) and is_damage(error)):
            advice = "the agent recovers it at its next start and declares the gap; then `kerbside journal verify`"
            yield Finding("database", "fault", f"{path} is damaged: {error}", advice)
        else:
            yield Finding("database", "fault", f"{path} cannot be read: {error}", "run doctor as the agent's user")
    else:
        waiting = contents.sequence - contents.number("confirmed")
        yield Finding("database", "ok", f"sound; {contents.sequence} events, {waiting} of them not confirmed")
