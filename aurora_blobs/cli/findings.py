"""How the commands over the whole store print what they find."""

import sys
from collections.abc import Iterable
from dataclasses import asdict

import click

from aurora_blobs.cli.output import show
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
                click.echo(line, err=self._to_stderr)

    def finish(self, summary: dict[str, object], words: str) -> None:
        """Print the summary and end the command, with status 1 if there are findings."""
        if self._as_json:
            show({**summary, "findings": [asdict(finding) for finding in self.all]}, True)
        else:
            click.echo(f"{words}: {self._verdict()}", err=self._to_stderr)
        sys.exit(1 if self.all else 0)

    def _verdict(self) -> str:
        if not self.all:
            return "nothing is wrong"
        repaired = len([finding for finding in self.all if finding.repaired])
        return f"{len(self.all)} findings, {repaired} repaired"
