"""A process dies at any of its calls, a disk forgets what was not synced: promises are kept."""

import random
from contextlib import closing
from functools import cache

import pytest
from support.crash_promises import complaints
from support.crash_scenes import (
    PAIRS,
    REPEATED,
    SCENES,
    AccountDeletion,
    AccountTakedown,
    FetchDuringLifting,
    LargeUpload,
    RecordDeletion,
    Takedown,
    UploadBesideUploads,
)
from support.crash_trials import Trial, finish, go_before
from support.disk_model import ALL, Disk

# How many deaths of a scene are tried: one at random, or all.
most = pytest.mark.parametrize("most", [1, pytest.param(None, marks=pytest.mark.long, id="all")])


def each(scenes):
    return pytest.mark.parametrize("scene", scenes, ids=lambda scene: scene.__name__)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trials")
    return cache(lambda scene: Trial(scene(), folder / scene.__name__))


@pytest.fixture
def trial_of(prepared):
    seed = random.randrange(2**32)
    print(f"seed {seed}")

    def trial_of(scene):
        trial = prepared(scene)
        trial.chance = random.Random(seed)
        return trial

    return trial_of


def check(scene, deaths):
    count = answered = 0
    with closing(deaths):
        for death in deaths:
            assert list(complaints(scene, death)) == [], death.where
            count += 1
            answered += bool(death.answers)
    print(f"{type(scene).__name__}: {count} deaths, {answered} after the answer, nothing lost")


@most
@each(SCENES)
def test_a_death_loses_nothing_and_leaves_nothing(trial_of, scene, most):
    trial = trial_of(scene)

    check(trial.scene, trial.deaths(most))


@most
@each(SCENES)
def test_a_power_failure_loses_nothing_that_was_answered(trial_of, scene, most):
    trial = trial_of(scene)

    check(trial.scene, trial.power_failures(most))


@pytest.mark.long
@each(REPEATED)
def test_what_is_done_again_after_a_death_survives_a_power_failure(trial_of, scene):
    trial = trial_of(scene)

    check(trial.scene, trial.power_failures_after_a_repetition())


@pytest.mark.long
@each(PAIRS)
def test_a_power_failure_loses_nothing_that_rests_on_what_another_does(trial_of, scene):
    trial = trial_of(scene)

    check(trial.scene, trial.power_failures_beside_another())


@each([RecordDeletion, Takedown, AccountTakedown, AccountDeletion])
def test_a_link_that_was_removed_before_a_death_does_not_come_back(trial_of, scene):
    """The second try finds no link. It must not take that for safe: the power may fail next."""
    trial = trial_of(scene)
    with trial.copy() as site:
        disk = Disk(site.folder)
        with trial.child(site, disk) as first:
            go_before(first, "fsync", "/public")
        with trial.child(site, disk) as second:
            answers = finish(second)

            check(trial.scene, trial.power_failures_now(disk, answers, "at the answer"))


def test_no_link_rests_on_a_lifting_that_is_not_on_the_disk(trial_of):
    trial = trial_of(FetchDuringLifting)
    with trial.copy() as site:
        disk = Disk(site.folder)
        with (
            trial.child(site, disk) as fetch,
            trial.child(site, disk, act=trial.scene.other) as lifting,
        ):
            go_before(lifting, "fdatasync", "-wal", times=2)  # the first is of the log's head
            answers = finish(fetch)

            check(trial.scene, trial.power_failures_now(disk, answers, "at the answer"))


def test_an_upload_does_not_rest_on_a_name_that_is_not_on_the_disk(trial_of):
    """Its bytes were here, are collected, and another one has just put them there again."""
    trial = trial_of(UploadBesideUploads)
    scene = trial.scene
    with trial.copy() as site:
        disk = Disk(site.folder)
        with (
            trial.child(site, disk, locks=True) as upload,
            trial.child(site, disk, act=scene.collect) as collection,
            trial.child(site, disk, act=scene.upload_again) as other,
        ):
            go_before(upload, "flock", "aurora.sqlite3-lock")
            finish(collection)
            go_before(other, "fsync", "/blobs/")
            answers = finish(upload)

            check(scene, trial.power_failures_now(disk, answers, "at the answer"))


def test_what_the_disk_keeps_in_the_model_is_what_the_kernel_has(trial_of):
    trial = trial_of(LargeUpload)
    with trial.copy() as site:
        disk = Disk(site.folder)
        with trial.child(site, disk) as child:
            while not child.has_ended:
                child.advance()
                assert (
                    disk.after_power_failure(ALL).digest
                    == Disk(site.folder).after_power_failure(ALL).digest
                )
