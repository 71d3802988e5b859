"""How the commands over the whole store print what they find."""

import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import click

from aurora_blobs.catalog.jobs import Counts, Found
from aurora_blobs.cli.output import show
from aurora_blobs.logs import printable
from aurora_blobs.maintenance.shards import SHARDS, SharedPass
from aurora_blobs.maintenance.walk import Finding


class Findings:
    """Prints findings as they come, or keeps them for JSON.

    *to_stderr* is for a command whose standard output is data.
    """

    def __init__(self, as_json: bool, *, to_stderr: bool = False) -> None:
        self._as_json = as_json
        self._to_stderr = to_stderr
        self.all: list[Finding] = []

    def take(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self.all.append(finding)
            if not self._as_json:
                mark = " (repaired)" if finding.repaired else ""
                line = f"{finding.kind}: {finding.subject}: {finding.detail}{mark}"
                click.echo(printable(line), err=self._to_stderr)

    def note_refusal(self, is_refused: bool) -> None:
        """Say that many blobs would have been counted as missing, and how to have that done."""
        if is_refused and not self._as_json:
            click.echo(
                "the lost blobs are many, and were not counted as missing: is it the right store, "
                "and all of it? --yes-lose-many counts them"
            )

    def finish(self, summary: dict[str, object], words: str) -> None:
        """Print the summary and end the command, with status 1 if anything is wrong."""
        if self._as_json:
            show({**summary, "findings": [asdict(finding) for finding in self.all]}, True)
        else:
            click.echo(f"{words}: {self._verdict()}", err=self._to_stderr)
        sys.exit(1 if self._wrong() else 0)

    def counts(self, blobs: int, size: int) -> Counts:
        """What a run did that went through *blobs* blobs with *size* bytes together."""
        found = tuple(
            Found(one.kind, one.subject, one.detail, one.repaired) for one in self._wrong()
        )
        return Counts(blobs, size, len(found), len([one for one in found if one.repaired]), found)

    def _wrong(self) -> list[Finding]:
        return [finding for finding in self.all if not finding.leftover]

    def _verdict(self) -> str:
        wrong = self._wrong()
        leftovers = len(self.all) - len(wrong)
        tail = f"; {leftovers} left-overs, which are no loss" if leftovers else ""
        if not wrong:
            return f"nothing is wrong{tail}"
        repaired = len([finding for finding in wrong if finding.repaired])
        return f"{len(wrong)} findings, {repaired} repaired{tail}"


def may_lose_many(
    agreed: bool,
    as_json: bool,
    what: str = "{} or more of {} blobs would count as missing. Is it the right store?",
) -> Callable[[int, int], bool]:
    """What a repair asks that is about to count many blobs as missing, or to do *what*.

    *agreed* is the option. Without it a person at a terminal is asked, and nobody else may.
    """

    def ask(lost: int, total: int) -> bool:
        if agreed:
            return True
        if as_json or not sys.stdin.isatty():
            return False
        return click.confirm(what.format(lost, total), err=True)

    return ask


def may_lack_blobs(agreed: bool, as_json: bool) -> Callable[[str], bool]:
    """As `may_lose_many`, before a store is adopted that lacks blobs, as a sentence says."""

    def ask(lack: str) -> bool:
        if not agreed and (as_json or not sys.stdin.isatty()):
            raise click.ClickException(f"{lack}. --yes-lose-many adopts it")
        return agreed or click.confirm(f"{lack}. Adopt it?", abort=True, err=True)

    return ask


def share(done: SharedPass) -> dict[str, int]:
    """How many shards were done here, for a summary in JSON; nothing where all were."""
    return {} if done.taken == SHARDS else {"shards": done.taken}


def share_in_words(done: SharedPass) -> str:
    """The same behind a number of blobs."""
    if done.taken == SHARDS:
        return ""
    return f", in {done.taken} of {SHARDS} shards, of which other nodes have the rest"


lose_many_option: Callable[[Any], Any] = click.option(
    "--yes-lose-many",
    "lose_many",
    is_flag=True,
    help="Without a question, count many blobs as missing, more than 20 and 5 in 100, and delete "
    "strays that are most of the store.",
)
