"""The wire protocol of resmgr: requests, replies and hints. Pure.

A request is sent to ``trimtab.resmgr.<operation>.<cohort>``. The operation is the name of its
model: ``force_release`` for `ForceRelease`. Its reply is the model of the past participle:
`Released` for `Release`; the reply to `Pools` is a `PoolPage`. Bodies are JSON. A reply that is an
error has the headers ``Nats-Service-Error`` and ``Nats-Service-Error-Code`` of NATS micro and a
``problem+json`` body.

`TokenGranted` and `TokenLost` are hints that resmgr publishes on ``trimtab.resmgr.granted.>`` and
``trimtab.resmgr.lost.>``. A hint may not arrive; only replies are authoritative.

A token is identified by its id and its pools: the same id in another pool is another token. A token
of several pools is identified by all of them, in any order.
"""

from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from trimtab.models import MAX_INTEGER, MAX_UNITS, Model, NewPoolName

COHORT = "default"
"""The cohort of every pool that names no other."""

MAX_LISTED = 1000
"""The most holders, and the most waiters, of an `Inspected`."""
MAX_POOLS = 500
"""The most pools of a `PoolPage`."""

PoolName = Annotated[
    str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")
]
TokenId = Annotated[
    str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00-\x1f\x7f]+$")
]
"""An opaque id, unique to one attempt of one node."""
ScopePart = Annotated[
    str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f/]+$")
]
"""A project or domain. Without ``/``, which separates the two in `Inspected.by_project_domain`."""
Seconds = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]
Weight = Annotated[int, Field(ge=1, le=MAX_UNITS)]
Cap = Annotated[int, Field(ge=0, le=MAX_UNITS)]
Fence = Annotated[int, Field(ge=0, le=MAX_INTEGER)]
Priority = Annotated[int, Field(ge=-1000, le=1000)]


def _is_none(value: object) -> bool:
    return value is None


PageEnd = Annotated[
    str,
    StringConstraints(max_length=8000, pattern=r"^-?[0-9]{1,20}(\.[0-9]{1,20})?(e\+[0-9]{1,3})? "),
]
"""Where a page ends; opaque to callers."""
_After = Annotated[PageEnd | None, Field(exclude_if=_is_none)]


def operation(request: type[Model]) -> str:
    """Return the operation of a request: ``force_release`` for `ForceRelease`."""
    return "".join("_" + c.lower() if c.isupper() else c for c in request.__name__).lstrip("_")


class _Request(Model):
    """The base of requests. Parsing is strict: a number is neither a text nor a boolean."""

    model_config = ConfigDict(strict=True)


class Units(_Request):
    """A number of units of one pool."""

    pool: PoolName
    weight: Weight = 1


class _Token(_Request):
    """The base of requests that identify a token, by ``pool`` or by ``pools``."""

    token: TokenId
    pool: PoolName | None = None
    pools: tuple[PoolName, ...] = Field(default=(), max_length=16, strict=False)

    @model_validator(mode="after")
    def _check_pools(self) -> Self:
        _check_pools(self.pool, self.pools)
        return self

    @property
    def all_pools(self) -> tuple[str, ...]:
        """The names of the pools, sorted."""
        return tuple(sorted(self.pools)) if self.pool is None else (self.pool,)


class _Share(_Request):
    """The base of requests for units of a project: ``weight`` of ``pool``, or all of ``pools``."""

    token: TokenId
    pool: PoolName | None = None
    weight: Weight = 1
    """Units of ``pool``. Each of ``pools`` has a weight of its own."""
    pools: tuple[Units, ...] = Field(default=(), max_length=16, strict=False)
    """Several pools of the cohort, of which all or none are taken."""
    project: ScopePart
    domain: ScopePart
    lease_seconds: Seconds = 60.0
    """How long the token is held unless it is renewed. resmgr may shorten it; the reply has the
    result.

    A holder measures it from when it *sent* the request, and then stops acting.
    """

    @model_validator(mode="after")
    def _check_pools(self) -> Self:
        _check_pools(self.pool, [units.pool for units in self.pools])
        # Callers of earlier releases send the default.
        if self.pools and self.weight != 1:
            raise ValueError("weight is that of pool; each of pools has a weight of its own")
        return self

    @property
    def units(self) -> tuple[Units, ...]:
        """The units of each pool, sorted by pool."""
        if self.pool is None:
            return tuple(sorted(self.pools, key=lambda units: units.pool))
        return (Units(pool=self.pool, weight=self.weight),)


