"""Names of images, and the warning about those without fixed content."""

import warnings

import pytest

from trimtab.errors import Invalid
from trimtab.workflows.graphs.images import ImageWarning, check_image, warn_if_mutable

DIGEST = f"sha256:{'0123456789abcdef' * 4}"


@pytest.mark.parametrize(
    "image",
    [
        "train",
        "python:3.9-slim-buster",
        "my-registry/my-image:latest",
        "registry.example.com:5000/team/a_b/c.d__e--f:v1.2_3",
        f"localhost:5000/train@{DIGEST}",
        f"[2001:db8::1]:5000/train:v1@{DIGEST}",
        f"train@sha512:{'ab' * 64}",
    ],
)
def test_names_of_images_are_accepted(image: str) -> None:
    check_image("image", image)


@pytest.mark.parametrize(
    "image",
    [
        "", " train", "train:", "train:v 1", "Train:v1", "team//train", "/train", "train/",
        "-train", "train_", "train@sha256:12", "train:v1:v2", f"train@{DIGEST}@{DIGEST}",
        "https://registry/train", f"train:{'a' * 129}", "a" * 256, "train\n", None, 3,
    ],
)  # fmt: skip
def test_other_texts_are_refused(image: object) -> None:
    with pytest.raises(Invalid, match="registry"):
        check_image("image", image)


def test_a_long_wrong_name_is_refused_at_once() -> None:
    with pytest.raises(Invalid):
        check_image("image", "a-" * 100_000)
    with pytest.raises(Invalid):
        check_image("image", "a-" * 290 + "!")


@pytest.mark.parametrize("image", ["train", "train:latest", "localhost:5000/train"])
def test_an_image_without_version_and_digest_warns_where_it_was_written(image: str) -> None:
    with pytest.warns(ImageWarning, match=image) as caught:
        warn_if_mutable(image)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("image", ["train:v1", f"train@{DIGEST}", f"train:latest@{DIGEST}", "!"])
def test_a_version_or_a_digest_does_not_warn(image: str) -> None:
    with warnings.catch_warnings(action="error"):
        warn_if_mutable(image)
