"""The problem of a bad request names the invalid field and the allowed values."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from trimtab.api.problems import Problem
from trimtab.tokens import protocol
from trimtab_resmgr import problems

TOKEN: dict[str, Any] = {"pool": "gpu", "token": "a"}
SHARE: dict[str, Any] = {**TOKEN, "project": "p", "domain": "d"}


def problem(request: str, body: bytes) -> Problem:
    with pytest.raises(ValidationError) as error:
        vars(protocol)[request].model_validate_json(body)
    return problems.problem_of(error.value)


@pytest.mark.parametrize("request_", ["Allocate", "Batch", "ForceRelease", "Inspect", "Register"])
def test_a_body_must_be_a_json_object(request_: str) -> None:
    assert problem(request_, b"").detail.startswith("body is not JSON: EOF")
    assert problem(request_, b"[1]").detail == "body: [1] is not valid; allowed: a JSON object"


@pytest.mark.parametrize(
    ("request_", "body", "path", "message"),
    [
        ("Allocate", TOKEN, "project", "project is missing"),
        ("Allocate", {**SHARE, "weight": 0}, "weight", "0 is not valid; allowed: at least 1"),
        ("Allocate", {**SHARE, "weight": "8"}, "weight", "'8' is not valid; allowed: an integer"),
        ("Allocate", {**SHARE, "weight": True}, "weight", "True is not valid"),
        ("Allocate", {**SHARE, "project": ""}, "project", "'' is not valid"),
        ("Allocate", {**SHARE, "domain": "a/b"}, "domain", "'a/b' is not valid"),
        ("Allocate", {**SHARE, "lease_seconds": 1e9}, "lease_seconds", "allowed: at most"),
        ("Allocate", {**SHARE, "pool": None}, "body", "exactly one of pool and pools is needed"),
        ("Renew", {**TOKEN, "fence": "x"}, "fence", "'x' is not valid; allowed: an integer"),
        ("Reassert", SHARE, "fence", "fence is missing"),
        ("Release", {"token": "a", "pools": ["x", "x"]}, "body", "pools names one twice"),
        ("Reprioritize", {**TOKEN, "priority": 2000}, "priority", "at most 1000"),
        ("ForceRelease", {**TOKEN, "actor": "ann"}, "why", "why is missing"),
        ("Inspect", {"pool": ""}, "pool", "a string of at least 1 character"),
        ("Recount", {}, "pool", "pool is missing"),
        ("Register", {"pool": "*", "quota": 1}, "pool", "a string of the pattern"),
        ("Register", {"pool": "gpu", "quota": 0}, "quota", "at least 1"),
        ("Batch", {"renew": [{**TOKEN, "fence": 1.5}]}, "renew.0.fence", "1.5 is not valid"),
    ],
)
def test_an_invalid_field_is_named_with_the_allowed_values(
    request_: str, body: dict[str, Any], path: str, message: str
) -> None:
    found = problem(request_, json.dumps(body).encode())
    assert (found.status, found.path) == (400, path)
    assert message in found.detail
    assert found.allowed


@pytest.mark.parametrize(
    ("request_", "body", "message"),
    [
        ("Inspect", {"pol": "x", "pool": "x"}, "pol is not known; allowed: pool"),
        ("Batch", {"release": [{**TOKEN, "x": 1}]}, "release.0.x is not known; allowed: token, "),
        (
            "Batch",
            {"allocate": [{**SHARE, "pool": None, "pools": [{"pool": "a", "wieght": 1}]}]},
            "allocate.0.pools.0.wieght is not known; allowed: pool, weight",
        ),
    ],
)
def test_an_unknown_field_is_named_with_the_known_ones(
    request_: str, body: dict[str, Any], message: str
) -> None:
    assert message in problem(request_, json.dumps(body).encode()).detail


def test_a_long_value_is_not_repeated_in_full() -> None:
    found = problem("Allocate", json.dumps({**SHARE, "token": "x" * 501}).encode())
    assert "at most 500 characters" in found.detail
    assert len(found.detail) < 200
