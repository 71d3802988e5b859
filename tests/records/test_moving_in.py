"""An account that moves in brings its blobs beside all limits of uploads, once in its life."""

import pytest
from support.accounts import ADMIN, ALICE, BOB, CAROL, Account, sign_up
from support.car_files import CAR, IMPORT, car_of, reference
from support.media_samples import jpeg
from support.services import services_of

from aurora_blobs.catalog import accounts
from aurora_blobs.errors import RateLimitExceeded
from aurora_blobs.protocol.car import Repository


def contents(start, count):
    return [f"{number}".encode() for number in range(start, start + count)]


def bring(core, start, count, did=ALICE, **options):
    """Import a repository whose records name *count* blobs, from number *start* on."""
    values = {
        f"com.example.a/{data.decode()}": {"file": reference(data, "text/plain")}
        for data in contents(start, count)
    }
    core.importer.run(Repository(car_of(values, did)), **options)


def set_active(core, is_active, did=ALICE):
    with core.database.write() as tx:
        accounts.set_deactivated(tx, did, None if is_active else core.clock())


def accepted(core, start, count, did=ALICE):
    """How many of these blobs are accepted before the limit is reached."""
    for number, data in enumerate(contents(start, count)):
        try:
            core.upload(data, "text/plain", did=did)
        except RateLimitExceeded:
            return number
    return count


@pytest.fixture
def core(open_core):
    return open_core(uploads_per_day=3)


@pytest.fixture
def mover(core):
    """The core, with Alice as an account that brings its DID is made."""
    set_active(core, False)
    return core


def test_an_active_account_gives_itself_no_exemption(core):
    bring(core, 0, 40)

    assert accepted(core, 0, 40) == 3


def test_an_account_that_moves_in_brings_all_that_its_records_name(mover):
    bring(mover, 0, 40)

    assert accepted(mover, 0, 40) == 40
    assert accepted(mover, 1000, 10) == 3  # what no record waits for is limited as ever


def test_the_exemption_ends_with_the_activation(mover):
    bring(mover, 0, 40)
    assert accepted(mover, 0, 10) == 10

    set_active(mover, True)

    assert accepted(mover, 10, 30) == 3


def test_deactivating_again_gives_no_second_exemption(mover):
    bring(mover, 0, 40)
    accepted(mover, 0, 40)
    set_active(mover, True)
    set_active(mover, False)

    bring(mover, 100, 40)

    assert accepted(mover, 100, 40) == 3


def test_an_account_that_imports_again_and_again_brings_no_more_than_its_largest_repository(mover):
    bring(mover, 0, 20)
    assert accepted(mover, 0, 20) == 20

    bring(mover, 100, 20)
    assert accepted(mover, 100, 20) == 3
    bring(mover, 200, 30)
    mover.clock.advance(86_401)

    assert accepted(mover, 200, 30) == 13


def test_an_import_that_is_repeated_takes_nothing_away(mover):
    bring(mover, 0, 40)
    accepted(mover, 0, 10)

    bring(mover, 0, 40)

    assert accepted(mover, 10, 30) == 30


def test_a_refused_import_opens_nothing(mover):
    with pytest.raises(Exception, match="not a map"):
        mover.importer.run(Repository(car_of({"com.example.a/1": 1})))
    bring(mover, 0, 0)

    assert accepted(mover, 0, 5) == 3


def test_what_is_uploaded_again_costs_nothing(mover):
    bring(mover, 0, 5)

    assert [accepted(mover, 0, 5) for _ in range(3)] == [5, 5, 5]


def test_another_account_has_no_part_in_it(mover):
    bring(mover, 0, 40)

    assert accepted(mover, 0, 40, BOB) == 3


def test_the_administrator_moves_an_account_in_that_is_active(core):
    """Beside a PDS nobody tells this service which account is new."""
    bring(core, 0, 40, by_admin=True)

    assert accepted(core, 0, 40) == 40
    bring(core, 100, 40, by_admin=True)
    assert accepted(core, 100, 40) == 3


def test_what_the_administrator_grants_holds_whatever_is_imported(core):
    bring(core, 0, 40)
    core.limit_uploads(ALICE, 0)

    assert accepted(core, 0, 40) == 40


def mover_in(app):
    """An account of *app* that has brought its DID."""
    made = services_of(app).accounts.create(
        handle="carol.test", email="carol@example.com", password="correct horse", did=CAROL
    )
    return Account(CAROL, services_of(app).accounts.access_token(made), app.test_client())


def import_photos(account, photos, **credentials):
    values = {
        f"com.example.file/{number}": {"file": reference(photo)}
        for number, photo in enumerate(photos)
    }
    answer = account.client.post(
        IMPORT,
        data=car_of(values, account.did).getvalue(),
        content_type=CAR,
        **credentials,
    )
    assert answer.status_code == 200, answer.text


def test_an_account_gives_itself_no_exemption_over_http(open_app):
    alice = sign_up(open_app(UPLOADS_PER_DAY="6").test_client(), "alice.test")
    photos = [jpeg(number) for number in range(40)]

    import_photos(alice, photos, headers=alice.headers)

    statuses = [alice.upload(photo).status_code for photo in photos]
    assert statuses == [200] * 6 + [429] * 34


def test_a_migration_is_not_stopped_by_the_limits(open_app):
    carol = mover_in(open_app(UPLOADS_PER_DAY="2", UPLOADS_PER_ADDRESS="2/1d"))
    photos = [jpeg(number) for number in range(20)]

    import_photos(carol, photos, headers=carol.headers)

    assert {carol.upload(photo).status_code for photo in photos} == {200}
    assert carol.post("com.atproto.server.activateAccount").status_code == 200
    more = [carol.upload(jpeg(number)).status_code for number in range(100, 104)]
    assert more == [200, 200, 429, 429]


def test_a_migration_by_the_administrator_is_not_stopped_by_the_limits(open_app):
    app = open_app(UPLOADS_PER_DAY="2", UPLOADS_PER_ADDRESS="2/1d", ADMIN_PASSWORD="open sesame")
    alice = sign_up(app.test_client(), "alice.test")
    photos = [jpeg(number) for number in range(20)]

    import_photos(alice, photos, auth=ADMIN)

    assert {alice.upload(photo).status_code for photo in photos} == {200}
    more = [alice.upload(jpeg(number)).status_code for number in range(100, 104)]
    assert more == [200, 200, 429, 429]


def test_the_deletion_of_an_account_ends_its_move(mover):
    bring(mover, 0, 10)
    accepted(mover, 0, 10)

    mover.blobs.delete_account(ALICE)

    mover.add_account(ALICE)
    bring(mover, 0, 10)
    assert accepted(mover, 0, 10) == 3
    with mover.database.read() as tx:
        assert tx.all("SELECT did FROM migration") == []
