"""The options that describe an execution: of ``trimtab execute`` and ``trimtab render task``."""

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, TypeVar

import click

from trimtab.api.executions import ExecutionCreate
from trimtab.cli.completion import complete_names
from trimtab.cli.inputs import choose_version
from trimtab.cli.inputs import read as read_inputs
from trimtab.cli.pairs import input_option, override_option, pairs, read_overrides
from trimtab.cli.prompting import prompt_for_missing, prompt_option
from trimtab.cli.registering import warn_of_credentials
from trimtab.cli.scopes import domain_option, project_option
from trimtab.cli.server import Server
from trimtab.models import parse_model

F = TypeVar("F", bound=Callable[..., Any])

_MAPS = {"environment": "env", "labels": "label", "annotations": "annotation"}
"""Options by the field of the request."""

_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    project_option(required=True),
    domain_option(required=True),
    click.option("--version", help="Version of the workflow; default: the newest."),
    click.option(
        "--launch-plan",
        help="Execute the workflow through this launch plan.",
        shell_complete=complete_names("launch plans"),
    ),
    input_option,
    prompt_option,
    override_option,
    click.option(
        "--env",
        "environment",
        multiple=True,
        metavar="NAME=VALUE",
        help="An environment variable of every task.",
    ),
    click.option(
        "--label",
        "labels",
        multiple=True,
        metavar="KEY=VALUE",
        help="A label of the Kubernetes objects.",
    ),
    click.option(
        "--annotation",
        "annotations",
        multiple=True,
        metavar="KEY=VALUE",
        help="An annotation of the Kubernetes objects.",
    ),
    click.option("--max-parallelism", type=int, help="How many nodes may run at once."),
    click.option(
        "--interruptible/--no-interruptible",
        default=None,
        help="Whether every task may run on interruptible machines.",
    ),
    click.option(
        "--overwrite-cache/--no-overwrite-cache",
        default=None,
        help="Run every task and replace its cached output.",
    ),
    click.option(
        "--cluster-label",
        "execution_cluster_label",
        metavar="LABEL",
        help="Run on a cluster that has this label; pod_policy.cluster_labels has to allow it.",
    ),
)


def execution_options(command: F) -> F:
    """Add the options; `read_request` takes what the command receives for them."""
    decorated: F = reduce(lambda inner, option: option(inner), reversed(_OPTIONS), command)
    return decorated


def read_request(server: Server, options: Mapping[str, Any], *, prompts: bool) -> ExecutionCreate:
    """Return the request that the options describe; warn about credentials in it."""
    given = dict(options)
    maps = {field: dict(pairs(name, given.pop(field))) for field, name in _MAPS.items()}
    overrides = read_overrides(given.pop("overrides"))
    texts = dict(pairs("input", given.pop("inputs")))
    inputs = _inputs(server, texts, given, prompts=prompts)
    request = parse_model(ExecutionCreate, {**given, **inputs, **maps, "overrides": overrides})
    warn_of_credentials(request)
    return request


def _inputs(
    server: Server, texts: Mapping[str, str], options: Mapping[str, Any], *, prompts: bool
) -> dict[str, Any]:
    """Return the inputs, and the version of the workflow that they were read for."""
    if not texts and not prompts:
        return {}
    chosen = server.call(lambda client: choose_version(client, **options))
    values = read_inputs(chosen.workflow, texts)
    if prompts:
        values |= prompt_for_missing(chosen.workflow, {*values, *chosen.plan_inputs})
    return {"inputs": values, "version": chosen.workflow.version}
