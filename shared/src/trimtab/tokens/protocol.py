"""The protocol of resmgr: requests and answers on ``trimtab.resmgr.<operation>.<cohort>``. Pure.

Operations are named after their requests: ``register``, ``allocate``, ``renew``, ``reassert``,
``release``, ``reprioritize``, ``force_release``, ``inspect``, ``recount``, ``batch``. Bodies are
JSON; a refusal that is an error has the headers ``Nats-Service-Error`` and
``Nats-Service-Error-Code`` of NATS micro. `TokenGranted` and `TokenLost` are hints that resmgr
publishes on ``trimtab.resmgr.granted.>`` and ``trimtab.resmgr.lost.>``. A hint may not arrive; a
reply decides.

A token is named by its id and by the pools that it is of: the same id in another pool is another
token, and one of several pools is named by all of them, in any order.
"""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from trimtab.models import Model

COHORT = "default"
"""The cohort of every pool that names no other."""

PoolName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
NewPoolName = Annotated[
    str, StringConstraints(max_length=200, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.:\-]*$")
]
TokenId = Annotated[
    str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$")
]
"""Opaque; unique to one attempt of one node."""
ScopePart = Annotated[
    str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f/]+$")
]
"""Of a project or domain: sums are told by ``project/domain``."""
Seconds = Annotated[float, Field(gt=0, le=86_400)]


def operation(request: type[Model]) -> str:
    """What a request is sent to: ``force_release`` for `ForceRelease`."""
    return "".join("_" + c.lower() if c.isupper() else c for c in request.__name__).lstrip("_")


class _Request(Model):
    """What callers say: a number is one, and not a text or a truth value that looks like one."""

    model_config = ConfigDict(strict=True)


class Units(_Request):
    """So much of one pool."""

    pool: PoolName
    weight: int = Field(default=1, ge=1)


class _Token(_Request):
    """Names a token, by ``pool`` or by ``pools``."""

    token: TokenId
    pool: PoolName | None = None
    pools: tuple[PoolName, ...] = Field(default=(), max_length=16, strict=False)

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        _check_pools(self.pool, self.pools)
        return self

    @property
    def all_pools(self) -> tuple[str, ...]:
        """Sorted."""
        return tuple(sorted(self.pools)) if self.pool is None else (self.pool,)


class _Share(_Request):
    """Units for a project: ``weight`` of ``pool``, or all of ``pools`` together."""

    token: TokenId
    pool: PoolName | None = None
    weight: int = Field(default=1, ge=1)
    """Of ``pool``; those of ``pools`` have their own."""
    pools: tuple[Units, ...] = Field(default=(), max_length=16, strict=False)
    """Several pools of the cohort, all or none of them."""
    project: ScopePart
    domain: ScopePart
    lease_seconds: Seconds = 60.0
    """How long the token is held unless it is renewed. resmgr may cut it; its answer says to what.

    A holder counts from when it *sent* the request, and stops acting when that time is over.
    """

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        _check_pools(self.pool, [units.pool for units in self.pools])
        return self

    @property
    def units(self) -> tuple[Units, ...]:
        """Sorted by pool."""
        if self.pool is None:
            return tuple(sorted(self.pools, key=lambda units: units.pool))
        return (Units(pool=self.pool, weight=self.weight),)


def _check_pools(pool: str | None, pools: "list[str] | tuple[str, ...]") -> None:
    if (pool is None) is not bool(pools):
        raise ValueError("exactly one of pool and pools is needed")
    if len(set(pools)) != len(pools):
        raise ValueError("pools names one twice")


class Register(_Request):
    """A service needs this pool. The same quota again is fine, another one is an error."""

    pool: NewPoolName
    quota: int = Field(ge=1)


class Registered(Model):
    pool: str
    quota: int


class Allocate(_Share):
    """Ask for a token. Asking again for one that is held grants it again and renews its lease.

    A request that has to wait keeps its place for as long as it is asked again.
    """

    project_cap: int | None = Field(default=None, ge=0)
    """Of each pool, beside the pool's own caps; absent is no cap, 0 is none allowed."""
    project_domain_cap: int | None = Field(default=None, ge=0)
    priority: int = Field(default=0, ge=-1000, le=1000)
    """Higher goes first. It ages: who waits long enough comes before whoever comes later."""
    wait_seconds: float | None = Field(default=None, ge=0, le=604_800)
    """How long this may wait in all; then it is ``exhausted`` and its place is gone.

    Absent asks like an old plugin: the answer is ``exhausted`` instead of ``waiting``, and the
    place is kept all the same while the plugin polls. 0 wants no place.
    """


class Blocker(Model):
    """Something that is in the way of a request."""

    limit: Literal[
        "quota",
        "project_cap",
        "project_domain_cap",
        "max_weight",
        "inactive",
        "quarantine",
        "order",
        "reservation",
    ]
    """``order``: an earlier request of the same project, domain and priority, or others before it
    in the pool; ``reservation``: units kept for one that has waited long; ``quarantine``: Redis
    lost its memory, and holders are given the time to say what they hold."""
    pool: str
    number: int | None = None
    """Units that the limit allows, or keeps."""
    held: int | None = None
    """Units that it counts as held."""


