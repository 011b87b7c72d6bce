"""``wherry build``: build an image from a Dockerfile."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, closing, suppress

from wherry.cli.build.agents import agents_of
from wherry.cli.build.calls import Calls
from wherry.cli.build.context import OUTSIDE, DirectoryContext, is_remote
from wherry.cli.build.display import display_of, write_explanations, write_failure
from wherry.cli.build.outputs import outputs_of
from wherry.cli.build.query import call_of, directories_of, layouts_of, query_of, secrets_of
from wherry.cli.build.shell import attend, shell_query
from wherry.cli.console import write_page, write_raw
from wherry.cli.exit import Exit
from wherry.cli.flags.kinds import BYTES, BYTES_OR_MINUS_ONE, ULIMIT
from wherry.cli.flags.parser import BOOL, INT, LIST, STRING, Command, Flag
from wherry.cli.output.archives import read_chunks
from wherry.cli.registry.credentials import all_header
from wherry.legible import line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from wherry.cli.build.caches import CacheDirectory
    from wherry.cli.build.display import QuietDisplay
    from wherry.cli.context import Context
    from wherry.cli.flags.parser import Options

__all__ = ["COMMAND", "run"]

_NOTHING_FOUND = "Check complete, no warnings found."

COMMAND = Command(
    "[OPTIONS] PATH | URL | -",
    "Build an image from a Dockerfile",
    (
        Flag("add-host", "", LIST, "Add a line to /etc/hosts of the steps (host:ip)"),
        Flag("allow", "", LIST, "Allow what is not allowed by default (network.host, security.insecure, device)"),
        Flag("attest", "", LIST, "Attestations for the result (type=sbom, type=provenance,mode=max)"),
        Flag("build-arg", "", LIST, "Set a variable of the Dockerfile's ARG"),
        Flag(
            "build-context",
            "",
            LIST,
            "Further contexts: directories, images, OCI layouts and addresses (name=path, name=docker-image://alpine)",
        ),
        Flag("cache-from", "", LIST, "Cache that may be used (name, type=registry,ref=name or type=local,src=path)"),
        Flag("cache-to", "", LIST, "Where cache goes (type=registry,ref=name, type=local,dest=path or type=inline)"),
        Flag("call", "", STRING, "What to do instead of building (check, outline, targets)"),
        Flag("cgroup-parent", "", STRING, "Set the parent cgroup of the steps"),
        Flag("check", "", BOOL, "Only check the Dockerfile"),
        Flag("compress", "", BOOL, "Accepted for compatibility; nothing is compressed on its way here", hidden=True),
        Flag("cpu-period", "", INT, "Limit the CPU CFS period"),
        Flag("cpu-quota", "", INT, "Limit the CPU CFS quota"),
        Flag("cpu-shares", "c", INT, "CPU shares (relative weight)"),
        Flag("cpuset-cpus", "", STRING, "CPUs in which to allow execution (0-3, 0,1)"),
        Flag("cpuset-mems", "", STRING, "MEMs in which to allow execution (0-3, 0,1)"),
        Flag("explain", "", BOOL, "Say of each step why it was run or taken from the cache, and what it took"),
        Flag("file", "f", STRING, "Path of the Dockerfile; - is standard input"),
        Flag("disable-content-trust", "", BOOL, "Skip image verification", True, hidden=True),
        Flag("force-rm", "", BOOL, "Accepted for compatibility; steps are always removed", hidden=True),
        Flag("iidfile", "", STRING, "Write the image's ID to a file"),
        Flag("label", "", LIST, "Set a label of the image"),
        Flag(
            "layers",
            "",
            STRING,
            "Layers of the image: all, stage (a single one upon the base's) or none (a single one)",
            "all",
        ),
        Flag("load", "", BOOL, "Put the result among the images, also where --output names another place"),
        Flag("memory", "m", BYTES, "Limit the memory of a step"),
        Flag("memory-swap", "", BYTES_OR_MINUS_ONE, "Limit memory and swap; -1 is without a limit"),
        Flag("metadata-file", "", STRING, "Write what is known of the result to a file, as JSON"),
        Flag("network", "", STRING, "Network of the steps: none, host or a network's name", "default"),
        Flag("no-cache", "", BOOL, "Use no cache"),
        Flag("no-cache-filter", "", LIST, "Use no cache for these stages"),
        Flag(
            "on-failure", "", STRING, "What a failed step is good for: fail, or shell (or shell=COMMAND) in it", "fail"
        ),
        Flag(
            "output",
            "o",
            LIST,
            "Where the result goes: a directory, - (tar), type=local|tar|oci|docker,dest=path, image",
        ),
        Flag("platform", "", LIST, "Platforms to build for (linux/arm64)"),
        Flag("progress", "", STRING, "How progress is shown: auto, plain, tty, quiet or rawjson", "auto"),
        Flag("provenance", "", STRING, "Attest how the image was built"),
        Flag("pull", "", BOOL, "Ask registries for newer base images"),
        Flag("push", "", BOOL, "Push the image to its registry"),
        Flag("quiet", "q", BOOL, "Print the image's ID only"),
        Flag("rm", "", BOOL, "Accepted for compatibility; steps are always removed", True, hidden=True),
        Flag("sbom", "", STRING, "Attest what is in the image"),
        Flag("secret", "", LIST, "Secrets for the steps (id=name,src=file or id=name,env=variable)"),
        Flag("shm-size", "", BYTES, "Size of /dev/shm of the steps"),
        Flag("squash", "", BOOL, "A single layer upon those of the base, as --layers=stage"),
        Flag("ssh", "", LIST, "SSH agents for the steps (default, or id=socket)"),
        Flag("tag", "t", LIST, "Name of the image (name:tag)"),
        Flag("target", "", STRING, "The stage to build"),
        Flag("ulimit", "", ULIMIT, "Limits of the steps' processes"),
        Flag("volume", "v", LIST, "Directories of the daemon's machine that the steps see (/host/path:/path[:ro])"),
    ),
    min_args=1,
    max_args=1,
    aliases="wherry build, wherry image build, wherry builder build\n\nBuilds of the past, and of now:\n"
    "  wherry build logs [BUILD], wherry build ls, wherry build inspect [BUILD...]",
)


def run(context: Context, options: Options, arguments: list[str]) -> int:
    """Build, and show how it goes."""
    with ExitStack() as stack:
        return _run(context, options, arguments, stack)


def _run(context: Context, options: Options, arguments: list[str], stack: ExitStack) -> int:
    shell = shell_query(options, arguments[0])
    outputs = outputs_of(options)
    for one in outputs:
        one.check()
    if options["iidfile"]:
        with suppress(FileNotFoundError):  # one that is left there would be taken for this build's
            os.remove(options["iidfile"])
    remote, dockerfile, body = _context(arguments[0], options["file"])
    directories, agents, layouts = directories_of(options), agents_of(options, stack), layouts_of(options)
    caches = _caches(options)
    query = {
        **query_of(
            options, remote, dockerfile, outputs,
            directories=directories, agents=agents, layouts=layouts, caches=caches,
        ),
        **shell,
    }  # fmt: skip
    headers = {**all_header(), **_secrets_header(secrets_of(options))}
    try:
        display = display_of(options["progress"], quiet=options["quiet"])
    except ValueError as error:
        raise Exit(1, str(error)) from error
    failure: dict[str, Any] | None = None
    build = context.client.builds.build(query, body, headers=headers)
    stores = {**layouts, **caches}
    with Calls(context.new_client, outputs, directories, agents, stores) as calls, display, closing(build) as messages:
        for message in messages:
            if message.get("error") or message.get("errorDetail"):
                failure = message  # the last one
            elif (aux := message.get("aux") or {}).get("type") == "shell":
                attend(context, display, aux)
            elif not calls.take(message):
                display.take(message)
    calls.check(failed=failure is not None)
    if options["explain"]:
        write_explanations(display.steps)
    if failure is not None:
        detail = failure.get("errorDetail") or {}
        message_text = str(failure.get("error") or detail.get("message", "unknown error"))
        excerpt = str(detail.get("excerpt", ""))
        if dockerfile.startswith(OUTSIDE):
            given = "Dockerfile" if options["file"] == "-" else options["file"]
            excerpt = excerpt.replace(dockerfile, given, 1)
        write_failure(display.steps, message_text, excerpt)
        return 1
    _name_caches(caches, display.steps.response)
    _write_result(display, options, is_free=all(one.destination != "-" for one in outputs))
    if form := call_of(options)[1]:
        return _write_answer(display.steps.answer, form)
    return 0


def _caches(options: Options) -> dict[str, CacheDirectory]:
    """Directories of this side that have cache."""
    if not any("local" in text for text in (*options["cache-from"], *options["cache-to"])):
        return {}
    from wherry.cli.build.caches import caches_of

    return caches_of(options)


def _name_caches(caches: dict[str, CacheDirectory], response: dict[str, str]) -> None:
    """Have the tags of what was stored mean it."""
    if not (text := response.get("cache.manifest", "")):
        return  # there is none, or it did not come and may fail
    from wherry.client.codec import decode

    for cache in caches.values():
        if cache.is_target:
            cache.name(decode(text.encode()))


def _secrets_header(secrets: dict[str, bytes]) -> dict[str, str]:
    """The secrets, as only the daemon gets them."""
    if not secrets:
        return {}
    from wherry.client.codec import encode

    values = {name: _base64(value) for name, value in secrets.items()}
    return {"X-Build-Secrets": _base64(encode(values))}


def _base64(value: bytes) -> str:
    import binascii

    return binascii.b2a_base64(value, newline=False).decode()


def _write_answer(answer: dict[str, str], form: str) -> int:
    """Print what the frontend answers; a check that found something ends with 1."""
    if form == "json":
        write_raw(f"{answer.get('result.json', '')}\n")
    else:
        text = answer.get("result.txt", "").rstrip("\n")
        write_page("".join(f"{line(one)}\n" for one in text.split("\n")) if text else f"{_NOTHING_FOUND}\n")
    return int(answer.get("result.statuscode", "0") == "1")


def _context(given: str, dockerfile: str) -> tuple[str, str, Iterator[bytes] | None]:
    """The context's address, the Dockerfile's name in it, and the body."""
    if given == "-":
        if dockerfile == "-":
            raise Exit(1, "invalid argument: can't use stdin for both build context and dockerfile")
        if sys.stdin.isatty():
            raise Exit(1, "a context on standard input is an archive or a Dockerfile, not a terminal")
        return "", dockerfile, read_chunks(open(0, "rb", closefd=False))
    if is_remote(given):
        return given, dockerfile, None
    directory = DirectoryContext(given, dockerfile)
    return "", directory.dockerfile, directory.archive()


def _write_result(display: QuietDisplay, options: Options, *, is_free: bool) -> None:
    """Say what was made; standard output may be the result's. Without an image the ID is empty, as in buildx."""
    identifier = display.steps.image
    if options["quiet"] and identifier and is_free:
        write_raw(f"{identifier}\n")
    if options["iidfile"]:
        _write_file(options["iidfile"], identifier.encode())
    if options["metadata-file"]:
        from wherry.client.codec import encode

        known = {name: _decoded(value) for name, value in display.steps.response.items()}
        _write_file(options["metadata-file"], encode({**known, "wherry.build.ref": display.steps.ref}) + b"\n")


def _decoded(value: str) -> object:
    """What an exporter says: objects are in base64, and become what they are."""
    import binascii

    from wherry.client.codec import decode

    with suppress(ValueError):  # binascii.Error, UnicodeDecodeError and what is no JSON as well
        found = decode(binascii.a2b_base64(value, strict_mode=True))
        if found and isinstance(found, dict):
            return found
    return value


def _write_file(path: str, content: bytes) -> None:
    with open(path, "wb") as file:
        file.write(content)
