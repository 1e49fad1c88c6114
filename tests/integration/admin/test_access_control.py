"""Access control of calls that do not arrive by HTTP: every door shares it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.integration.admin.running import TOKEN
from trimtab.errors import Forbidden, Unauthorized
from trimtab_admin.access.audit import AuditFilter, AuditLimits, AuditTrail
from trimtab_admin.access.authentication import Authentication
from trimtab_admin.access.authorization import (
    ROOT,
    Caller,
    Grant,
    Role,
    anonymous_callers,
    platform_admin,
)
from trimtab_admin.access.call import Call
from trimtab_admin.access.control import AccessControl
from trimtab_admin.access.throttling import FailureLimit, Throttled
from trimtab_admin.app import prepare
from trimtab_admin.config import AdminConfig
from trimtab_admin.storage.database import reading_sessions_of, sessions_of

CALL = Call("10.0.0.1", "ListProjects", "/flyteidl.service.AdminService", "r-1")


@pytest.fixture
async def trail(settings: AdminConfig) -> AsyncIterator[AuditTrail]:
    await prepare(settings)
    sessions = sessions_of(settings.database_url)
    reading = reading_sessions_of(settings.database_url)
    yield AuditTrail(sessions, reading, AuditLimits(100, timedelta(1)))
    for each in (sessions, reading):
        await each.kw["bind"].dispose()


@pytest.fixture
def access(trail: AuditTrail) -> AccessControl:
    authentication = Authentication(trail._sessions, trail._reading, TOKEN)
    anonymous = anonymous_callers(["grpc", "rest:editor"])
    return AccessControl(authentication, trail, FailureLimit(per_minute=2), anonymous)


async def test_a_call_is_authenticated_by_its_credential(access: AccessControl) -> None:
    call = await access.authenticate(CALL, f"Bearer {TOKEN}")
    assert call == replace(CALL, caller=ROOT)


async def test_refused_calls_are_audited_and_throttled(
    access: AccessControl, trail: AuditTrail
) -> None:
    for error in (Unauthorized, Unauthorized, Throttled):
        with pytest.raises(error):
            await access.authenticate(CALL, "Bearer wrong")
    entries = (await trail.list(AuditFilter(), None, 10)).items
    assert [entry.status for entry in entries] == [429, 401, 401]
    newest = entries[0]
    assert (newest.client, newest.method, newest.path, newest.request_id) == (
        CALL.peer,
        CALL.method,
        CALL.path,
        CALL.request_id,
    )


async def test_a_forbidden_call_is_audited_with_its_caller_and_scope(
    access: AccessControl, trail: AuditTrail
) -> None:
    call = replace(CALL, caller=Caller("ci", ()))
    with pytest.raises(Forbidden) as caught:
        platform_admin(call.caller, {})
    assert await access.refuse(call, caught.value) is caught.value
    [entry] = (await trail.list(AuditFilter(status=403), None, 10)).items
    assert (entry.caller, entry.scope) == ("ci", "platform")
    assert entry.reason == 'User "ci" is not an admin of the platform; granted: nothing'


async def test_a_door_of_the_configuration_accepts_calls_without_credentials(
    access: AccessControl,
) -> None:
    for door, role in (("grpc", Role.VIEWER), ("rest", Role.EDITOR)):
        call = await access.authenticate(replace(CALL, door=door), "")
        assert call.caller == Caller("anonymous", (Grant(role),))
    for door in ("connect", ""):
        with pytest.raises(Unauthorized):
            await access.authenticate(replace(CALL, door=door), "")


async def test_the_first_call_of_a_client_of_flyte_is_refused_without_consequences(
    access: AccessControl, trail: AuditTrail
) -> None:
    for _ in range(10):
        with pytest.raises(Unauthorized):
            await access.authenticate(replace(CALL, door="connect"), "")
    assert not (await trail.list(AuditFilter(), None, 10)).items


async def test_a_wrong_credential_is_refused_at_an_anonymous_door(access: AccessControl) -> None:
    for credential in ("Bearer wrong", "Bearer", "Basic dDprZW4="):
        with pytest.raises((Unauthorized, Throttled)):
            await access.authenticate(replace(CALL, door="grpc"), credential)


async def test_anonymous_callers_are_throttled_by_their_addresses(access: AccessControl) -> None:
    for peer in ("10.0.0.1", "10.0.0.2"):
        call = await access.authenticate(replace(CALL, peer=peer, door="grpc"), "")
        refusals = [await access.refuse(call, Forbidden("no", "", "")) for _ in range(3)]
        assert [type(each) for each in refusals] == [Forbidden, Forbidden, Throttled]