class Allocated(Model):
    """The answer to `Allocate`."""

    status: Literal["granted", "waiting", "exhausted", "never_fits", "error"]
    """``error`` only in a `Batched`: a single request gets an error with headers."""
    reason: str = ""
    """Which limit refused, with its numbers."""
    held: int = 0
    """Units of the pool held after the request; of several pools, those of the first by name."""
    lease_seconds: float | None = None
    """``None`` where nothing expires (noop), or nothing was granted."""
    fence: int | None = None
    """Grows with each grant: a target that stores the highest one can refuse an earlier holder."""
    position: int | None = None
    """Of a request that has a place: 1 is the first of its pool. Of several pools the worst."""
    blockers: tuple[Blocker, ...] = ()
    retry_after_seconds: float | None = None
    """A place or a grant in passing is lost unless it is asked for again within this time, which
    may be any time before; about a third of it is a good pace."""
    waited_seconds: float | None = None
    """Since the first time it was asked for, where it has or had a place."""


class Renew(_Token):
    """Keep what is held. Never takes anything anew."""

    fence: int | None = None
    """That of the grant; absent renews whichever there is."""
    lease_seconds: Seconds = 60.0


class Reassert(_Share):
    """Say what is held, after resmgr has lost its memory. Also renews what it still knows."""

    fence: int = Field(ge=0, le=2**53 - 1)


class Renewed(Model):
    """The answer to `Renew` and `Reassert`."""

    status: Literal["held", "lost", "reassert"]
    """``reassert``: resmgr lost its memory; send `Reassert` while the lease lasts."""
    reason: str = ""
    lease_seconds: float | None = None
    """``None`` where nothing expires (noop), or nothing is held."""
    fence: int | None = None


class Release(_Token):
    """Give a token, or the place of one that waits, back. What is not held is no error."""

    fence: int | None = None
    """That of the grant: a later grant of the same token is left alone. Absent: whichever."""


class Released(Model):
    released: bool
    """Whether the token was held."""
    withdrew: bool = False
    """Whether it had a place and gave that back."""
    reason: str = ""
    """Why nothing was released: the lease had ended, or somebody has forced it."""


class ForceRelease(_Token):
    """An admin takes a token or a place away. Kept in the audit; the holder is told it is lost."""

    actor: str = Field(min_length=1, max_length=200)
    why: str = Field(min_length=1, max_length=1000)


class Reprioritize(_Token):
    """Change the priority of a request that waits."""

    priority: int = Field(ge=-1000, le=1000)


class Reprioritized(Model):
    waiting: bool
    """Whether it had a place; otherwise nothing has changed."""
    position: int | None = None


class Inspect(_Request):
    pool: PoolName


class Holder(Model):
    token: str
    project: str
    domain: str
    weight: int
    expires_in_seconds: float
    """Below 0 while its grace lasts."""
    fence: int | None = None
    age_seconds: float = 0.0
    """Since it was granted."""
    claimed: bool = True
    """False for one that was granted while it waited and was not asked for again yet."""
    pools: tuple[str, ...] = ()
    """All that the token is of, where there are several."""


class Waiter(Model):
    token: str
    project: str
    domain: str
    weight: int
    priority: int
    position: int
    reason: str
    blockers: tuple[Blocker, ...] = ()
    age_seconds: float
    """Since it was asked for first."""
    pools: tuple[str, ...] = ()


class Inspected(Model):
    """A pool as it is now."""

    pool: str
    type: Literal["redis", "noop"]
    quota: int
    held: int
    by_project: dict[str, int]
    """Units by project."""
    by_project_domain: dict[str, int]
    """Units by ``project/domain``."""
    holders: tuple[Holder, ...]
    """Of very many the first 1000 by the end of their lease; the sums are of all."""
    waiters: tuple[Waiter, ...] = ()
    """Of very many the first 1000 by position."""
    waiting: int = 0
    """All of them."""
    active: bool = True
    cohort: str = COHORT
    quarantine_seconds: float = 0.0
    """How long nothing will be granted, because Redis lost its memory."""


class Recount(_Request):
    """Count a pool anew. Reads all of it, in one step."""

    pool: PoolName


class Forced(Model):
    """A token or place that an admin has taken away."""

    token: str
    pools: tuple[str, ...]
    actor: str
    why: str
    at_seconds: float
    """Seconds since 1970, by the clock of Redis."""
    held: bool
    """False where it was a place only."""


class Recounted(Model):
    pool: str
    differences: tuple[str, ...]
    """A sentence for each; none is how it must be."""
    forced: tuple[Forced, ...] = ()
    """Of the whole cohort, the latest first, at most 1000."""


class Batch(_Request):
    """Several requests, each answered as if it had come alone."""

    allocate: tuple[Allocate, ...] = Field(default=(), max_length=500)
    renew: tuple[Renew, ...] = Field(default=(), max_length=500)
    release: tuple[Release, ...] = Field(default=(), max_length=500)


class Batched(Model):
    """Answers in the order of the requests."""

    allocate: tuple[Allocated, ...] = ()
    renew: tuple[Renewed, ...] = ()
    release: tuple[Released, ...] = ()


class TokenGranted(Model):
    """Hint: a request that waited was granted. Ask again to keep it."""

    token: str
    pools: tuple[str, ...]
    claim_seconds: float
    """How long the grant is kept for whoever does not ask again."""


class TokenLost(Model):
    """Hint: a token is no longer held."""

    token: str
    pools: tuple[str, ...]
    fence: int
    reason: str
