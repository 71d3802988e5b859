"""Reads ``/metrics`` as Prometheus does, by prometheus-client's parser."""

from prometheus_client.parser import text_string_to_metric_families

TOKEN = "a-token-that-nobody-guesses"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


class Scrape:
    """What *client*, Flask's or a server, says at ``/metrics``."""

    def __init__(self, client):
        answer = client.get("/metrics", headers=HEADERS)
        assert answer.status_code == 200, answer.text
        self.text = answer.text
        self.families = list(text_string_to_metric_families(self.text))
        self.samples = [sample for family in self.families for sample in family.samples]

    def value(self, name, /, **labels):
        """The one value of *name* with these labels and any others; 0 where there is none."""
        values = [
            sample.value
            for sample in self.samples
            if sample.name == f"aurora_blobs_{name}" and labels.items() <= sample.labels.items()
        ]
        assert len(values) < 2, values
        return sum(values)

    def by(self, name, *labels):
        """The values of *name* by those of *labels*."""
        return {
            tuple(sample.labels[label] for label in labels): sample.value
            for sample in self.samples
            if sample.name == f"aurora_blobs_{name}"
        }
