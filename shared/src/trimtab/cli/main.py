"""The command ``trimtab`` put together."""

import click

from trimtab import kinds
from trimtab.cli import attributes, entities
from trimtab.cli.executions import execute, explain
from trimtab.cli.failures import Commands
from trimtab.cli.registration import register
from trimtab.cli.up import up


@click.group("trimtab", cls=Commands)
def cli() -> None:
    """The control plane for customizable resources of a workflow platform."""


get = Commands("get", what="kind or noun", help="Show settings of a kind, or what there is.")
update = Commands("update", what="kind", help="Change settings of a kind by a file.")
delete = Commands("delete", what="kind", help="Remove settings of a kind.")

for _kind in kinds.registered().values():
    for _group, _verb in ((get, attributes.get_command), (delete, attributes.delete_command)):
        _group.add_command(_verb(_kind))
        _group.add_alias(attributes.plural(_kind.noun), _verb(_kind))
    update.add_command(attributes.update_command(_kind))
for _command in entities.GET:
    get.add_command(_command)
    get.add_alias(str(_command.name).removesuffix("s"), _command)
for _command in (get, update, delete, register, execute, explain, up):
    cli.add_command(_command)


def main() -> None:
    cli.main(prog_name="trimtab")
