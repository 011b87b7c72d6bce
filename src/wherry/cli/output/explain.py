"""``wherry explain``: a container in plain sentences, for readers who are new to containers.

Each topic is a plain sentence that says what the thing is for, and then the facts.
"""

from __future__ import annotations

from wherry.docker.units import human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

__all__ = ["CAPABILITIES", "explain_text"]

WIDTH = 78
MANY = 3

_NAMESPACES = {
    "pid": "processes it sees",
    "mnt": "file systems it sees",
    "net": "network interfaces and addresses",
    "uts": "host name",
    "ipc": "shared memory and message queues",
    "user": "user and group numbers",
    "cgroup": "groups of processes it sees",
    "time": "clocks since boot",
}
_SAME_KIND = {"mount": "mnt", "network": "net"}

CAPABILITIES = {
    "CHOWN": "give files to another user",
    "DAC_OVERRIDE": "read and write any file",
    "FOWNER": "change any file's permissions",
    "FSETID": "keep set-id bits when it changes files",
    "KILL": "send signals to any of its processes",
    "SETGID": "become another group",
    "SETUID": "become another user",
    "SETPCAP": "pass powers on",
    "NET_BIND_SERVICE": "listen on ports below 1024",
    "NET_RAW": "send raw packets, as ping does",
    "SYS_CHROOT": "change its root directory",
    "MKNOD": "make device files",
    "AUDIT_WRITE": "write to the audit log",
    "SETFCAP": "give powers to files",
    "NET_ADMIN": "change the network",
    "SYS_ADMIN": "mount, and much else",
    "SYS_PTRACE": "look into other processes",
    "SYS_TIME": "set the clock",
    "SYS_MODULE": "load kernel modules",
    "SYS_BOOT": "restart the machine",
    "SYS_RAWIO": "reach hardware directly",
    "SYS_NICE": "raise priorities",
    "SYS_RESOURCE": "exceed limits",
    "DAC_READ_SEARCH": "read any file by its number",
    "LINUX_IMMUTABLE": "make files unchangeable",
    "NET_BROADCAST": "send to all machines of a network",
    "IPC_LOCK": "keep memory from being swapped out",
    "IPC_OWNER": "use anybody's shared memory",
    "SYS_PACCT": "switch the accounting of processes on",
    "SYS_TTY_CONFIG": "configure terminals",
    "LEASE": "be told when others open a file",
    "AUDIT_CONTROL": "configure the audit log",
    "AUDIT_READ": "read the audit log",
    "MAC_ADMIN": "change the machine's security policy",
    "MAC_OVERRIDE": "ignore the machine's security policy",
    "SYSLOG": "read the kernel's log",
    "WAKE_ALARM": "wake the machine",
    "BLOCK_SUSPEND": "keep the machine awake",
    "PERFMON": "measure what the whole machine does",
    "BPF": "load programs into the kernel",
    "CHECKPOINT_RESTORE": "save and restore processes",
}

_STATES = {
    "created": "was made and has not run yet",
    "exited": "has ended",
    "paused": "is paused: its processes are frozen",
    "restarting": "has ended, and will soon be started again",
    "removing": "is being removed",
}


def explain_text(found: dict[str, Any]) -> str:
    """The explanation as text.

    :param found: the response of ``GET /containers/{id}/explain``.
    """
    parts = [
        _headline(found),
        _exit(found.get("Exit") or {}, started=found.get("State") != "created"),
        _namespaces(found.get("Namespaces") or ()),
        _layers(found.get("Layers") or (), _without_mounts(found)),
        _mounts(found.get("Mounts") or ()),
        _network(found.get("Network") or {}),
        _limits(found.get("Limits") or ()),
        _powers(found.get("Capabilities") or {}),
        _seccomp(found),
    ]
    return "\n".join("\n".join(part) + "\n" for part in (list(lines) for lines in parts) if part)


def _without_mounts(found: dict[str, Any]) -> dict[str, Any]:
    """The files that the container wrote, without the empty files that are mount points."""
    mounted = {one["Destination"] for one in found.get("Mounts") or ()}
    writable = dict(found.get("Writable") or {})
    writable["CopiedUp"] = [one for one in writable.get("CopiedUp") or () if one["Path"] not in mounted]
    return writable if found.get("Writable") else {}


