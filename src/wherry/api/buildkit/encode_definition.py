"""Our graph becomes a definition: a result goes to the client so that it can hand it back as an input.

Bake's linked targets and Compose's ``additional_contexts: service:`` do that. `definition.decode` gives the same graph
again, with the same digests: what LLB has no word for is in fields of our own, which others keep as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from wherry.api.buildkit.proto import llb_pb2 as pb
from wherry.build.model.graph import (
    Bind,
    BuildMount,
    Cache,
    CacheSharing,
    Chown,
    Copy,
    DiffOp,
    Edge,
    ExecOp,
    FileAction,
    FileOp,
    MakeDirectory,
    MakeFile,
    MergeOp,
    NetworkMode,
    Owner,
    Remove,
    Secret,
    SecurityMode,
    SourceOp,
    Ssh,
    Symlink,
    Tmpfs,
    Vertex,
    topological,
)
from wherry.oci.digest import Digest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from google.protobuf.message import Message

    from wherry.build.model.graph import SourceRange

__all__ = ["encode", "encode_op", "put_ranges", "put_source"]

_NETWORKS: Final = {NetworkMode.DEFAULT: 0, NetworkMode.HOST: 1, NetworkMode.NONE: 2}
_SHARINGS: Final = {CacheSharing.SHARED: 0, CacheSharing.PRIVATE: 1, CacheSharing.LOCKED: 2}
_NETWORK_PREFIX: Final = "network:"
_OURS: Final = 20_000  #: fields with a greater number are our own


def encode(edge: Edge | None, sources: Mapping[str, bytes] | None = None) -> pb.Definition:
    """A definition of all that an edge needs; of an empty directory, an empty one.

    :param sources: the texts of files that vertices were written in.
    """
    definition = pb.Definition()
    if edge is None:
        return definition
    digests: dict[Digest, str] = {}
    indices: dict[str, int] = {}
    for vertex in topological([edge]):
        data = _op(vertex, digests).SerializeToString(deterministic=True)
        digest = str(Digest.from_bytes(data))
        digests[vertex.digest] = digest
        definition.ops.append(data)
        _put_metadata(definition, digest, vertex, indices, sources or {})
    end = pb.Op(inputs=[pb.Input(digest=digests[edge.vertex.digest], index=edge.output)])
    definition.ops.append(end.SerializeToString(deterministic=True))
    definition.metadata[str(Digest.from_bytes(definition.ops[-1]))].SetInParent()
    return definition


def encode_op(vertex: Vertex) -> pb.Op:
    """An operation alone, in BuildKit's words only; its inputs are called as in the progress of a build."""
    op = _op(vertex, {edge.vertex.digest: str(edge.vertex.digest) for edge in vertex.inputs})
    _drop_ours(op)
    return op


def _drop_ours(message: Message) -> None:
    """Remove fields that others do not know: JSON's readers refuse them."""
    for field, value in message.ListFields():
        if field.number > _OURS:
            message.ClearField(field.name)
        elif field.message_type is not None and not field.message_type.GetOptions().map_entry:
            for one in value if field.is_repeated else [value]:
                _drop_ours(one)


def put_source(definition_source: pb.Source, name: str, data: bytes) -> int:
    """Add a file's text; its number."""
    definition_source.infos.append(pb.SourceInfo(filename=name, data=data, language="Dockerfile"))
    return len(definition_source.infos) - 1


def put_ranges(where: Iterable[SourceRange]) -> list[pb.Range]:
    """Places in a file."""
    return [
        pb.Range(
            start=pb.Position(line=one.start_line, character=one.start_character),
            end=pb.Position(line=one.end_line, character=one.end_character),
        )
        for one in where
    ]


def _put_metadata(
    definition: pb.Definition, digest: str, vertex: Vertex, indices: dict[str, int], sources: Mapping[str, bytes]
) -> None:
    ours = vertex.metadata
    theirs = definition.metadata[digest]
    theirs.SetInParent()
    theirs.ignore_cache = ours.ignore_cache
    for key, value in ours.description.items():
        theirs.description[key] = value
    if ours.name:
        theirs.description["llb.customname"] = ours.name
    if ours.group is not None:
        theirs.progress_group.id, theirs.progress_group.name, theirs.progress_group.weak = ours.group
    if ours.file and ours.ranges and ours.file in sources:
        if ours.file not in indices:
            indices[ours.file] = put_source(definition.Source, ours.file, sources[ours.file])
        location = pb.Location(sourceIndex=indices[ours.file], ranges=put_ranges(ours.ranges))
        definition.Source.locations[digest].locations.append(location)


def _op(vertex: Vertex, digests: Mapping[Digest, str]) -> pb.Op:
    op = pb.Op(inputs=[pb.Input(digest=digests[one.vertex.digest], index=one.output) for one in vertex.inputs])
    if (platform := vertex.platform) is not None:
        op.platform.OS, op.platform.Architecture, op.platform.Variant = (
            platform.os,
            platform.architecture,
            platform.variant,
        )
    ours = vertex.op
    if isinstance(ours, SourceOp):
        op.source.CopyFrom(pb.SourceOp(identifier=ours.identifier, attrs=ours.attributes))
    elif isinstance(ours, ExecOp):
        op.exec.CopyFrom(_exec(ours))
    elif isinstance(ours, FileOp):
        op.file.CopyFrom(pb.FileOp(actions=[_action(one) for one in ours.actions]))
    elif isinstance(ours, MergeOp):
        op.merge.CopyFrom(pb.MergeOp(inputs=[pb.MergeInput(input=number) for number in ours.inputs]))
    else:
        _put_diff(op.diff, ours)
    return op


