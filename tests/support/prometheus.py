"""Debian's Prometheus on a free port, which scrapes a service four times a second."""

import subprocess
from http.client import HTTPException
from pathlib import Path
from typing import Any

from support.live_service import Server
from support.metrics import TOKEN

_CONFIG = """\
global: {{scrape_interval: 250ms, evaluation_interval: 250ms}}
rule_files: [{rules}]
scrape_configs:
  - job_name: aurora-blobs
    authorization: {{credentials_file: {folder}/token}}
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


class Prometheus(Server):
    """Prometheus, which scrapes the service at *port* of this machine; *rules* are its alerts."""

    def __init__(self, folder: Path, port: int, rules: Path | str = "") -> None:
        super().__init__(folder)
        (folder / "token").write_text(TOKEN)
        config = _CONFIG.format(folder=folder, port=port, rules=rules)
        (folder / "prometheus.yml").write_text(config)

    @property
    def log(self) -> str:
        return (self.folder / "prometheus.log").read_text()

    def start(self) -> "Prometheus":
        command = [
            "prometheus",
            f"--config.file={self.folder}/prometheus.yml",
            f"--storage.tsdb.path={self.folder}/data",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        self._begin(command, "prometheus.log")
        return self

    def is_answering(self) -> bool:
        """Whether it answers questions, which is some time after it accepts connections."""
        try:
            return self.get("/-/ready").status_code == 200
        except (OSError, HTTPException):
            return False

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """The series that *expression* gives now."""
        answer = self.get("/api/v1/query", query_string={"query": expression})
        assert answer.status_code == 200, answer.text
        return answer.json["data"]["result"]

    def number(self, expression: str) -> float | None:
        """The value of *expression*, of one series; None where there is none."""
        found = self.ask(expression)
        assert len(found) < 2, found
        return float(found[0]["value"][1]) if found else None


def promtool(*arguments: str, given: str = "") -> "subprocess.CompletedProcess[str]":
    """Run promtool, which comes with Prometheus."""
    return subprocess.run(
        ["promtool", *arguments], input=given, capture_output=True, text=True, timeout=60
    )
