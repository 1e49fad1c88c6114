"""The form of API tokens."""

import re

import pytest

from trimtab_admin.access.credentials import Credential, are_equal, hash_secret


def test_a_new_api_token_has_256_random_bits_and_can_be_parsed() -> None:
    credential = Credential.new()
    text = str(credential)
    assert re.fullmatch(r"trimtab_[a-z0-9]{10}_[A-Za-z0-9_-]{43}", text)
    assert Credential.parse(text) == credential
    assert len({str(Credential.new()) for _ in range(1000)}) == 1000


def test_a_new_secret_keeps_the_id() -> None:
    first = Credential.new()
    second = Credential.new(first.id)
    assert second.id == first.id
    assert not are_equal(second.hash, first.hash)


def test_the_hash_does_not_contain_the_secret() -> None:
    credential = Credential.new()
    assert credential.hash == hash_secret(credential.secret)
    assert credential.secret not in credential.hash


@pytest.mark.parametrize("text", ["", "trimtab_", "trimtab_abc_def", "t0ken", "trimtab_é_x" * 9])
def test_other_text_is_not_an_api_token(text: str) -> None:
    assert Credential.parse(text) is None