def _put_diff(diff: pb.DiffOp, ours: DiffOp) -> None:
    diff.lower.CopyFrom(pb.LowerDiffInput(input=ours.lower))
    diff.upper.CopyFrom(pb.UpperDiffInput(input=ours.upper))
    diff.lower.SetInParent()
    diff.upper.SetInParent()


# --- exec -----------------------------------------------------------------------------------------


def _exec(ours: ExecOp) -> pb.ExecOp:
    named = ours.network.removeprefix(_NETWORK_PREFIX) if ours.network.startswith(_NETWORK_PREFIX) else ""
    return pb.ExecOp(
        meta=_meta(ours),
        mounts=[_mount(one) for one in ours.mounts],
        network=0 if named else _NETWORKS[NetworkMode(ours.network)],
        network_name=named,
        security=1 if ours.security == SecurityMode.INSECURE else 0,
        secretenv=[pb.SecretEnv(ID=one.id, name=one.name, optional=one.optional) for one in ours.secret_env],
        cdiDevices=[pb.CDIDevice(name=name.rstrip("?"), optional=name.endswith("?")) for name in ours.devices],
        shm_size=ours.shm_size,
    )


def _meta(ours: ExecOp) -> pb.Meta:
    proxies = {}
    for assignment in ours.proxy_env:
        name, _, value = assignment.partition("=")
        if (name := name.lower()) in pb.ProxyEnv.DESCRIPTOR.fields_by_name:
            proxies[name] = value
    return pb.Meta(
        args=ours.args,
        env=ours.env,
        cwd=ours.cwd,
        user=ours.user,
        proxy_env=pb.ProxyEnv(**proxies) if proxies else None,
        extraHosts=[pb.HostIP(Host=one.host, IP=one.ip) for one in ours.extra_hosts],
        hostname=ours.hostname,
        ulimit=[pb.Ulimit(Name=one.name, Soft=one.soft, Hard=one.hard) for one in ours.ulimits],
        cgroupParent=ours.cgroup_parent,
        validExitCodes=ours.valid_exit_codes,
    )


def _mount(ours: BuildMount) -> pb.Mount:
    mount = pb.Mount(
        input=ours.input,
        selector=ours.selector,
        dest=ours.target,
        output=ours.output,
        readonly=ours.readonly,
        contentCache=0 if ours.content_key else 2,
    )
    kind = ours.kind
    if isinstance(kind, Secret):
        mount.mountType = 1
        mount.secretOpt.CopyFrom(
            pb.SecretOpt(ID=kind.id, uid=kind.uid, gid=kind.gid, mode=kind.mode, optional=kind.optional)
        )
    elif isinstance(kind, Ssh):
        mount.mountType = 2
        mount.SSHOpt.CopyFrom(pb.SSHOpt(ID=kind.id, uid=kind.uid, gid=kind.gid, mode=kind.mode, optional=kind.optional))
    elif isinstance(kind, Cache):
        mount.mountType = 3
        mount.cacheOpt.CopyFrom(pb.CacheOpt(ID=kind.id, sharing=_SHARINGS[kind.sharing]))
    elif isinstance(kind, Tmpfs):
        mount.mountType = 4
        mount.TmpfsOpt.CopyFrom(pb.TmpfsOpt(size=kind.size))
    else:
        assert isinstance(kind, Bind)
    return mount


# --- files ----------------------------------------------------------------------------------------


def _action(ours: FileAction) -> pb.FileAction:
    action = pb.FileAction(input=ours.input, secondaryInput=ours.secondary, output=ours.output)
    what = ours.action
    if isinstance(what, Copy):
        action.copy.CopyFrom(_copy(what))
    elif isinstance(what, MakeFile):
        made = pb.FileActionMkFile(path=what.path, mode=what.mode, data=what.data, timestamp=what.timestamp)
        action.mkfile.CopyFrom(made)
    elif isinstance(what, MakeDirectory):
        action.mkdir.CopyFrom(
            pb.FileActionMkDir(path=what.path, mode=what.mode, makeParents=what.parents, timestamp=what.timestamp)
        )
    elif isinstance(what, Remove):
        action.rm.CopyFrom(
            pb.FileActionRm(path=what.path, allowNotFound=what.allow_not_found, allowWildcard=what.allow_wildcard)
        )
        action.rm.SetInParent()
    else:
        assert isinstance(what, Symlink)
        action.symlink.CopyFrom(pb.FileActionSymlink(oldpath=what.target, newpath=what.path, timestamp=what.timestamp))
    if not isinstance(what, Remove) and what.chown is not None:
        getattr(action, action.WhichOneof("action") or "").owner.CopyFrom(_chown(what.chown))
    return action


def _copy(what: Copy) -> pb.FileActionCopy:
    return pb.FileActionCopy(
        src=what.source,
        dest=what.destination,
        mode=what.mode,
        followSymlink=what.follow_symlink,
        dirCopyContents=what.contents_only,
        attemptUnpackDockerCompatibility=what.unpack_archive,
        createDestPath=what.create_destination,
        allowWildcard=what.allow_wildcard,
        allowEmptyWildcard=what.allow_empty_wildcard,
        timestamp=what.timestamp,
        include_patterns=what.include,
        exclude_patterns=what.exclude,
        alwaysReplaceExistingDestPaths=what.always_replace,
        modeStr=what.mode_text,
        parents=what.parents,
    )


def _chown(ours: Chown) -> pb.ChownOpt:
    chown = pb.ChownOpt()
    if ours.user is not None:
        chown.user.CopyFrom(_owner(ours.user))
    if ours.group is not None:
        chown.group.CopyFrom(_owner(ours.group))
    return chown


def _owner(ours: Owner) -> pb.UserOpt:
    if ours.id is not None:
        return pb.UserOpt(byID=ours.id)
    return pb.UserOpt(byName=pb.NamedUserOpt(name=ours.name, input=ours.input))
