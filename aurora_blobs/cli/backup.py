"""``aurora-blobs backup make`` and ``backup restore``."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import click

from aurora_blobs.blobs.public_links import PublicLinks
from aurora_blobs.catalog.jobs import Counts
from aurora_blobs.cli.findings import Findings
from aurora_blobs.cli.options import FOLDER, jobs_option, json_option
from aurora_blobs.cli.output import Group, properties
from aurora_blobs.cli.progress import amount, meter
from aurora_blobs.db import open_database
from aurora_blobs.maintenance.backup import Backup, ShowProgress
from aurora_blobs.maintenance.migrate import Progress
from aurora_blobs.services import current_config, services
from aurora_blobs.storage import open_backend


@click.group(cls=Group)
def backup() -> None:
    """Copy database and blobs into a folder, and put them back."""


@backup.command("make")
@click.argument("folder", type=FOLDER)
@jobs_option
@json_option
def make(folder: Path, jobs: int, as_json: bool) -> None:
    """Copy the database, then every blob that FOLDER does not have yet, while the service runs."""
    kept = Backup(folder)
    findings = Findings(as_json)

    def counts() -> Counts:
        return findings.counts(kept.progress.copied_blobs, kept.progress.copied_bytes)

    with _shown_progress("backup") as show, services().job_log.run("backup", counts):
        database, backend = services().database, services().blobs.backend
        findings.take(kept.make(database, backend, jobs, show, services().clock))
    findings.finish(properties(kept.progress), _words(kept.progress))


@backup.command("restore")
@click.argument("folder", type=FOLDER)
@click.option("--yes", is_flag=True, help="Replace what is in the database now.")
@jobs_option
@json_option
def restore(folder: Path, yes: bool, jobs: int, as_json: bool) -> None:
    """Put database and blobs back. The service must not run. `blobs fsck` then tells what is not in
    the backup.

    The present database is kept beside the new one, and replaced last, when all else is done.
    """
    kept = Backup(folder)
    if not kept.exists():
        raise click.ClickException(f"{folder}: there is no backup")
    if not yes:
        raise click.ClickException("this replaces the database: stop the service, and give --yes")
    config = current_config()
    is_durable = config.durability == "full"
    findings = Findings(as_json)
    with (
        # Not by `services`: the present database may be newer, damaged or none.
        closing(open_database(config.database, durable=is_durable)) as database,
        _shown_progress("restore") as show,
    ):
        findings.take(
            kept.restore(
                database,
                open_backend(config),
                config.data_folder.spool,
                jobs,
                show,
                database.one_shot().now,
                # They are of the present database.
                before_swap=PublicLinks(config.data_folder.public_links, durable=is_durable).clear,
            )
        )
    summary = {**properties(kept.progress), "keptDatabase": kept.kept and str(kept.kept)}
    before = f" (the one that was here before is {kept.kept} now)" if kept.kept else ""
    findings.finish(summary, f"restored the database{before}, {_words(kept.progress)}")


@contextmanager
def _shown_progress(label: str) -> Iterator[ShowProgress]:
    """A meter for the block. It starts when `show` gets the totals, and ends with the block."""
    with ExitStack() as stack:

        def show(progress: Progress) -> Callable[[int], None]:
            return stack.enter_context(meter(label, progress.blobs, progress.bytes)).add

        yield show


def _words(progress: Progress) -> str:
    copied = f"copied {progress.copied_blobs} blobs, {amount(progress.copied_bytes)}"
    return f"{copied}; {progress.done_blobs} of {progress.blobs} are there"
