"""The alert rules and the dashboard: right by Prometheus' own parser, and true to ``/metrics``."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

import promql_parser
import pytest
import yaml

from tests.deploy.files import DEPLOY
from tests.house.tree import text

PROMETHEUS = DEPLOY / "prometheus"
RULES: list[dict[str, Any]] = yaml.safe_load((PROMETHEUS / "alerts.yaml").read_text("utf-8"))[
    "groups"
][0]["rules"]
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "eventserver.json").read_text("utf-8"))
# tests/http/test_metrics.py holds this page to what there is
DOCUMENTED = set(re.findall(r"^\| `(eventserver_\w+)` \|", text("docs/metrics.md"), re.M))
_SUFFIX = re.compile(r"_(bucket|sum|count)\Z")


def panels() -> Iterator[dict[str, Any]]:
    """Return what shows something."""
    for panel in DASHBOARD["panels"]:
        if panel["type"] != "row":
            yield panel


EXPRESSIONS = [pytest.param(rule["expr"], id=rule["alert"]) for rule in RULES] + [
    pytest.param(
        target["expr"].replace("$__rate_interval", "1m").replace("$instance", ".*"),
        id=f"{panel['title']} {target['refId']}",
    )
    for panel in panels()
    for target in panel["targets"]
]


def names(expression: str) -> set[str]:
    """Return the metrics that an expression asks for, as the parser sees them."""
    promql_parser.parse(expression)
    return set(re.findall(r"\beventserver_\w+", expression))


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_an_expression_is_right_and_asks_for_what_there_is(expression: str) -> None:
    asked = names(expression)
    assert asked
    for name in asked:
        assert name in DOCUMENTED or _SUFFIX.sub("", name) in DOCUMENTED, name


def test_what_is_no_expression_is_noticed() -> None:
    with pytest.raises(ValueError, match="parenthesis"):
        names("sum(rate(eventserver_events_total[5m])")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_what_to_do(rule: dict[str, Any]) -> None:
    page, _, anchor = rule["annotations"]["runbook"].partition("#")
    assert anchor == rule["alert"].lower()
    section = re.search(rf"^### {rule['alert']}\n\n(.+?)(?=^##|\Z)", text(page), re.S | re.M)
    assert section
    assert len(section[1].strip().splitlines()) >= 2
    assert rule["labels"]["severity"] in ("page", "ticket")


def test_no_runbook_is_of_an_alert_that_is_gone() -> None:
    told = set(re.findall(r"^### (EventServer\w+)$", text("docs/metrics.md"), re.M))
    assert told == {rule["alert"] for rule in RULES}


def test_every_alert_is_raised_in_its_test() -> None:
    tested = (PROMETHEUS / "alerts.test.yaml").read_text("utf-8")
    for rule in RULES:
        assert f'alertname="{rule["alert"]}"' in tested


def test_every_metric_is_on_the_dashboard_or_in_an_alert() -> None:
    shown = " ".join(str(param.values[0]) for param in EXPRESSIONS)
    beyond = {"eventserver_worker_holds_lease", "eventserver_process_start_time_seconds"}
    beyond |= {"eventserver_database_connections_max"}
    for name in DOCUMENTED - beyond:
        assert name in shown, name


def test_panels_lie_side_by_side() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not taken & cells, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_proxy_keeps_metrics_to_itself() -> None:
    page = (DEPLOY / "compose" / "nginx.conf").read_text("utf-8")
    block = re.search(r"location = /metrics \{(.*?)\n        \}", page, re.S)
    assert block
    assert "return 404" in block[1]
    assert "proxy_pass" not in block[1]


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
@pytest.mark.parametrize(
    "arguments",
    [
        ["check", "config", "prometheus.yaml"],
        ["check", "rules", "--lint=all", "--lint-fatal", "alerts.yaml"],
        ["test", "rules", "alerts.test.yaml"],
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_prometheus_itself_says_so(arguments: list[str]) -> None:
    done = subprocess.run(
        ["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
