"""RUN: a command in a container, with what is mounted there."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from wherry.build.dockerfile.instructions import Device, Heredoc, Run
from wherry.build.dockerfile.lines import heredoc_of, without_tabs
from wherry.build.dockerfile.mounts import Mount, MountType, run_mounts
from wherry.build.front.drafts import Draft, Source
from wherry.build.front.names import instruction_name, summary
from wherry.build.front.paths import absolute
from wherry.build.front.scope import Work
from wherry.build.model.graph import (
    NO_INPUT,
    NO_OUTPUT,
    Bind,
    BuildMount,
    Cache,
    CacheSharing,
    Chown,
    Edge,
    ExecOp,
    FileAction,
    FileOp,
    MakeDirectory,
    MakeFile,
    Metadata,
    NetworkMode,
    Owner,
    Secret,
    SecretEnv,
    SecurityMode,
    Ssh,
    Tmpfs,
)
from wherry.build.model.host_directories import sources
from wherry.errors import InvalidInput
from wherry.oci.platform import Platform

__all__ = ["run"]

_HEREDOCS = "/dev/pipes/"
_CACHE = "/cache"


@dataclass(slots=True)
class _Mounts:
    """What a step gets; the first mount is its root."""

    inputs: list[Draft | Edge] = field(default_factory=list)
    mounts: list[BuildMount] = field(default_factory=list)
    specials: list[BuildMount] = field(default_factory=list)
    secret_env: list[SecretEnv] = field(default_factory=list)
    agents: list[str] = field(default_factory=list)

    def input(self, source: Source) -> int:
        """The number of an input."""
        if source is None:
            return NO_INPUT
        for number, one in enumerate(self.inputs):
            if one is source or (isinstance(one, Edge) and one == source):
                return number
        self.inputs.append(source)
        return len(self.inputs) - 1

    def all(self) -> tuple[BuildMount, ...]:
        """In the order in which they are made: those above before those below them."""
        return (*sorted(self.mounts, key=lambda mount: mount.target), *self.specials)


def run(work: Work, instruction: Run) -> None:
    """Carry out a RUN."""
    work.stage.paths.add("/")  # it may look at any file
    mounts = _Mounts()
    mounts.mounts += [BuildMount("/", input=mounts.input(work.stage.root), output=0), *work.scope.options.volumes]
    args, suffix = _arguments(work, instruction, mounts)
    if instruction.command.shell:
        args = (*work.image.shell, " ".join(args))
    if not args:
        raise InvalidInput("arguments are required")
    _add_mounts(work, instruction, mounts)
    env = _env(work, mounts)
    if any("\0" in one for one in (*args, *env)):
        raise InvalidInput("a NUL character is in the command or in a variable")
    _count_options(work)
    op = ExecOp(
        args=args,
        mounts=mounts.all(),
        env=env,
        cwd=work.directory,
        user=work.image.user,
        hostname=work.stage.hostname,
        network=_network(work, instruction),
        security=_security(instruction),
        secret_env=tuple(mounts.secret_env),
        extra_hosts=work.scope.options.hosts,
        ulimits=work.scope.options.ulimits,
        cgroup_parent=work.scope.options.cgroup_parent,
        shm_size=work.scope.options.shm_size,
        proxy_env=work.scope.proxies,
        devices=tuple(map(_device, instruction.devices)),
    )
    name = _name(work, instruction, mounts, suffix)
    metadata = work.scope.metadata(name, instruction, ignore_cache=work.stage.ignore_cache)
    work.stage.root = Draft(op, tuple(mounts.inputs), platform=work.platform, metadata=metadata)
    work.history(f"RUN {_history(work, args)} # buildkit", layer=True)


def _count_options(work: Work) -> None:
    """The client's options are in each step, however long they are."""
    options, proxies = work.scope.options, work.scope.proxies
    characters = len(options.cgroup_parent) + len(work.stage.hostname) + sum(map(len, proxies))
    characters += sum(map(len, sources(options.volumes)))
    work.scope.budget.spend(characters, len(options.hosts) + len(options.ulimits) + len(options.volumes))