def _wrapped(text: str, indent: str = "") -> list[str]:
    import textwrap

    return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False)


def _columns(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Aligned columns, indented by two spaces."""
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))] if rows else []
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _headline(found: dict[str, Any]) -> Iterator[str]:
    name = str(found.get("Name", "")).removeprefix("/")
    state, pid = found.get("State", "unknown"), found.get("Pid")
    yield f"{name} ({found.get('Id', '')[:12]}) {_STATES.get(state, f'is {state}')}."
    if pid:
        yield from _wrapped(
            f"It is an ordinary process of this machine, number {pid}, that the kernel shows a world of its own. "
            "No second operating system runs, which is why it starts at once."
        )


def _namespaces(namespaces: Sequence[dict[str, Any]]) -> Iterator[str]:
    if not namespaces:
        return
    yield "WHAT IT SEES"
    yield from _wrapped("A namespace is a view of one part of the system. In its own it sees only what is its own.")
    rows = []
    for one in namespaces:
        kind = _SAME_KIND.get(one["Kind"], one["Kind"])
        shared = [("the host" if other == "host" else other) for other in one.get("SharedWith") or ()]
        whose = f"shared with {', '.join(shared)}" if shared else "its own"
        rows.append((_NAMESPACES.get(kind, kind), whose, f"{kind}:[{one['Inode']}]" if one.get("Inode") else kind))
    yield from _columns(rows)


def _layers(layers: Sequence[dict[str, Any]], writable: dict[str, Any]) -> Iterator[str]:
    if not layers and not writable:
        return
    yield "ITS FILES"
    yield from _wrapped(
        "They come from the layers of its image, lowest first. Layers are never changed, so all containers "
        "of an image share them. What it writes goes into a layer of its own on top."
    )
    rows = []
    for at, one in enumerate(layers, 1):
        others = one.get("SharedWith") or ()
        shared = f"shared with {_some(others)}" if others else "used by it alone"
        digest = str(one.get("ChainID") or one.get("DiffID") or "").removeprefix("sha256:")[:12]
        rows.append((f"layer {at}", digest, human_size(one.get("Size", 0) or 0), shared))
    if writable:
        files = writable.get("Files", 0)
        wrote = f"{files} file{'' if files == 1 else 's'} written so far"
        rows.append(("on top", "", human_size(writable.get("Bytes", 0) or 0), wrote))
    yield from _columns(rows)
    yield from _copied_up(writable.get("CopiedUp") or ())


def _some(names: Sequence[str], limit: int = 4) -> str:
    shown = ", ".join(name.removeprefix("/") for name in names[:limit])
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def _copied_up(files: Sequence[dict[str, Any]]) -> Iterator[str]:
    if not files:
        return
    yield from _wrapped(
        "A file of the image that is changed is copied to the top first, whole. This was copied:", indent="  "
    )
    yield from _columns([("", human_size(one.get("Bytes", 0) or 0), one["Path"]) for one in files])


def _mounts(mounts: Sequence[dict[str, Any]]) -> Iterator[str]:
    if not mounts:
        return
    yield "WHAT IS MOUNTED"
    yield from _wrapped("Directories that are not the image's: the kernel's own, in memory, or lent by the host.")
    reasons = [str(one.get("Why") or "") for one in mounts]
    alike = {why for why in reasons if why and reasons.count(why) > MANY}
    rows = [_mount(one) for one, why in zip(mounts, reasons, strict=True) if why not in alike]
    yield from _columns(rows)
    for why in sorted(alike):
        paths = [one["Destination"] for one, reason in zip(mounts, reasons, strict=True) if reason == why]
        yield from _wrapped(f"{why}: {', '.join(paths)}", indent="  ")


def _mount(one: dict[str, Any]) -> tuple[str, str, str, str]:
    options = one.get("Options") or ()
    words = options if isinstance(options, list | tuple) else str(options).split(",")
    mode = "read-only" if "ro" in words else "writable"
    source, kind = str(one.get("Source") or ""), str(one.get("Type") or "")
    return one["Destination"], source or kind, mode, str(one.get("Why") or "")


def _network(network: dict[str, Any]) -> Iterator[str]:
    if not network:
        return
    from wherry.cli.output.explain_network import network_sentences

    yield "WHOM IT TALKS TO"
    for sentence in network_sentences(network):
        yield from _wrapped(sentence)


def _limits(limits: Sequence[dict[str, Any]]) -> Iterator[str]:
    if not limits:
        return
    yield "WHAT IT MAY USE"
    yield from _wrapped("The kernel counts what all its processes together use, and stops them at the limit.")
    yield from _columns([_limit(one) for one in limits])


def _limit(one: dict[str, Any]) -> tuple[str, str, str, str]:
    unit = str(one.get("Unit") or "")
    limit, used = _amount(one.get("Limit"), unit), _amount(one.get("Used"), unit)
    spent = f"{used} {unit}" if unit and unit != "bytes" else used
    allowed = "" if one.get("Limited") is False else f"at most {limit}" if limit else "no limit"
    return str(one["Name"]), spent if used else "", allowed, str(one.get("Explanation") or "")


def _amount(value: object, unit: str) -> str:
    if value is None or value in ("", "max", -1):
        return ""
    if isinstance(value, int | float) and unit == "bytes":
        return human_size(value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _powers(capabilities: dict[str, Any]) -> Iterator[str]:
    kept = [name.removeprefix("CAP_") for name in capabilities.get("Kept") or ()]
    lost = [name.removeprefix("CAP_") for name in capabilities.get("Dropped") or ()]
    lost = [name for name in lost if name not in kept]
    if not kept and not lost:
        return
    yield "WHAT ITS ROOT MAY DO"
    yield from _wrapped(f"root's power is cut into pieces. Its root keeps {len(kept)} and lost {len(lost)}.")
    rows = [(name, CAPABILITIES.get(name, "")) for name in kept]
    yield from _columns(rows)
    if lost:
        yield from _wrapped(f"lost: {', '.join(lost)}", indent="  ")


def _seccomp(found: dict[str, Any]) -> Iterator[str]:
    seccomp = found.get("Seccomp") or {}
    if not seccomp and "NoNewPrivileges" not in found:
        return
    yield "WHAT IT MAY ASK OF THE KERNEL"
    mode = str(seccomp.get("Mode", "")).lower()
    if mode in ("", "disabled", "unconfined", "none", "0"):
        yield from _wrapped("Any system call: no filter is in force.")
    else:
        allowed = seccomp.get("Allowed")
        profile = seccomp.get("Profile") or "default"
        number = f"{allowed} of the kernel's system calls" if allowed else "only some of the kernel's system calls"
        yield from _wrapped(f"A filter (seccomp, profile {profile}) lets through {number}; the rest are refused.")
    if found.get("NoNewPrivileges"):
        yield from _wrapped("Programs such as su and sudo gain nothing (no new privileges).")
    elif "NoNewPrivileges" in found:
        yield from _wrapped("Programs with the set-user-ID bit, such as su, may make it another user inside.")


def _exit(ended: dict[str, Any], *, started: bool) -> Iterator[str]:
    if not ended:
        return
    yield "HOW IT ENDED" if started else "WHY IT DID NOT START"
    text = ended.get("Explanation") or ended.get("Reason") or ended.get("Error") or ""
    code = ended.get("ExitCode", ended.get("Code", ended.get("Status")))
    if text:
        yield from _wrapped(str(text))
    elif code is not None:
        yield from _wrapped(_why(int(code), out_of_memory=bool(ended.get("OOMKilled") or ended.get("Oom"))))


def _why(code: int, *, out_of_memory: bool) -> str:
    if out_of_memory:
        return f"It used more memory than it may, and the kernel killed it (exit code {code})."
    if code == 0:
        return "Its program was done (exit code 0)."
    if code > 128:
        import signal

        try:
            name = signal.Signals(code - 128).name
        except ValueError:
            name = f"signal {code - 128}"
        return f"It was ended by {name} (exit code {code})."
    meaning = {125: "it could not be started", 126: "its program cannot be executed", 127: "its program was not found"}
    return f"Its program ended with exit code {code}: {meaning.get(code, 'it reports a failure')}."
