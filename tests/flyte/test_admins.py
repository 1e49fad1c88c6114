"""Every door requires authentication in the admins that these tests run."""

from collections.abc import Callable

from tests.flyte.admins import Admin


def test_a_call_without_the_token_is_refused(admin: Admin) -> None:
    with admin.client() as holder, admin.client("other") as stranger:
        assert holder.get("/api/v2/projects").status_code == 200
        assert stranger.get("/api/v2/projects").status_code == 401


def test_an_admin_that_was_killed_starts_again_with_its_data(
    new_admin: Callable[..., Admin],
) -> None:
    admin = new_admin()
    with admin.client() as client:
        client.post("/api/v2/projects", json={"name": "shop"})
    admin.kill()
    admin.start()
    with admin.client() as client:
        assert client.get("/api/v2/projects/shop").status_code == 200