def _check_pools(pool: str | None, pools: "list[str] | tuple[str, ...]") -> None:
    if (pool is None) is not bool(pools):
        raise ValueError("exactly one of pool and pools is needed")
    if len(set(pools)) != len(pools):
        raise ValueError("pools names one twice")


class Register(_Request):
    """Create a pool that a service needs. Registering the quota that a pool has succeeds; another
    quota is an error."""

    pool: NewPoolName
    quota: Weight


class Registered(Model):
    """The reply to `Register`."""

    pool: str
    quota: int


class Allocate(_Share):
    """Request a token. Requesting a held token grants it again and renews its lease.

    A request that has to wait keeps its position for as long as it is repeated.
    """

    project_cap: Cap | None = None
    """A cap in each pool in addition to the pool's own. Absent: no cap; 0: nothing is allowed."""
    project_domain_cap: Cap | None = None
    priority: Priority = 0
    """A higher priority goes first. Priority ages: a long wait outweighs a later, higher one."""
    wait_seconds: float | None = Field(default=None, ge=0, le=604_800, allow_inf_nan=False)
    """The longest wait in all. After it the reply is ``exhausted`` and the position is gone.

    Absent: the reply is ``exhausted`` instead of ``waiting``, as plugins of Flyte expect, and the
    position is kept while the plugin polls. 0: the request does not wait.
    """


class Blocker(Model):
    """A limit that keeps a request from being granted."""

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
    """``order``: other waiters of the pool come first, such as an earlier request of the same
    project, domain and priority. ``reservation``: units are reserved for a request that has waited
    long. ``quarantine``: Redis lost its data, and holders have time to reassert their tokens."""
    pool: str
    number: int | None = None
    """The units that the limit allows, or that are reserved."""
    held: int | None = None
    """The held units that count towards the limit."""


class Allocated(Model):
    """The reply to `Allocate`."""

    status: Literal["granted", "waiting", "exhausted", "never_fits", "error"]
    """``error`` occurs only in a `Batched`: a single request gets an error with headers."""
    reason: str = ""
    """The first blocker as a sentence, with its numbers. Of a held token that was requested with
    another body: what is held."""
    held: int = 0
    """The units of the pool that are held after the request; of the first pool by name, where the
    request names several."""
    lease_seconds: float | None = None
    """``null`` where nothing was granted, or nothing expires (type ``noop``)."""
    fence: int | None = None
    """Grows with each grant: a target that stores the highest one can refuse an earlier holder."""
    position: int | None = None
    """The position of a waiter; 1 is next. Of several pools the worst."""
    blockers: tuple[Blocker, ...] = ()
    retry_after_seconds: float | None = None
    """A waiter that does not repeat its request within this time loses its position or its grant.
    It may repeat it at any time before; a third of it is a good pace."""
    waited_seconds: float | None = None
    """The time since the first request, for one that has or had a position."""


class Renew(_Token):
    """Renew the lease of a held token. Never grants anything."""

    fence: Fence | None = None
    """The fence of the grant. Absent: any grant of the token is renewed."""
    lease_seconds: Seconds = 60.0


class Reassert(_Share):
    """Restore a held token after Redis lost its data, or renew it where it is still known."""

    fence: Fence


class Renewed(Model):
    """The reply to `Renew` and `Reassert`."""

    status: Literal["held", "lost", "reassert", "error"]
    """``reassert``: Redis lost its data; send `Reassert` while the lease lasts. ``error`` occurs
    only in a `Batched`, for an invalid request."""
    reason: str = ""
    lease_seconds: float | None = None
    """``null`` where nothing is held, or nothing expires (type ``noop``)."""
    fence: int | None = None


