"""A record that allows more than broader scopes is stored with a warning that names them."""

from typing import Any

from trimtab import kinds
from trimtab.levels import PLATFORM, SETTINGS_FILE, Scope
from trimtab.messages.events import DomainChanged, ProjectChanged, RecordChanged
from trimtab.settings.state import Settings
from trimtab_admin.settings import widening
from trimtab_admin.settings.drafts import Draft
from trimtab_admin.settings.preconditions import AnyVersion
from trimtab_admin.settings.requests import DeleteRecord, PatchRecord, PutRecord
from trimtab_admin.steps import at_once

KIND = kinds.by_name("pod_policy")
DOMAIN, PROJECT = Scope(domain="development"), Scope(project="shop")
BOTH = Scope("development", "shop")


def draft(**stored: Any) -> Draft:
    """Return a draft on settings with these documents."""
    scopes = {"file": SETTINGS_FILE, "platform": PLATFORM, "domain": DOMAIN, "project": PROJECT}
    settings = Settings()
    settings.apply(DomainChanged(name="development"), 1)
    settings.apply(ProjectChanged(name="shop"), 1)
    for name, document in stored.items():
        settings.apply(RecordChanged.at(scopes[name], KIND.name, document), 2)
    return Draft(settings)


def put(draft: Draft, scope: Scope, document: dict[str, Any]) -> None:
    draft.put(PutRecord(KIND, scope, document, AnyVersion()))


def warnings(draft: Draft, scope: Scope = BOTH) -> tuple[str, ...]:
    at_once(draft.check())
    at_once(widening.warn(draft))
    return draft.records[KIND.name, scope].warnings


def test_a_record_that_allows_more_has_a_warning_with_the_broader_scope() -> None:
    changed = draft(platform={"host_path": ["/mnt"]}, project={"service_accounts": ["a"]})
    put(changed, BOTH, {"host_path": ["/"], "service_accounts": ["a", "b"], "host_network": False})
    assert warnings(changed) == (
        "service_accounts: ['a', 'b'] allows more than ['a'] of project shop; the rest has no "
        "effect",
        "host_path: ['/'] allows more than ['/mnt'] of platform; the rest has no effect",
    )


def test_what_is_denied_by_default_has_a_warning_too() -> None:
    changed = draft()
    put(changed, BOTH, {"privileged": True, "host_path": []})
    assert warnings(changed) == (
        "privileged: true allows more than the default false, which only the platform can change; "
        "the rest has no effect",
    )


def test_a_record_that_narrows_or_repeats_has_no_warning() -> None:
    changed = draft(
        file={"privileged": True},
        platform={"host_path": ["/mnt", "/data"]},
        domain={"service_accounts": ["b", "a"]},
    )
    document = {"privileged": True, "host_path": ["/data/x"], "service_accounts": ["a", "b"]}
    put(changed, BOTH, {**document, "cluster_labels": ["gpu"]})
    assert warnings(changed) == ()


def test_the_platform_and_the_settings_file_widen_without_a_warning() -> None:
    changed = draft(file={"service_accounts": ["a"]})
    put(changed, PLATFORM, {"service_accounts": ["b"], "privileged": True})
    assert warnings(changed, PLATFORM) == ()


def test_documents_that_are_written_together_are_compared_with_each_other() -> None:
    changed = draft(platform={"privileged": False})
    put(changed, BOTH, {"privileged": True, "service_accounts": ["a"]})
    put(changed, PLATFORM, {"privileged": True})
    put(changed, PROJECT, {"service_accounts": []})
    assert warnings(changed) == (
        "service_accounts: ['a'] allows more than [] of project shop; the rest has no effect",
    )
    deleted = draft(project={"service_accounts": []})
    put(deleted, BOTH, {"service_accounts": ["a"]})
    deleted.delete(DeleteRecord(KIND, PROJECT, AnyVersion()))
    assert warnings(deleted) == ()


def test_a_patch_has_its_own_warnings_and_these() -> None:
    changed = draft(project={"service_accounts": ["a"]})
    patch = {"service_accounts": ["b", "b"]}
    changed.patch(PatchRecord(KIND, BOTH, patch, AnyVersion()))
    assert warnings(changed) == (
        "service_accounts: 'b' is listed 2 times and counts once",
        "service_accounts: ['b'] allows more than ['a'] of project shop; the rest has no effect",
    )
