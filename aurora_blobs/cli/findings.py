"""What the long commands share: they print findings, and bring in bytes without the limits of clients."""

import sys
from collections.abc import Iterable
from dataclasses import asdict

import click

from aurora_blobs.blobs.manager import BlobManager
from aurora_blobs.blobs.upload import UploadRules
from aurora_blobs.cli.output import show
from aurora_blobs.config import MAX_S3_OBJECT
from aurora_blobs.maintenance.walk import Finding
from aurora_blobs.services import services


class Findings:
    """Prints findings as they come, or keeps them for JSON."""

    def __init__(self, as_json: bool, *, err: bool = False) -> None:
        """*err*: to standard error, where standard output is taken."""
        self._as_json = as_json
        self._err = err
        self.all: list[Finding] = []

    def take(self, findings: Iterable[Finding]) -> None:
        for finding in findings:
            self.all.append(finding)
            if not self._as_json:
                mark = " (repaired)" if finding.repaired else ""
                click.echo(
                    f"{finding.kind}: {finding.subject}: {finding.detail}{mark}", err=self._err
                )

    def finish(self, summary: dict[str, object], words: str) -> None:
        """Ends the command: status 1 if there was anything."""
        if self._as_json:
            show({**summary, "findings": [asdict(finding) for finding in self.all]}, True)
        else:
            repaired = sum(finding.repaired for finding in self.all)
            wrong = (
                f"{len(self.all)} findings, {repaired} repaired" if self.all else "nothing is wrong"
            )
            click.echo(f"{words}: {wrong}", err=self._err)
        sys.exit(1 if self.all else 0)


def unrestricted() -> BlobManager:
    """The blobs of the service, for what the operator brings in: any type and size, and no quota but an account's own.

    What S3 takes is the limit.
    """
    return BlobManager(
        services().blobs.backend,
        services().database,
        spool=services().config.data_folder.spool,
        rules=UploadRules(max_bytes=MAX_S3_OBJECT, mime_policy="sniff"),
        clock=services().clock,
    )
