"""A nightly workflow: extract rows, then train on them.

::

    trimtab register examples/nightly.py --project flyteexamples --domain development
    trimtab form nightly --project flyteexamples --domain development
    trimtab execute nightly --project flyteexamples --domain development
"""

from trimtab import LaunchPlan, Pool, Resources, runtime_override_config, task, workflow

warehouse = Pool("warehouse", quota=2)


@task(resources=Resources(cpu="200m", mem="64Mi"), environment={"LOG": "info"})
def extract(rows: int) -> list[int]:
    """Return numbers that look like data."""
    return [(row * 7919) % 104_729 for row in range(rows)]


@task(retries=1, pool=warehouse)
def train(data: list[int], epochs: int) -> dict[str, float]:
    """Fit a mean in several epochs."""
    mean = 0.0
    for epoch in range(epochs):
        mean += (sum(data) / len(data) - mean) / (1 + epoch / epochs)
    return {"rows": len(data), "mean": round(mean, 3)}


@workflow
def nightly(rows: int = 1000, epochs: int = 5):
    """Extract, then train; the hook ``trainer`` lets executions override the training."""
    data = extract(rows=rows)
    return train(data=data, epochs=epochs).with_runtime_override(
        "trainer", runtime_override_config(environment={"THREADS": "1"})
    )


@workflow
def weekly(rows: int = 7000):
    """Run the nightly workflow for a small and for a large model."""
    nightly(rows=rows, epochs=1)
    return nightly(rows=rows).with_runtime_override("trainer", runtime_override_config(retries=3))


LaunchPlan.get_or_create(
    workflow=nightly,
    name="nightly_large",
    inputs={"rows": 10_000},
    runtime_override={"trainer": runtime_override_config(cpu="1500m")},
)
