"""``aurora-blobs config`` prints what it knows, and says what it does not."""

import pytest


@pytest.mark.parametrize("arguments", [(), ("--json",)], ids=["text", "JSON"])
@pytest.mark.parametrize(
    ("options", "lines"), [("", 0), ("-b 0.0.0.0:80", 1)], ids=["no options", "options of gunicorn"]
)
def test_options_of_gunicorn_are_said_not_to_be_looked_at(
    run, monkeypatch, options, lines, arguments
):
    monkeypatch.setenv("GUNICORN_CMD_ARGS", options)

    shown = run("config", *arguments)

    assert "127.0.0.1:2583" in shown.stdout
    assert len(shown.stderr.splitlines()) == lines
    assert shown.stderr.count("GUNICORN_CMD_ARGS is set, and is not looked at here") == lines