class Release(_Token):
    """Release a token, or the position of a waiter. Releasing one that is not held is no error."""

    fence: Fence | None = None
    """The fence of the grant: a later grant of the token stays held. Absent: any grant."""


class Released(Model):
    """The reply to `Release` and `ForceRelease`."""

    released: bool
    """Whether the token was held."""
    withdrew: bool = False
    """Whether it had a position, which was released."""
    reason: str = ""
    """Why nothing was released: the token was not held, or has been granted again since."""


class ForceRelease(_Token):
    """Release a token or position of another caller, as an admin. The reason is stored, and a hint
    informs the holder."""

    actor: str = Field(min_length=1, max_length=200)
    why: str = Field(min_length=1, max_length=1000)


class Reprioritize(_Token):
    """Change the priority of a waiter."""

    priority: Priority


class Reprioritized(Model):
    """The reply to `Reprioritize`."""

    waiting: bool
    """Whether it had a position; if not, nothing has changed."""
    position: int | None = None
    """``null`` where it does not wait, or was granted by the change."""


class Inspect(_Request):
    """Read the current state of a pool.

    Where only one of ``holders_after`` and ``waiters_after`` is given, only that list is continued.
    """

    pool: PoolName
    limit: Annotated[
        Annotated[int, Field(ge=1, le=MAX_LISTED)] | None, Field(exclude_if=_is_none)
    ] = None
    """The most holders, and the most waiters, to list. Absent: 1000."""
    holders_after: _After = None
    """The ``holders_next`` of the page before."""
    waiters_after: _After = None
    """The ``waiters_next`` of the page before."""


class Holder(Model):
    """A token of a pool, as `Inspected` lists it."""

    token: str
    project: str
    domain: str
    weight: int
    expires_in_seconds: float
    """Negative during the grace of the lease."""
    fence: int | None = None
    age_seconds: float = 0.0
    """The time since the grant."""
    claimed: bool = True
    """False for a pre-granted token, which its waiter has not claimed yet."""
    pools: tuple[str, ...] = ()
    """All pools of the token, where it has several."""


class Waiter(Model):
    """A waiter of a pool, as `Inspected` lists it."""

    token: str
    project: str
    domain: str
    weight: int
    priority: int
    position: int
    reason: str
    blockers: tuple[Blocker, ...] = ()
    age_seconds: float
    """The time since its first request."""
    pools: tuple[str, ...] = ()


class Inspected(Model):
    """The current state of a pool; the reply to `Inspect`."""

    pool: str
    type: Literal["redis", "noop"]
    quota: int
    held: int
    by_project: dict[str, int]
    """Units by project."""
    by_project_domain: dict[str, int]
    """Units by ``project/domain``."""
    holders: tuple[Holder, ...]
    """At most ``limit``, those whose leases end first; the sums cover all."""
    holding: int = 0
    """The number of all holders."""
    holders_next: str | None = None
    """The ``holders_after`` of the next page; ``null`` where the last holder is listed. A holder
    that renews its lease between two pages may be in both."""
    waiters: tuple[Waiter, ...] = ()
    """At most ``limit``, by position."""
    waiting: int = 0
    """The number of all waiters."""
    waiters_next: str | None = None
    """The ``waiters_after`` of the next page; ``null`` where the last waiter is listed."""
    active: bool = True
    cohort: str = COHORT
    quarantine_seconds: float = 0.0
    """How long nothing will be granted, because Redis lost its data."""
    omitted: Annotated[int, Field(exclude_if=lambda number: number == 0)] = 0
    """Sums that did not fit into the reply; absent where all did."""


class Pools(_Request):
    """Read the use of all pools of a cohort, by name, and why each grants nothing now."""

    after: PoolName | None = None
    """The `PoolPage.next` of the page before. Absent: the first page."""
    limit: int = Field(default=MAX_POOLS, ge=1, le=MAX_POOLS)


