"""The index of records: what it finds equals a sort of all, and how many entries it looks at."""

from collections.abc import Iterator
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from trimtab.levels import PLATFORM, SETTINGS_FILE, Level, Scope
from trimtab_admin.storage import record_index
from trimtab_admin.storage.record_index import START, Entry, Key, RecordIndex, Search

# The prefix of one project is the name of another; "-" sorts before "/", and "0" after it.
NAMES = st.sampled_from(["a", "a-b", "a0", "b"])
PART = st.one_of(st.just(""), NAMES)
KIND = st.sampled_from(["execution_queue", "task_resource"])


@st.composite
def scopes(draw: st.DrawFn) -> Scope:
    domain, project = draw(PART), draw(PART)
    workflow = draw(PART) if domain and project else ""
    below = Scope(domain, project, workflow, draw(PART) if workflow else "")
    return draw(st.sampled_from([below, below, below, SETTINGS_FILE]))


RECORDS = st.lists(st.tuples(KIND, scopes()), max_size=40)
SEARCHES = st.builds(
    Search,
    kind=st.one_of(st.just(""), KIND),
    level=st.one_of(st.just(""), st.sampled_from([level.label for level in Level])),
    domain=PART,
    project=PART,
    workflow=PART,
    launch_plan=PART,
)


def found(index: RecordIndex, search: Search, most: int, after: Key = START) -> Iterator[Entry]:
    last: Key | None = after
    while last is not None:
        entries, last = index.find(search, last, most)
        yield from entries


def expected(records: list[tuple[str, Scope]], search: Search) -> list[Entry]:
    return sorted(
        Entry.of(kind, scope)
        for kind, scope in set(records)
        if search.kind in ("", kind)
        and search.level in ("", scope.level.label)
        and search.selects(scope)
    )


@given(RECORDS, RECORDS, SEARCHES, st.integers(1, 5), st.integers(0, 40))
def test_every_search_finds_what_a_look_at_all_records_finds_in_its_order(
    records: list[tuple[str, Scope]],
    dropped: list[tuple[str, Scope]],
    search: Search,
    most: int,
    first: int,
) -> None:
    index = RecordIndex()
    for kind, scope in (*records, *dropped, *records):
        index.put(kind, scope)
    for kind, scope in dropped:
        index.drop(kind, scope)
    kept = [record for record in records if record not in dropped]
    assert len(index) == len(set(kept))
    assert list(index) == expected(kept, Search())
    everything = expected(kept, search)
    assert list(found(index, search, most)) == everything
    key = everything[min(first, len(everything)) - 1].key if everything and first else START
    assert list(found(index, search, most, key)) == [e for e in everything if e.key > key]


def large() -> RecordIndex:
    """Return an index of more records than one list of entries has."""
    index = RecordIndex()
    index.put("task_resource", PLATFORM)
    for project in range(40):
        for workflow in range(100):
            index.put("task_resource", Scope("production", f"p{project:02}", f"w{workflow}"))
    index.put("task_resource", Scope("staging", "p20"))
    index.put("task_resource", Scope("staging", "p39", "rare"))
    assert len(index) > 2 * record_index._CHUNK
    return index


def test_a_slice_looks_at_no_more_entries_than_it_may() -> None:
    entries, last = large().find(Search(level="workflow"), START, 10)
    assert len(entries) == 10
    assert last == entries[-1].key


def test_a_filter_finds_few_records_among_many_in_one_slice() -> None:
    index = large()
    for search, count in (
        (Search(domain="staging"), 2),
        (Search(workflow="rare"), 1),
        (Search(project="p39", domain="staging"), 1),
        (Search(level="project-domain"), 1),
        (Search(project="p20", domain="staging"), 1),
        (Search(workflow="w7", project="p00"), 1),
        (Search(domain="nowhere"), 0),
        (Search(launch_plan="none"), 0),
        (Search(kind="execution_queue"), 0),
    ):
        entries, last = index.find(search, START, 10)
        assert (len(entries), last) == (count, None), search


def test_any_key_is_a_place_in_the_order() -> None:
    index = large()
    for key in (("", -1, ""), ("task_resource", 5, "workflow p38/production/w5"), ("z", 9, "z")):
        entries = list(found(index, Search(), 100, key))
        assert entries == [entry for entry in index if entry.key > key]


def test_copies_and_their_originals_change_on_their_own() -> None:
    random = Random(3)
    indexes: list[tuple[RecordIndex, set[tuple[str, Scope]]]] = [(RecordIndex(), set())]
    for number in range(400):
        index, live = random.choice(indexes)
        if number % 50 == 49:
            indexes.append((index.copy(), set(live)))
        kind, scope = random.choice("ab"), Scope("d", random.choice("pq"), random.choice("uvw"))
        if random.random() < 0.6:
            index.put(kind, scope)
            live.add((kind, scope))
        else:
            index.drop(kind, scope)
            live.discard((kind, scope))
    for index, live in indexes:
        for search in (Search(), Search(domain="d"), Search(workflow="u")):
            entries = index.find(search, START, 1000).entries
            assert {(entry.kind, entry.scope) for entry in entries} == {
                (kind, scope) for kind, scope in live if search.selects(scope)
            }
