"""Each method of this service's own has a lexicon file, and is as that says."""

import pytest
from support import api_page
from support.accounts import ADMIN, sign_up
from support.lexicon_files import lexicons, wrong_in
from support.media_samples import jpeg

from aurora_blobs.accounts.audit import ACTIONS
from aurora_blobs.accounts.moderation import Subject
from aurora_blobs.catalog.takedowns import EVERY_ACCOUNT
from aurora_blobs.clock import parse_datetime
from aurora_blobs.protocol.cid import parse_cid

LEXICONS = lexicons()
OWN = {method.name: method for method in api_page.methods() if method.name.startswith("blue.")}
KINDS = {str: "string", int: "integer", bool: "boolean"}
FORMATS = {parse_cid: {"format": "cid"}, parse_datetime: {"format": "datetime"}}


def as_in_a_lexicon(param):
    """*param* of a view, in the words of lexicons."""
    limits = {"minimum": param.low, "maximum": param.high, "default": param.default}
    return {
        "type": KINDS[param.kind],
        **FORMATS.get(param.parse, {}),
        **{name: value for name, value in limits.items() if value is not None},
    }


def main(name):
    return LEXICONS[name]["defs"]["main"]


def test_each_own_method_has_a_file_and_each_file_its_method():
    assert LEXICONS.keys() == OWN.keys()
    assert [lexicon["id"] for lexicon in LEXICONS.values()] == list(LEXICONS)


@pytest.mark.parametrize("name", LEXICONS)
def test_the_verb_and_the_parameters_are_those_of_the_view(name):
    stated = main(name).get("parameters", {"properties": {}})
    given = {
        parameter: {key: value for key, value in field.items() if key != "description"}
        for parameter, field in stated["properties"].items()
    }

    assert {"query": "GET", "procedure": "POST"}[main(name)["type"]] == OWN[name].verb
    assert given == {key: as_in_a_lexicon(param) for key, param in OWN[name].query.items()}
    assert stated.get("required", []) == [
        key for key, param in OWN[name].query.items() if param.required
    ]
    assert main(name)["description"] == OWN[name].summary


def test_the_actions_are_those_that_there_are():
    act = LEXICONS["blue.aurora.admin.listAudit"]["defs"]["act"]["properties"]

    assert act["action"]["knownValues"] == list(ACTIONS)


@pytest.fixture
def answers(open_app):
    """What each method answers, of an application in which something has happened."""
    app = open_app(ADMIN_PASSWORD=ADMIN[1], QUOTA="1GB", FOLLOW="http://127.0.0.1:9")
    alice = sign_up(app.test_client())
    cid = alice.publish(jpeg("cat")).cid
    moderation = alice.services.moderation
    for subject in (Subject(alice.did, cid), Subject(EVERY_ACCOUNT, cid), Subject(alice.did, None)):
        moderation.take_down(subject, "case 7")
        moderation.lift(subject)
    moderation.take_down(Subject(EVERY_ACCOUNT, cid), "case 8")
    moderation.take_down(Subject("did:web:bob.test", cid), "case 8")

    def ask(method):
        credentials = {"administrator": {"auth": ADMIN}}.get(method.who, {"headers": alice.headers})
        query = dict.fromkeys(method.query.keys() & {"cid"}, cid)
        answer = alice.client.get(method.path, query_string=query, **credentials)
        assert answer.status_code == 200, answer.text
        return answer.json

    return {name: ask(method) for name, method in OWN.items()}


def test_answers_are_as_the_lexicons_say(answers):
    assert {name: wrong_in(LEXICONS[name], answer) for name, answer in answers.items()} == {
        name: [] for name in OWN
    }
    lists = [list(answer.values())[-1] for answer in answers.values()]
    assert [len(found) for found in lists if found == []] == []


def test_an_answer_that_is_not_as_its_lexicon_says_is_found_out(answers):
    name = "blue.aurora.admin.listAudit"
    act = {**answers[name]["acts"][0], "actedAt": 7, "more": 1}
    del act["actor"]

    assert wrong_in(LEXICONS[name], {"acts": [act], "cursor": None}) == [
        "$.acts[0].more is not known",
        "$.acts[0].actor is missing",
        "$.acts[0].actedAt is 7, no string",
        "$.cursor is None, no string",
    ]