class Blocked(Model):
    """Why a pool grants nothing now."""

    reason: Literal[
        "quarantine",
        "unknown",
        "moved",
        "inactive",
        "max_weight",
        "quota",
        "project_cap",
        "project_domain_cap",
        "reservation",
        "order",
    ]
    """The first that applies, in this order. ``unknown``: the pool is not declared, and there is no
    default. ``moved``: it is held, or granted, in another cohort. The others are those of
    `Blocker.limit`, for the first waiter: the limits of this pool come before those of other pools
    that it requests."""
    pool: str
    """The pool that has the limit: another one where the first waiter requests several."""
    by: str = ""
    """The other cohort of ``moved``; the token of ``quota`` whose lease ends first; the project,
    or ``project/domain``, of a cap; the token that units are reserved for; the pool in which
    others come first. Empty where nothing is to be named."""
    since_seconds: float | None = None
    """How long the waiter that is the first now has been the first; ``null`` where none waits."""
    demand: int = 0
    """The units of the pool that all waiters request."""


class PoolUse(Model):
    """The use of a pool in a cohort, as `PoolPage` lists it."""

    pool: str
    cohort: str
    declared: bool
    """Whether the settings have the pool in this cohort. Others are listed while they are used: an
    undeclared one, one that was deleted, one that moved away."""
    active: bool
    declared_quota: int | None
    """``null`` where neither the pool nor a default is declared in this cohort."""
    quota: int | None
    """The quota that is granted, which ``resourceMaxQuota`` of resmgr may cut."""
    held: int
    """The units that are held."""
    holding: int
    """The number of holders."""
    waiting: int
    """The number of waiters."""
    blocked: Blocked | None = None
    """``null`` where the pool grants what is requested."""


class PoolPage(Model):
    """Some pools of a cohort; the reply to `Pools`."""

    type: Literal["redis", "noop"]
    pools: tuple[PoolUse, ...]
    """At most ``limit``, by name. A page that is not the last may have fewer, or none."""
    next: str | None = None
    """The ``after`` of the next page; ``null`` on the last one."""
    quarantine_seconds: float = 0.0
    """How long nothing will be granted, because Redis lost its data."""
    cohorts: tuple[str, ...] = ()
    """On the first page, the cohorts in which resmgr may count tokens, also where no pool of the
    settings is in them any more."""


class Locate(_Request):
    """Find the cohort in which the tokens of a pool are counted. Any cohort's subject will do."""

    pool: PoolName


class Located(Model):
    """The reply to `Locate`."""

    pool: str
    cohort: str | None = None
    """``null`` where nothing of the pool was ever granted."""
    held: int = 0
    waiting: int = 0
    """The number of waiters in that cohort."""


class Recount(_Request):
    """Compare the sums of a pool with its leases. Reads all of the pool, in one step."""

    pool: PoolName


class Forced(Model):
    """A token or position that an admin released."""

    token: str
    pools: tuple[str, ...]
    actor: str
    why: str
    at_seconds: float
    """Seconds since 1970, by the clock of Redis."""
    held: bool
    """Whether it was a token; false for a position."""


class Recounted(Model):
    """The reply to `Recount`."""

    pool: str
    differences: tuple[str, ...]
    """A sentence for each difference; none in a correct pool."""
    forced: tuple[Forced, ...] = ()
    """The releases by admins in the whole cohort, the latest first, at most 1000."""
    omitted: Annotated[int, Field(exclude_if=lambda number: number == 0)] = 0
    """Differences and releases that did not fit into the reply; absent where all did."""


class Batch(_Request):
    """Send several requests, each of which is processed on its own."""

    allocate: tuple[Allocate, ...] = Field(default=(), max_length=500)
    renew: tuple[Renew, ...] = Field(default=(), max_length=500)
    release: tuple[Release, ...] = Field(default=(), max_length=500)


class Batched(Model):
    """The replies to a `Batch`, in the order of its requests."""

    allocate: tuple[Allocated, ...] = ()
    renew: tuple[Renewed, ...] = ()
    release: tuple[Released, ...] = ()


class TokenGranted(Model):
    """A hint that a waiter was granted its token. It claims the token by repeating its request."""

    token: str
    pools: tuple[str, ...]
    claim_seconds: float
    """How long the grant is kept without being claimed."""


class TokenLost(Model):
    """A hint that a token is no longer held."""

    token: str
    pools: tuple[str, ...]
    fence: int
    reason: str
