"""The tables of `trimtab form`."""

from typing import Any

from trimtab.api.launch_forms import FormField, FormHook, FormInput, FormLimit, LaunchForm
from trimtab.cli.launch_forms import parts

CPU = FormField(
    path="resources.requests.cpu",
    json_schema={"type": "string", "format": "quantity"},
    default="1",
    source="task",
    limits=(FormLimit(amount="2", name="task_resource.limits.cpu", scope="platform", revision=3),),
    over_limit="clamp",
)
THREADS = FormField(
    path="environment", json_schema={"type": "object"}, default={"THREADS": "1"}, source=""
)


def text(**fields: Any) -> str:
    content = {
        "project": "shop",
        "domain": "development",
        "workflow": "nightly",
        "version": "v1",
        "launch_plan": "nightly",
        "revision": 7,
        "inputs": (),
        "execution": (),
        "hooks": (),
    }
    form = LaunchForm.model_validate({**content, **fields})
    return "\n".join(part if isinstance(part, str) else part.text() for part in parts(form))


def hook(*fields: FormField, paths: tuple[str, ...] = ("trainer",)) -> FormHook:
    return FormHook(name="trainer", paths=paths, task="train", task_type="python", fields=fields)


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_an_input_has_its_type_its_default_and_its_source() -> None:
    kinds = {"anyOf": [{"type": "integer"}, {"type": "null"}]}
    found = lines(
        text(
            inputs=(
                FormInput(name="day", required=True, source=""),
                FormInput(
                    name="rows", json_schema=kinds, required=False, default=3, source="workflow"
                ),
                FormInput(
                    name="mode",
                    json_schema={"enum": ["a", "b"]},
                    required=False,
                    default=None,
                    source="launch plan",
                ),
            )
        )
    )
    assert ["day", "any", "-", "required"] in found
    assert ["rows", "integer", "or", "null", "3", "workflow"] in found
    assert ["mode", "one", "of", '"a",', '"b"', "null", "launch", "plan"] in found


def test_a_field_has_its_limit_and_what_happens_above_it() -> None:
    shown = text(hooks=(hook(CPU),))
    assert "2, above it lowered: task_resource.limits.cpu of platform" in shown


def test_the_value_of_a_map_is_in_the_rows_of_its_keys_only() -> None:
    assert ["environment", "object", "-", "-", "-", "-"] in lines(text(hooks=(hook(THREADS),)))


def test_a_hook_of_many_paths_names_the_first_ones() -> None:
    paths = tuple(f"n{i}/trainer" for i in range(5))
    assert "for n0/trainer, n1/trainer, n2/trainer and 2 more" in text(hooks=(hook(paths=paths),))


def test_a_workflow_without_hooks_and_inputs_is_described_in_words() -> None:
    assert "It has no inputs." in text()
    assert "No node has a hook" in text()
