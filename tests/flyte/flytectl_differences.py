"""Where ``trimtab`` differs from flytectl on purpose.

The keys are the headings of docs/flyte-compatibility.md that describe the differences.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

ANY = ".*"


@dataclass(frozen=True)
class Difference:
    """Fields of some rows that may differ from the recorded ones, as patterns of whole texts."""

    rows: str
    """The rows, as text."""
    own: Mapping[str, str]
    """The text of ``trimtab`` by each field that may differ."""
    recorded: Mapping[str, str] = field(default_factory=dict)
    """The text of flytectl by field, where the rows alone are too many."""

    def covers(self, row: str, recorded: Mapping[str, str], own: Mapping[str, str]) -> bool:
        """Return whether the fields of ``own`` may differ in this row."""
        return (
            _match(self.rows, row)
            and all(_match(pattern, own[name]) for name, pattern in self.own.items())
            and all(_match(pattern, recorded[name]) for name, pattern in self.recorded.items())
        )


def _match(pattern: str, text: str) -> bool:
    return re.fullmatch(pattern, text, re.DOTALL) is not None


def _refused(rows: str, error: str) -> Difference:
    """Return the difference of rows that flytectl accepts and ``trimtab`` refuses."""
    return Difference(rows, {"stdout": "", "error": error, "exit": "2"}, {"exit": "0"})


_FETCHING = r"(update .*: could not fetch (attributes|project): )?"
_CHANGES = r"The following changes are to be applied\.\n.*"
_STORED = r'\{"project":"(shop|mall)",.*\}\n'

DIFFERENCES: Mapping[str, tuple[Difference, ...]] = {
    "Exit codes": (Difference(ANY, {"exit": "[2-7]"}, {"exit": "[12]"}),),
    "Connection": (
        Difference(
            ANY,
            {"error": _FETCHING + "no Trimtab (responds at|runs on) .*"},
            {"error": "Connection Info: .*|attribute not found|"},
        ),
        Difference(ANY, {"error": r"No such option '(-c|--admin\.maxRetries)'.*"}),
        Difference(
            "trap-config-environment .*",
            {"error": "project and domain are required parameters"},
            {"error": "attribute not found"},
        ),
        Difference("general 17: .*", {"error": "attribute not found"}),
    ),
    "Messages": (
        Difference(
            ANY,
            {"error": _FETCHING + r"(project|domain) '\w+' does not exist; .*"},
            {"error": r".*( not found|\[project \[\w+\] not found\]| is unrecognized by system)"},
        ),
        Difference(
            ANY,
            {"error": r"\w+\.yaml: .* is not valid; allowed: .*"},
            {"error": "error unmarshaling JSON: .*"},
        ),
        Difference(
            ANY,
            {"error": r"\w+\.yaml( is not YAML in|,) line .*"},
            {"error": "(error converting YAML to JSON: )?yaml: .*"},
        ),
        Difference(
            ANY,
            {"error": 'error unmarshaling JSON: .* unknown field "Environment"'},
            {"error": r".*\.isExecutionEnv_Environment"},
        ),
        Difference(ANY, {"error": "No such option .*"}, {"error": "unknown flag: .*"}),
        Difference(
            ANY,
            {"error": "Invalid value for '-o' / '--output': .*"},
            {"error": ".* does not belong to OutputFormat values|visualization is only .*"},
        ),
    ),
    "Commands and flags": (
        Difference(
            r".* (update \S+s|get nope|delete project) .*|.* get nope",
            {
                "stdout": "",
                "error": r"kind or object type '\S+' does not exist; there are: .*",
                "exit": "2",
            },
        ),
        Difference(
            ".* get workflow-execution-configs .*",
            {"stdout": "", "error": "attribute not found", "exit": "3"},
        ),
        Difference(
            ".* delete workflow-execution-configs .*",
            {"stdout": "Deleted matchable resources from .*"},
        ),
        Difference("general .*", {"stdout": "Usage: trimtab .*|trimtab .*"}),
        Difference(r"general \d+: (get)?", {"stdout": "", "exit": "2"}),
        _refused(
            r".* get \S+ -p shop -d development wf\.one wf\.two",
            r"Got unexpected extra argument \(wf\.two\)",
        ),
    ),
    "Output formats": (
        Difference(".* -o yaml", {"stdout": r"project: shop\n.*"}, {"stdout": _STORED}),
        Difference(
            ".* -o table", {"stdout": r"FIELD +VALUE +SCOPE +VERSION\n.*"}, {"stdout": _STORED}
        ),
        _refused(".* -o dot", "Invalid value for '-o' / '--output': 'dot' .*"),
    ),
    "Levels": (
        Difference(
            r".* get \S+ -p shop",
            {"stdout": _STORED, "error": "", "exit": "0"},
            {"error": "project and domain are required parameters"},
        ),
        Difference(
            r".* get \S+ (-p shop|-d development)",
            {"error": "attribute not found"},
            {"error": "project and domain are required parameters"},
        ),
        Difference(
            r".* get \S+",
            {"error": "project and domain are required parameters"},
            {"error": ".* WORKFLOW_EXECUTION_CONFIG.*"},
        ),
        Difference(
            r".* get \S+ --gen",
            {"error": "project and domain are required parameters"},
            {"error": ".* WORKFLOW_EXECUTION_CONFIG.*"},
        ),
        Difference(
            r".* update \S+ --attrFile x\.yaml",
            {"stdout": _CHANGES + r"Continue\? \[y/n\]: ", "error": "update aborted by user"},
            {"error": "project is required"},
        ),
    ),
    "Defaults of the platform": (
        Difference(
            ".* get workflow-execution-config -p shop",
            {"stdout": "", "error": "attribute not found", "exit": "3"},
            {"stdout": r".*25\}\n"},
        ),
        Difference(
            ".* get workflow-execution-config -p shop",
            {"stdout": r'\{"project":"shop","max_parallelism":25\}\n'},
            {"stdout": r".*25\}\n"},
        ),
        Difference(
            ".* get workflow-execution-config -p shop --gen",
            {"stdout": "Generating a sample .*"},
            {"stdout": r".*25\}\n"},
        ),
        Difference(
            "trap-wec-project-default 1: .*",
            {"stdout": _CHANGES},
            {"stdout": "No changes detected.*"},
        ),
        Difference("trap-wec-project-default 2: .*", {"stdout": _STORED, "error": "", "exit": "0"}),
    ),
    "Deletes": (
        _refused(r".*: delete \S+", "project and domain are required parameters"),
        Difference(
            ".*: delete .*",
            {"stdout": r"Deleted matchable resources from domain \w+\n"},
            {"stdout": r"Deleted matchable resources from  project and domain \w+\n"},
        ),
        Difference(
            "trap-delete-(without-arguments|project-level) .*: get .*",
            {"stdout": _STORED, "error": "", "exit": "0"},
            {"error": "attribute not found"},
        ),
        Difference(
            "trap-delete-(domain-only|file-without-project) .*: get .*",
            {"stdout": r'.*"cpu":"1\d*".*'},
            {"stdout": '.*"cpu":"5".*'},
        ),
        Difference(
            r".*: delete .* wf\.one --dryRun",
            {"stdout": r"skipping DeleteWorkflowAttributes request \(dryRun\)\n"},
        ),
    ),
    "Inherited values": (
        Difference(
            r"levels-.*: update \S+ --attrFile w\.yaml --force",
            {"stdout": _CHANGES},
            {"stdout": "No changes detected.*"},
        ),
    ),
    "Files without settings": (
        _refused(
            ANY, r"\w+\.yaml sets no field of \w+; to delete the stored record: trimtab delete \S+"
        ),
        Difference(
            "faults-.*: get .*",
            {"stdout": "", "error": "attribute not found", "exit": "3"},
            {"stdout": r'\{"project":"shop","domain":"development"\}\n'},
        ),
        Difference(
            "faults-.*: get .* --gen",
            {"stdout": "Generating a sample .*"},
            {"stdout": r'\{"project":"shop","domain":"development"\}\n'},
        ),
        Difference("trap-wec-project-default 4: .*", {"stdout": _STORED}),
        _refused(ANY, r"f\.yaml: workflow: null is not valid; .*"),
    ),
    "Values": (
        _refused(
            "files .*",
            r"f\.yaml: (defaults|tags|overrides|max_parallelism|execution_env).* is not valid; .*",
        ),
        Difference(
            "files .*",
            {"stdout": _CHANGES, "error": "", "exit": "0"},
            {"error": "error unmarshaling JSON: .*"},
        ),
        Difference(
            "files .*",
            {"stdout": r".*interruptible:\n\+        value: false\n.*"},
            {"stdout": r".*interruptible: \{\}.*"},
        ),
        _refused(
            "levels-cluster-resource-attribute .*", r"w2?\.yaml: level: 'workflow' is not valid; .*"
        ),
        Difference(r"levels-cluster-resource-attribute .* wf\.one", {"stdout": _STORED}),
        Difference(
            "levels-cluster-resource-attribute .*",
            {"files": r"wout\.yaml 0o600\n.*projectQuotaMemory: 5Ti.*"},
        ),
    ),
    "Plugin overrides": (
        Difference(".*: update plugin-override .*", {"stdout": _CHANGES}, {"stdout": _CHANGES}),
        Difference(
            ".*: update plugin-override .*",
            {"stdout": r"No changes detected\. Skipping the update\.\n"},
            {"stdout": _CHANGES},
        ),
    ),
    "Samples": (
        Difference(
            ANY,
            {"stdout": "Generating a sample .*", "error": "", "exit": "0"},
            {"error": "unknown flag: --gen"},
        ),
    ),
    "Archived projects": (
        Difference(
            ANY, {"error": "attribute not found"}, {"error": r".* project \[attic\] is not active"}
        ),
        Difference(
            ANY,
            {
                "stdout": _CHANGES,
                "error": "update .*: update failed: project 'attic' is archived, .*",
            },
            {"error": r".* project \[attic\] is not active"},
        ),
    ),
    "Projects": (
        Difference(".*: get projects?( shop| attic)?", {"stdout": r"NAME +STATE +DESCRIPTION\n.*"}),
        Difference(
            ".*: get project .*-o json|.*: get project -o json",
            {"stdout": r'\[\n  \{\n    "name": .*'},
        ),
        Difference(".*: get project .*-o yaml|.*: get project -o yaml", {"stdout": "- name: .*"}),
        Difference(
            ".*: get project nope", {"error": "project 'nope' does not exist; .*", "exit": "3"}
        ),
        Difference(
            ".*: get project --filter.*",
            {"stdout": "", "error": r"No such option '--filter\.\w+'.*", "exit": "2"},
        ),
        Difference(".*: create project .* --dryRun", {"stdout": r"\+ project neu\n.*"}),
        Difference(
            ANY,
            {"error": "project 'neu' already exists|name: 'Bad_Id' is not valid; .*"},
            {"error": ".*rpc error: code = (AlreadyExists|InvalidArgument) .*"},
        ),
        _refused(ANY, r"u\.yaml: bogus: 1 is not valid; .*"),
        Difference(".*: update project .*", {"stdout": _CHANGES + r"project neu updated\n"}),
        Difference(
            ".*: update project .*",
            {"stdout": "", "error": r"labels\.bad key\S* 'bad key' is not valid; .*"},
        ),
    ),
}