def _arguments(work: Work, instruction: Run, mounts: _Mounts) -> tuple[tuple[str, ...], str]:
    """The command, and what its name says about a heredoc."""
    command, heredocs = instruction.command, instruction.heredocs
    if not heredocs:
        return command.args, ""
    if len(command.args) != 1 or not command.shell:
        raise InvalidInput(f"parsing produced an invalid run command: [{' '.join(command.args)}]")
    if heredoc_of(command.args[0]) is None:
        return (_with_heredocs(command.args[0], heredocs),), ""
    only = heredocs[0]
    text = without_tabs(only.content) if only.chomp else only.content
    suffix = f" ({summary(only)})"
    if not text.startswith("#!"):
        return (text,), suffix
    return (_script(work, only.name, text, mounts),), suffix


def _with_heredocs(command: str, heredocs: Iterable[Heredoc]) -> str:
    """A command and its heredocs as the shell reads them."""
    return command + "".join(f"\n{heredoc.content}{heredoc.name}" for heredoc in heredocs)


def _script(work: Work, name: str, text: str, mounts: _Mounts) -> str:
    """A heredoc that says which program runs it is a file, mounted for the step; returns its path."""
    file = posixpath.basename(name) or "EOF"
    op = FileOp((FileAction(MakeFile(f"/{file}", 0o755, text.encode(errors="surrogateescape")), output=0),))
    draft = Draft(op, platform=work.platform, metadata=Metadata(name="[internal] preparing inline document"))
    mounts.mounts.append(BuildMount(_HEREDOCS, input=mounts.input(draft), readonly=True))
    return _HEREDOCS + file


def _env(work: Work, mounts: _Mounts) -> tuple[str, ...]:
    lines = work.environment.lines()
    if mounts.agents and "SSH_AUTH_SOCK" not in work.environment:
        return (*lines, f"SSH_AUTH_SOCK={mounts.agents[0]}")
    return lines


def _network(work: Work, instruction: Run) -> str:
    match instruction.network:
        case "default":
            return work.scope.options.network
        case "none":
            return NetworkMode.NONE
        case "host":
            return NetworkMode.HOST
    raise InvalidInput(f'unsupported network mode "{instruction.network}"')


def _security(instruction: Run) -> SecurityMode:
    try:
        return SecurityMode(instruction.security)
    except ValueError:
        raise InvalidInput(f'unsupported security mode "{instruction.security}"') from None


def _device(device: Device) -> str:
    """A device's name; one that may be absent ends in ``?``."""
    return device.name if device.required else f"{device.name}?"


def _name(work: Work, instruction: Run, mounts: _Mounts, suffix: str) -> str:
    env: Mapping[str, str] = work.environment
    if mounts.secret_env:
        env = {**env, **{secret.name: "****" for secret in mounts.secret_env}}
    text = instruction_name(instruction, work.scope.name_lexer, env, suffix=suffix)
    return work.title(text)


def _history(work: Work, args: Iterable[str]) -> str:
    """The command, behind the arguments that it was run with: ``|1 VERSION=3 /bin/sh -c make``."""
    given = [f"{name}={work.environment.get(name, value or '')}" for name, value in work.stage.arguments.items()]
    work.scope.budget.spend(0, len(given))
    return " ".join([*([f"|{len(given)}"] if given else ()), *given, *args])


# --- mounts ---------------------------------------------------------------------------------------


