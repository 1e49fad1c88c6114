"""A program that holds a token and acts on each line of input: ``holder.py NATS POOL TARGET``."""

import asyncio
import sys
import urllib.error
import urllib.request

import click

import trimtab

LEASE_SECONDS = 2.0


def put(target: str, fence: int | None) -> int:
    """Send a request with the fence to the target, and return the status of the response."""
    request = urllib.request.Request(target, method="PUT", headers={"Fence": str(fence)})
    try:
        with urllib.request.urlopen(request) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


async def main(url: str, pool: str, target: str) -> None:
    async with trimtab.pools(url) as pools:
        holding = pools.token(pool, project="shop", domain="staging", lease_seconds=LEASE_SECONDS)
        async with holding as lease:
            click.echo(f"acted {put(target, lease.fence)}")
            sys.stdin.readline()
            try:
                lease.check()
            except trimtab.LeaseLost as error:
                click.echo(f"refuses: {error}")
            # Act regardless, like a holder that was suspended between its check and its action.
            click.echo(f"acted {put(target, lease.fence)}")


if __name__ == "__main__":
    try:
        asyncio.run(main(*sys.argv[1:]))
    except trimtab.LeaseLost:
        click.echo("ended with LeaseLost")
