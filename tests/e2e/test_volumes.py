"""The volumes keep what must last when all containers are removed."""

from tests.e2e.stack import Stack

FLAGS = ("-p", "kept", "-d", "development")


def test_data_and_secrets_are_kept_when_the_containers_are_removed(stack: Stack) -> None:
    stack.trimtab("register", "project", "kept")
    stack.trimtab("register", "examples/nightly.py", *FLAGS)
    stack.trimtab("execute", "nightly", *FLAGS)
    token, executions = stack.token, stack.trimtab("get", "executions", *FLAGS)
    manifest = stack.eventually(
        lambda: stack.manifest("kept-development", "Namespace-kept-development")
    )

    stack.compose("down", "--timeout", "20")
    stack.up()

    assert stack.token == token
    assert stack.trimtab("get", "executions", *FLAGS) == executions
    assert stack.manifest("kept-development", "Namespace-kept-development") == manifest
    assert "succeeded" in stack.trimtab("execute", "nightly", *FLAGS)