def _add_mounts(work: Work, instruction: Run, mounts: _Mounts) -> None:
    found = run_mounts(instruction, work.expand)
    for mount, source in zip(found, work.command.sources, strict=True):
        match mount.type:
            case MountType.SECRET:
                _add_secret(work, mount, mounts)
            case MountType.SSH:
                _add_agent(work, mount, mounts)
            case _:
                root: Source = None
                if source is not None:
                    if not source.done:
                        raise InvalidInput(
                            f'cannot mount from stage "{mount.from_}" to "{mount.target}", stage needs to be defined '
                            "before current command"
                        )
                    source.paths.add(absolute(mount.source))
                    root = source.root
                elif mount.type is MountType.BIND:
                    work.scope.context_paths.add(absolute(mount.source))
                    root = work.scope.context
                _add_directory(work, mount, root, mounts)


def _add_directory(work: Work, mount: Mount, root: Source, mounts: _Mounts) -> None:
    target = absolute(mount.target, work.directory)
    if target == "/":
        raise InvalidInput(f'invalid mount target "{mount.target or target}"')
    selector = absolute(mount.source)
    kind: Bind | Cache | Tmpfs = Bind()
    if mount.type is MountType.TMPFS:
        root, selector, kind = None, "/", Tmpfs(mount.size)
    elif mount.type is MountType.CACHE:
        kind = Cache(_cache_id(work, mount, target), CacheSharing(mount.sharing or CacheSharing.SHARED))
        if selector == "/" and (mount.uid, mount.gid, mount.mode) != (None, None, None):
            root, selector = _owned(mount, root, work.platform), _CACHE
    mounts.mounts.append(
        BuildMount(
            target,
            kind,
            input=mounts.input(root),
            selector="" if selector == "/" else selector,
            output=NO_OUTPUT,
            readonly=mount.readonly,
        )
    )


def _cache_id(work: Work, mount: Mount, target: str) -> str:
    identifier, namespace = mount.id or target, work.scope.options.cache_namespace
    work.scope.budget.spend(len(namespace))
    return f"{namespace}/{identifier}" if namespace else identifier


def _owned(mount: Mount, root: Source, platform: Platform) -> Source:
    """A directory as the first content of a cache, with the owner and mode that were asked for."""
    chown = Chown(Owner(mount.uid or 0), Owner(mount.gid or 0))
    mode = 0o755 if mount.mode is None else mount.mode
    inputs = () if root is None else (root,)
    action = FileAction(MakeDirectory(_CACHE, mode, chown=chown), input=0 if inputs else NO_INPUT, output=0)
    metadata = Metadata(name="[internal] setting cache mount permissions")
    return Draft(FileOp((action,)), inputs, platform=platform, metadata=metadata)


def _add_secret(work: Work, mount: Mount, mounts: _Mounts) -> None:
    identifier = mount.source or mount.id or posixpath.basename(mount.target)
    if not identifier:
        raise InvalidInput("one of source, target required")
    work.stage.outline.secrets.setdefault(identifier, (mount.required, work.command.instruction.ranges))
    if mount.env is not None:
        mounts.secret_env.append(SecretEnv(identifier, mount.env or identifier, optional=not mount.required))
        if not mount.target:
            return
    target = mount.target or f"/run/secrets/{posixpath.basename(identifier)}"
    secret = Secret(
        identifier,
        uid=mount.uid or 0,
        gid=mount.gid or 0,
        mode=0o400 if mount.mode is None else mount.mode,
        optional=not mount.required,
    )
    mounts.specials.append(BuildMount(absolute(target, work.directory), secret))


def _add_agent(work: Work, mount: Mount, mounts: _Mounts) -> None:
    if mount.source:
        raise InvalidInput("ssh does not support source")
    identifier = mount.id or "default"
    work.stage.outline.ssh.setdefault(identifier, (mount.required, work.command.instruction.ranges))
    target = absolute(mount.target or f"/run/buildkit/ssh_agent.{len(mounts.agents)}", work.directory)
    agent = Ssh(
        identifier,
        uid=mount.uid or 0,
        gid=mount.gid or 0,
        mode=0o600 if mount.mode is None else mount.mode,
        optional=not mount.required,
    )
    mounts.agents.append(target)
    mounts.specials.append(BuildMount(target, agent))
