"""The builder: a Dockerfile, or a graph that a client sends, becomes an image.

Parts that know each other through the frozen values of `wherry.build.model` only: the *front* (Dockerfile text to a
graph), the *graph* in BuildKit's vocabulary (LLB: source, exec, file, merge and diff operations), the *solver* (runs
what is needed, side by side, with the cache), the *exporters*.

What does not belong here: HTTP, gRPC and the Docker API (`wherry.api`), and how a container is started
(`wherry.engine`, which implements `model.executor`).
"""
