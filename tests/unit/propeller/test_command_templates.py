"""Templates in commands: replaced once, by texts that nothing reads again."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import JsonValue

from tests.golden_pods import IMAGE, OUTPUTS, Case, template
from trimtab.resolution.limits import Refusal
from trimtab.workflows.graphs.targets import Container, Function
from trimtab_propeller.executors.port import AttemptRejected
from trimtab_propeller.pods.command_templates import MAX_ARGUMENT_BYTES

VARIABLES = {"HOME": "EXPANDED"}
TEXTS = st.text(st.sampled_from("$(){}.a HOME"), max_size=12)


def arguments(*args: str, inputs: Mapping[str, JsonValue] = {}, **fields: Any) -> list[str]:
    """Return the arguments of a pod as a program in the container gets them."""
    case = Case(
        config={"container_image": IMAGE},
        target=Container(args=args),
        inputs=inputs,
        settings=(OUTPUTS,),
        **fields,
    )
    [container] = case.pod()["spec"]["containers"]
    return [expanded(text) for text in container["args"]]


def expanded(text: str) -> str:
    """Expand a text as the kubelet does, according to third_party/forked/golang/expansion."""
    result, at = "", 0
    while at < len(text):
        if text.startswith("$$", at):
            result, at = result + "$", at + 2
        elif text.startswith("$(", at) and ")" in text[at:]:
            end = text.index(")", at)
            name = text[at + 2 : end]
            result, at = result + VARIABLES.get(name, f"$({name})"), end + 1
        else:
            result, at = result + text[at], at + 1
    return result


@example(before="$", value="(HOME)", after="")
@example(before="$(", value="HOME", after=")")
@given(before=TEXTS, value=TEXTS, after=TEXTS)
def test_the_text_of_an_input_is_part_of_an_argument_as_it_is(
    before: str, value: str, after: str
) -> None:
    if re.search(r"\{\{\s*[.$]", before + after):
        return
    [argument] = arguments(f"{before}{{{{.inputs.x}}}}{after}", inputs={"x": value})
    assert argument == f"{expanded(before)}{value}{expanded(after)}"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a b; rm 'c' \"d\"", "a b; rm 'c' \"d\""),
        ("", ""),
        ("2030-01-31T12:00:00Z", "2030-01-31T12:00:00Z"),
        (3, "3"),
        (3.0, "3.0"),
        (1000000.0, "1000000.0"),
        (True, "true"),
        (["a b", None, 1], '["a b",null,1]'),
        ([], "[]"),
        ({"a": {"ü": [True]}}, '{"a":{"ü":[true]}}'),
    ],
)
def test_an_input_has_one_form_as_a_text(value: JsonValue, text: str) -> None:
    assert arguments("{{.inputs.x}}", inputs={"x": value}) == [text]


@pytest.mark.parametrize(
    "written",
    ["{{.inputs.x}}", "{{$inputs.x}}", "{{ .inputs.x }}", "{{  $Inputs.x}}", "{{.INPUTS.x\t}}"],
)
def test_a_template_may_have_a_dollar_sign_blanks_and_capitals(written: str) -> None:
    assert arguments(f"<{written}|{written}>", inputs={"x": "v"}) == ["<v|v>"]


@pytest.mark.parametrize(
    "text", ["{{x}}", "{{ inputs.x }}", "${{inputs.x}}", "{{.inputs.x | upper}}", "{{.}}", "{.a}"]
)
def test_other_braces_are_text(text: str) -> None:
    assert arguments(text) == [text]


def test_the_first_attempt_has_no_earlier_checkpoint() -> None:
    assert arguments("{{.prevCheckpointPrefix}}") == [""]
    assert arguments("{{.prevCheckpointPrefix}}", number=2) == ["s3://data/shop/e1/n0/1/checkpoint"]


def test_each_attempt_has_paths_and_a_key_of_its_own_and_the_inputs_of_its_node() -> None:
    own = ("{{.outputPrefix}}", "{{.rawOutputDataPrefix}}", "{{.perRetryUniqueKey}}")
    first, second = arguments(*own), arguments(*own, number=1)
    assert not set(first) & set(second)
    assert arguments("{{.input}}") == arguments("{{.input}}", number=1)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, 'input "x" is null'),
        ("a\0b", 'input "x" has a zero byte'),
        (MAX_ARGUMENT_BYTES * "a" + "b", "the argument with {{.inputs.x}} is longer"),
    ],
)
def test_an_input_that_cannot_be_in_an_argument_is_refused(value: JsonValue, reason: str) -> None:
    with pytest.raises(AttemptRejected) as refused:
        arguments("{{.inputs.x}}", inputs={"x": value})
    assert reason in str(refused.value)


def test_a_text_of_dollar_signs_may_be_as_long_as_an_argument() -> None:
    [argument] = arguments("{{.inputs.x}}", inputs={"x": MAX_ARGUMENT_BYTES * "$"})
    assert len(argument) == MAX_ARGUMENT_BYTES


def refusal(text: str, **fields: Any) -> Refusal:
    """Return the refusal of a pod whose sidecar has the text as its command."""
    sidecar = {"name": "logger", "image": "busybox:1.36", "command": [text]}
    config = {"container_image": IMAGE, "pod_template": template(sidecar)}
    with pytest.raises(Refusal) as refused:
        Case(config=config, target=Function(), **fields).attempt()
    return refused.value


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{{.inputs.row}}", "inputs rows; did you mean 'rows'?"),
        ("{{.outputPrefx}}", "did you mean 'outputPrefix'"),
        ("{{.taskTemplatePath}}", "another template"),
        ("{{.inputs.}}", "one of input, inputPrefix"),
    ],
)
def test_a_template_that_nothing_replaces_is_refused(text: str, reason: str) -> None:
    refused = refusal(text, inputs={"rows": 3})
    assert refused.path.endswith("pod_template.pod_spec.containers.0.command.0")
    assert reason in str(refused)


def test_a_path_without_a_prefix_of_outputs_is_refused_with_the_missing_setting() -> None:
    refused = refusal("{{.outputPrefix}}")
    assert "raw_output_data_config.output_location_prefix, which no record sets" in str(refused)


def test_the_command_that_a_function_replaces_may_have_anything_in_braces() -> None:
    own = {"name": "primary", "image": IMAGE, "command": ["{{.State.Running}}"]}
    config = {"container_image": IMAGE, "pod_template": template(own)}
    assert Case(config=config, target=Function()).attempt()
