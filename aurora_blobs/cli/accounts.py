"""``aurora-blobs account …``: shows and changes accounts."""

from collections.abc import Callable
from typing import Any

import click

from aurora_blobs.accounts.manager import AccountManager
from aurora_blobs.accounts.moderation import Subject
from aurora_blobs.accounts.sign_ups import MAX_USES
from aurora_blobs.api.serializers import usage_row
from aurora_blobs.catalog.accounts import Account
from aurora_blobs.catalog.audit import Author
from aurora_blobs.catalog.invites import Invite
from aurora_blobs.cli.options import by_option, json_option
from aurora_blobs.cli.output import Group, show, show_all
from aurora_blobs.clock import moment
from aurora_blobs.config_values import parse_seconds, parse_size
from aurora_blobs.services import services

_NAME = click.argument("name", metavar="ACCOUNT")
_PASSWORD: Callable[[Any], Any] = click.option("--password", help="Asked for if not given.")


@click.group(cls=Group)
def account() -> None:
    """Accounts. ACCOUNT is a DID or a handle."""


@account.command()
@click.option("--handle", required=True, help="Like alice.test; reserved names are allowed.")
@click.option("--email", required=True)
@_PASSWORD
@json_option
def create(handle: str, email: str, password: str | None, as_json: bool) -> None:
    """Make an account, whoever may sign up."""
    accounts = _local_accounts()
    made = accounts.create(
        handle=handle, email=email, password=_given_or_asked(password), allow_reserved=True
    )
    show({"did": made.did, "handle": made.handle}, as_json)


@account.command()
@click.option(
    "--uses",
    type=click.IntRange(1, MAX_USES),
    metavar="NUMBER",
    default=1,
    show_default=True,
    help="Accounts that can be made with it.",
)
@click.option(
    "--expires", metavar="TIME", help="Like 12h or 7d. Without it, the code does not expire."
)
@by_option
def invite(uses: int, expires: str | None, by: Author) -> None:
    """Print a new invite code, for createAccount."""
    _local_accounts()
    seconds = None if expires is None else _parse_lifetime(expires)
    click.echo(services().sign_ups.invite(uses=uses, seconds=seconds, by=by))


@account.command("invites")
@json_option
def list_invites(as_json: bool) -> None:
    """List invite codes: code, state, uses left, uses, for whom, made when, over when.

    Those that are over are kept for 30 days.
    """
    show_all(map(_invite_row, services().sign_ups.invites()), as_json)


@account.command("list")
@json_option
def list_accounts(as_json: bool) -> None:
    """List accounts: DID, handle, state, blobs, bytes, time."""
    show_all(map(_row, services().accounts.all()), as_json)


@account.command("usage")
@json_option
def list_usage(as_json: bool) -> None:
    """List what accounts hold: DID, handle, blobs, bytes, bytes that are temporary, quota."""
    show_all(
        (
            {"did": usage.did, "handle": usage.handle, **usage_row(usage)}
            for usage in services().blobs.usages()
        ),
        as_json,
    )


@account.command("show")
@_NAME
@json_option
def show_account(name: str, as_json: bool) -> None:
    """Show an account, and what it holds against its quota."""
    found = _find_account(name)
    counts, usage = services().accounts.counts(found.did), services().blobs.usage(found.did)
    values = {
        **_row(found),
        "email": found.email,
        "deactivatedAt": moment(found.deactivated_at),
        "takenDownAt": moment(found.takedown_at),
        "takedownRef": found.takedown_ref,
        "rev": found.rev,
        "records": counts.records,
        "referencedBlobs": counts.expected_blobs,
        "storedBlobs": counts.imported_blobs,
        "temporaryBytes": usage.temporary_bytes,
        **_limits(found),
    }
    show(values, as_json)


@account.command()
@_NAME
def token(name: str) -> None:
    """Print an access token, good for two hours."""
    click.echo(services().accounts.access_token(_find_account(name)))


@account.command()
@_NAME
@_PASSWORD
@by_option
def password(name: str, password: str | None, by: Author) -> None:
    """Give an account a new password, and end its sessions."""
    accounts, found = _local_accounts(), _find_account(name)
    accounts.set_password(found.did, _given_or_asked(password), by)
    click.echo(f"{found.did} has a new password, and its sessions have ended")


@account.command()
@_NAME
@click.option("--yes", is_flag=True, help="Do not ask.")
@by_option
def delete(name: str, yes: bool, by: Author) -> None:
    """Delete an account, its records, and the bytes that nobody else holds."""
    found = _find_account(name)
    what = f"{found.did}, {found.blob_count} blobs, {found.blob_bytes} bytes"
    if not yes:
        click.confirm(f"Delete {what}?", abort=True)
    services().delete_account(found.did, by)
    click.echo(f"deleted {what}")


