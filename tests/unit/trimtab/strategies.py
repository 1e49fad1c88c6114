"""Hypothesis strategies for scopes and targets that several test modules share."""

from hypothesis import strategies as st

from trimtab.levels import SETTINGS_FILE, Scope

# Few names, so that the scopes of one example often apply to the same target.
_domains = st.sampled_from(["development", "production"])
_projects = st.sampled_from(["alpha", "beta"])
_names = st.sampled_from(["train", "a.b-c"])

targets = st.builds(Scope, _domains, _projects, _names, st.sampled_from(["", "nightly"]))
scopes = st.one_of(
    st.just(SETTINGS_FILE),
    st.just(Scope()),
    st.builds(Scope, _domains),
    st.builds(lambda project: Scope(project=project), _projects),
    st.builds(Scope, _domains, _projects),
    targets,
)
