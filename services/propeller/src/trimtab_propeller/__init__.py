"""The propeller service: it claims executions, resolves what they run with, and runs their nodes.

The way of an execution through the modules:

* `ownership` claims a requested execution, or one whose owner is silent (`claims`).
* `driver` admits it (`resolution`, `limits`), runs the attempts that its graph allows (`plan`) and
  ends it.
* `attempts` takes one attempt of a node from its slot (`slots`) and token (`tokens`) to its
  outcome; `plan` decides whether the node is tried again.
* `executors` runs the attempts: a port, and its implementation with processes.
* `execution_log` stores each of these steps; it is the only state of an execution.

Pure are `claims`, `limits`, `plan`, `resolution` and `executors.port`: no I/O, clock or ``await``.
"""