@account.command()
@_NAME
@click.argument("size", required=False)
@click.option("--uploads-per-day", metavar="NUMBER", help="0: no limit, default: the service's.")
@by_option
@json_option
def quota(
    name: str, size: str | None, uploads_per_day: str | None, by: Author, as_json: bool
) -> None:
    """Let an account hold SIZE: bytes, or like 500MB or 2GiB; 0: no limit, default: the
    service's."""
    if size is None and uploads_per_day is None:
        raise click.UsageError("say SIZE, --uploads-per-day, or both")
    found, accounts = _find_account(name), services().accounts
    # Both are parsed before the first is stored.
    quota_bytes = _parse_limit("SIZE", size, parse_size)
    uploads = _parse_limit("--uploads-per-day", uploads_per_day, _parse_count)
    if size is not None:
        accounts.set_quota(found.did, quota_bytes, by)
    if uploads_per_day is not None:
        accounts.set_uploads_per_day(found.did, uploads, by)
    show({"did": found.did, **_limits(accounts.require(found.did))}, as_json)


@account.command()
@_NAME
@click.option("--ref", help="What to remember it by; the time, if not given.")
@click.option("--lift", is_flag=True, help="Undo it.")
@by_option
def takedown(name: str, ref: str | None, lift: bool, by: Author) -> None:
    """Take an account down: not served, not let in until it is lifted."""
    # A takedown outlives its account, so a DID that is lifted need not be of one.
    is_lifted_did = lift and name.startswith("did:")
    subject = Subject(name if is_lifted_did else _find_account(name).did, None)
    if not lift:
        services().moderation.take_down(subject, ref, by)
        click.echo(f"{subject.did} is taken down")
    elif services().moderation.lift(subject, by):
        click.echo(f"{subject.did} is not taken down any more")
    else:
        click.echo(f"{subject.did} was not taken down")


def _local_accounts() -> AccountManager:
    if services().config.accounts != "local":
        raise click.ClickException("AURORA_BLOBS_ACCOUNTS=external: the PDS keeps the accounts")
    return services().accounts


def _given_or_asked(password: str | None) -> str:
    # Not a prompt of the option's: that would ask before it is known what for.
    if password is not None:
        return password
    asked: str = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    return asked


def _find_account(name: str) -> Account:
    found = services().accounts.find(name)
    if found is None:
        raise click.ClickException(f"no account {name}")
    return found


def _row(found: Account) -> dict[str, Any]:
    return {
        "did": found.did,
        "handle": found.handle,
        "state": found.status or "active",
        "blobs": found.blob_count,
        "bytes": found.blob_bytes,
        "createdAt": moment(found.created_at),
    }


def _invite_row(invite: Invite) -> dict[str, Any]:
    over = "expired" if invite.uses_left else "used up"
    return {
        "code": invite.code,
        "state": "good" if invite.is_good(services().clock()) else over,
        "usesLeft": invite.uses_left,
        "uses": invite.uses,
        "forAccount": invite.for_account,
        "createdAt": moment(invite.created_at),
        "endsAt": moment(invite.ends_at),
    }


def _limits(found: Account) -> dict[str, Any]:
    """The limits in force; 0 is no limit."""
    config = services().config
    quota_bytes = config.quota if found.quota_bytes is None else found.quota_bytes
    uploads = config.uploads_per_day if found.uploads_per_day is None else found.uploads_per_day
    return {
        "usedBytes": found.blob_bytes,
        "quotaBytes": quota_bytes,
        "quotaIsDefault": found.quota_bytes is None,
        "uploadsPerDay": uploads,
        "uploadsPerDayIsDefault": found.uploads_per_day is None,
    }


def _parse_limit(argument: str, text: str | None, parse: Callable[[str], int]) -> int | None:
    if text is None or text == "default":
        return None
    try:
        return parse(text)
    except ValueError as error:
        raise click.ClickException(
            f"{argument} {text!r}: accepted is {error}, or default"
        ) from None


def _parse_lifetime(text: str) -> int:
    try:
        seconds = parse_seconds(text)
    except ValueError as error:
        raise click.ClickException(f"--expires {text!r}: accepted is {error}") from None
    if seconds == 0:
        raise click.ClickException("--expires 0: accepted is one second or more, like 12h or 7d")
    return seconds


def _parse_count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise ValueError("a whole number")
    return int(text)
