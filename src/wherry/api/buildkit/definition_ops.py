"""Operations of LLB as they go over the wire become ours: checked, and without side effects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from wherry.api.buildkit.proto import llb_pb2 as pb
from wherry.build.model.graph import (
    NO_INPUT,
    NO_OUTPUT,
    Bind,
    BuildMount,
    Cache,
    CacheSharing,
    Chown,
    Copy,
    DiffOp,
    ExecOp,
    FileAction,
    FileOp,
    HostEntry,
    MakeDirectory,
    MakeFile,
    MergeOp,
    NetworkMode,
    Op,
    Owner,
    Remove,
    Secret,
    SecretEnv,
    SecurityMode,
    SourceOp,
    Ssh,
    Symlink,
    Tmpfs,
    Ulimit,
)
from wherry.errors import InvalidInput, TooLarge, Unsupported
from wherry.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["MOST_INPUTS", "few", "mount_of", "name_of", "network_of", "op_of", "outputs_of", "platform_of"]

T = TypeVar("T")

MOST_INPUTS: Final = 10_000
MOST_PARTS: Final = 10_000  #: mounts, actions, arguments of one operation
_SHARINGS: Final = (CacheSharing.SHARED, CacheSharing.PRIVATE, CacheSharing.LOCKED)


def op_of(op: pb.Op) -> Op:
    """An operation.

    :raises InvalidInput: it makes no sense.
    :raises Unsupported: it is of a kind that is not carried out.
    """
    kind = op.WhichOneof("op")
    reader = _READERS.get(kind or "")
    if reader is None:
        raise Unsupported(f"unsupported operation in the definition: {kind or 'none'}")
    return reader(op, len(op.inputs))


def platform_of(op: pb.Op) -> Platform | None:
    """The platform that it is for."""
    if not op.HasField("platform"):
        return None
    return Platform(op.platform.OS, op.platform.Architecture, op.platform.Variant).normalised()


def outputs_of(op: Op) -> frozenset[int]:
    """The numbers of its outputs."""
    if isinstance(op, ExecOp):
        return frozenset(mount.output for mount in op.mounts if mount.output != NO_OUTPUT)
    if isinstance(op, FileOp):
        return frozenset(action.output for action in op.actions if action.output != NO_OUTPUT)
    return frozenset((0,))


def name_of(op: Op) -> str:
    """What people see where the client says nothing better."""
    if isinstance(op, SourceOp):
        return op.identifier
    if isinstance(op, ExecOp):
        return " ".join(op.args)[:500]
    if isinstance(op, FileOp):
        return ", ".join(_name_of_action(action) for action in op.actions[:5])[:500]
    return "merge" if isinstance(op, MergeOp) else "diff"


def _name_of_action(action: FileAction) -> str:
    what = action.action
    if isinstance(what, Copy):
        return f"copy {what.source} {what.destination}"
    if isinstance(what, MakeFile):
        return f"mkfile {what.path}"
    if isinstance(what, MakeDirectory):
        return f"mkdir {what.path}"
    return f"rm {what.path}" if isinstance(what, Remove) else f"symlink {what.path}"


# --- kinds ----------------------------------------------------------------------------------------


def _source(op: pb.Op, _inputs: int) -> Op:
    if not op.source.identifier:
        raise InvalidInput("invalid source operation: it has no identifier")
    return SourceOp(op.source.identifier, dict(op.source.attrs))


def _merge(op: pb.Op, inputs: int) -> Op:
    return MergeOp(tuple(_input(one.input, inputs) for one in few(op.merge.inputs)))


def _diff(op: pb.Op, inputs: int) -> Op:
    if not (op.diff.HasField("lower") and op.diff.HasField("upper")):
        raise InvalidInput("invalid diff operation: it needs a lower and an upper input")
    return DiffOp(_input(op.diff.lower.input, inputs), _input(op.diff.upper.input, inputs))


def _exec(op: pb.Op, inputs: int) -> Op:
    step, meta = op.exec, op.exec.meta
    mounts = tuple(mount_of(one, inputs) for one in few(step.mounts))
    if not meta.args:
        raise InvalidInput("invalid exec operation: it has no arguments")
    if not any(mount.target == "/" for mount in mounts):
        raise InvalidInput("invalid exec operation: it has no root file system")
    _once(mount.output for mount in mounts)
    return ExecOp(
        args=tuple(few(meta.args)),
        mounts=mounts,
        env=tuple(few(meta.env)),
        cwd=meta.cwd or "/",
        user=meta.user,
        hostname=meta.hostname,
        network=f"network:{step.network_name}" if step.network_name else network_of(step.network),
        security=SecurityMode.INSECURE if step.security == 1 else SecurityMode.SANDBOX,
        secret_env=tuple(SecretEnv(one.ID, one.name, one.optional) for one in few(step.secretenv)),
        extra_hosts=tuple(HostEntry(one.Host, one.IP) for one in few(meta.extraHosts)),
        ulimits=tuple(Ulimit(one.Name, one.Soft, one.Hard) for one in few(meta.ulimit)),
        cgroup_parent=meta.cgroupParent,
        shm_size=step.shm_size,
        proxy_env=tuple(_proxies(meta.proxy_env)) if meta.HasField("proxy_env") else (),
        devices=tuple(f"{one.name}?" if one.optional else one.name for one in few(step.cdiDevices)),
        valid_exit_codes=tuple(few(meta.validExitCodes)),
    )


def network_of(number: int) -> NetworkMode:
    """The network that a number means."""
    modes = (NetworkMode.DEFAULT, NetworkMode.HOST, NetworkMode.NONE)
    if not 0 <= number < len(modes):
        raise InvalidInput(f"invalid network mode {number}")
    return modes[number]


def _proxies(proxies: pb.ProxyEnv) -> Iterable[str]:
    for name in ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"):
        if value := getattr(proxies, name):
            yield f"{name.upper()}={value}"
            yield f"{name}={value}"


def mount_of(mount: pb.Mount, inputs: int) -> BuildMount:
    """A mount of what has so many inputs."""
    if not mount.dest:
        raise InvalidInput("invalid mount: it has no destination")
    return BuildMount(
        target=mount.dest,
        kind=_kind(mount),
        input=_input(mount.input, inputs),
        selector=mount.selector,
        output=_output(mount.output),
        readonly=mount.readonly,
        content_key=mount.contentCache != 2,
    )


def _kind(mount: pb.Mount) -> Bind | Cache | Tmpfs | Secret | Ssh:
    if mount.mountType == 0:
        return Bind()
    if mount.mountType == 1:
        secret = mount.secretOpt
        return Secret(secret.ID, secret.uid, secret.gid, secret.mode & 0o7777, secret.optional)
    if mount.mountType == 2:
        ssh = mount.SSHOpt
        return Ssh(ssh.ID, ssh.uid, ssh.gid, ssh.mode & 0o7777, ssh.optional)
    if mount.mountType == 3:
        sharing = mount.cacheOpt.sharing
        if not 0 <= sharing < len(_SHARINGS):
            raise InvalidInput(f"invalid sharing of a cache mount: {sharing}")
        return Cache(mount.cacheOpt.ID, _SHARINGS[sharing])
    if mount.mountType == 4:
        return Tmpfs(max(0, mount.TmpfsOpt.size))
    raise InvalidInput(f"invalid mount type {mount.mountType}")


# --- files ----------------------------------------------------------------------------------------


def _file(op: pb.Op, inputs: int) -> Op:
    actions = tuple(_action(one, inputs + number) for number, one in enumerate(few(op.file.actions)))
    if not actions:
        raise InvalidInput("invalid file operation: it has no actions")
    _once(action.output for action in actions)
    return FileOp(actions)


def _action(action: pb.FileAction, there: int) -> FileAction:
    """An action; `there` inputs and results are there before it."""
    kind = action.WhichOneof("action")
    if kind is None:
        raise InvalidInput("invalid file operation: an action of no kind")
    return FileAction(
        _ACTIONS[kind](action, there),
        _input(action.input, there),
        _input(action.secondaryInput, there),
        _output(action.output),
    )


def _copy(action: pb.FileAction, there: int) -> Copy:
    copy = action.copy
    return Copy(
        source=copy.src,
        destination=copy.dest,
        chown=_chown(copy, there),
        mode=copy.mode if copy.mode < 0 else copy.mode & 0o7777,
        mode_text=copy.modeStr,
        follow_symlink=copy.followSymlink,
        contents_only=copy.dirCopyContents,
        unpack_archive=copy.attemptUnpackDockerCompatibility,
        create_destination=copy.createDestPath,
        allow_wildcard=copy.allowWildcard,
        allow_empty_wildcard=copy.allowEmptyWildcard,
        timestamp=copy.timestamp,
        include=tuple(few(copy.include_patterns)),
        exclude=tuple(few(copy.exclude_patterns)),
        parents=copy.parents,
        always_replace=copy.alwaysReplaceExistingDestPaths,
    )


def _make_file(action: pb.FileAction, there: int) -> MakeFile:
    made = action.mkfile
    return MakeFile(made.path, made.mode & 0o7777, made.data, _chown(made, there), made.timestamp)


def _make_directory(action: pb.FileAction, there: int) -> MakeDirectory:
    made = action.mkdir
    return MakeDirectory(made.path, made.mode & 0o7777, made.makeParents, _chown(made, there), made.timestamp)


def _remove(action: pb.FileAction, _there: int) -> Remove:
    return Remove(action.rm.path, action.rm.allowNotFound, action.rm.allowWildcard)


def _symlink(action: pb.FileAction, there: int) -> Symlink:
    made = action.symlink
    return Symlink(made.newpath, made.oldpath, _chown(made, there), made.timestamp)


def _chown(
    made: pb.FileActionCopy | pb.FileActionMkFile | pb.FileActionMkDir | pb.FileActionSymlink, there: int
) -> Chown | None:
    if not made.HasField("owner"):
        return None
    owner = made.owner
    return Chown(
        _owner(owner.user, there) if owner.HasField("user") else None,
        _owner(owner.group, there) if owner.HasField("group") else None,
    )


def _owner(owner: pb.UserOpt, there: int) -> Owner | None:
    kind = owner.WhichOneof("user")
    if kind == "byID":
        return Owner(id=owner.byID)
    if kind == "byName":
        return Owner(name=owner.byName.name, input=_input(owner.byName.input, there))
    return None


# --- checks ---------------------------------------------------------------------------------------


def _input(number: int, there: int) -> int:
    if number < 0:
        return NO_INPUT
    if number >= there:
        raise InvalidInput(f"invalid LLB: there is no input {number}")
    return number


def _output(number: int) -> int:
    if number < 0:
        return NO_OUTPUT
    if number > MOST_PARTS:
        raise InvalidInput(f"invalid LLB: there can be no output {number}")
    return number


def _once(outputs: Iterable[int]) -> None:
    seen: set[int] = set()
    for number in outputs:
        if number != NO_OUTPUT and number in seen:
            raise InvalidInput(f"invalid LLB: output {number} is given twice")
        seen.add(number)


def few(parts: Iterable[T]) -> list[T]:
    """Parts of an operation, which are not too many.

    :raises TooLarge: they are.
    """
    found = list(parts)
    if len(found) > MOST_PARTS:
        raise TooLarge(f"an operation of the definition has too many parts: {len(found)}")
    return found


_READERS: Final[dict[str, Callable[[pb.Op, int], Op]]] = {
    "exec": _exec,
    "source": _source,
    "file": _file,
    "merge": _merge,
    "diff": _diff,
}
_ACTIONS: Final[dict[str, Callable[[pb.FileAction, int], Copy | MakeFile | MakeDirectory | Remove | Symlink]]] = {
    "copy": _copy,
    "mkfile": _make_file,
    "mkdir": _make_directory,
    "rm": _remove,
    "symlink": _symlink,
}
