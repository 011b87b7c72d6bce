"""Mounts: kinds, options, propagation, places that have to be made, and roots of many layers."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.needs import need
from support.runtime_harness import Box
from wherry.linux.mount import MNT_DETACH, MS, mount, umount2
from wherry.linux.process import CLONE, unshare
from wherry.oci.runtime_spec import Capabilities, Mount, Root
from wherry.runtime.steps import overlay, rootfs

pytestmark = need("root", "busybox", "overlay", "namespaces")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory of the host's with something in it."""
    directory = tmp_path / "source"
    (directory / "below").mkdir(parents=True)
    (directory / "file").write_text("from the host\n")
    return directory


@pytest.fixture
def nested(source: Path) -> Iterator[Path]:
    """The same with a tmpfs mounted below."""
    mount("tmpfs", source / "below", "tmpfs", 0, "size=1m")
    (source / "below" / "deep").write_text("deep\n")
    yield source
    umount2(source / "below", MNT_DETACH)


def bind(source: Path, destination: str, *options: str) -> Mount:
    return Mount(destination=destination, type="bind", source=str(source), options=options)


def test_a_directory_and_a_file_are_bound_and_their_places_made(box: Box, source: Path) -> None:
    mounts = (bind(source, "/data/here", "bind"), bind(source / "file", "/a/new/file", "bind"))
    result = box.run(
        "cat /data/here/file /a/new/file; echo back > /data/here/written; stat -c %F /a/new/file", mounts=mounts
    )
    assert result.lines == ["from the host", "from the host", "regular file"]
    assert (source / "written").read_text() == "back\n"


def test_a_missing_source_is_the_requests_fault(box: Box, tmp_path: Path) -> None:
    failure = box.run("true", mounts=(bind(tmp_path / "nothing", "/x", "bind"),)).failure
    assert failure is not None
    assert failure.text == f"bind source path does not exist: {tmp_path}/nothing"
    assert failure.kind == "invalid"


def test_nothing_but_a_procfs_can_be_bound_on_proc(box: Box, source: Path) -> None:
    failure = box.run("true", mounts=(bind(source, "/proc", "bind"),)).failure
    assert failure is not None
    assert failure.text == f"'{source}' cannot be mounted on /proc because it is not procfs"
    assert failure.kind == "invalid"
    assert box.run("test -d /proc/self && echo it is", mounts=(bind(Path("/proc"), "/proc", "rbind"),)).lines == [
        "it is"
    ]


def test_a_file_cannot_be_bound_on_a_directory(box: Box, source: Path) -> None:
    failure = box.run("true", mounts=(bind(source / "file", "/etc", "bind"),)).failure
    assert failure is not None
    assert failure.kind == "invalid"
    assert "is a directory" in failure.text


def flags_of(result_line: str) -> set[str]:
    """The options in a line of /proc/self/mountinfo."""
    return set(result_line.split()[5].split(","))


@pytest.mark.parametrize(
    ("options", "present", "absent"),
    [
        ((), set(), {"ro", "nosuid", "nodev", "noexec"}),
        (("ro",), {"ro"}, {"rw"}),
        (("nosuid", "nodev", "noexec"), {"nosuid", "nodev", "noexec", "rw"}, {"ro"}),
        (("ro", "rw"), {"rw"}, {"ro"}),
        (("noatime",), {"noatime"}, {"relatime"}),
        (("strictatime",), set(), {"relatime", "noatime"}),
        (("nodiratime",), {"nodiratime"}, set()),
        (("nosymfollow",), {"nosymfollow"}, set()),
    ],
)
def test_options_of_a_bind(
    box: Box, source: Path, options: tuple[str, ...], present: set[str], absent: set[str]
) -> None:
    result = box.run("grep ' /data ' /proc/self/mountinfo", mounts=(bind(source, "/data", "bind", *options),))
    found = flags_of(result.lines[0])
    assert present <= found
    assert not absent & found


def test_a_recursive_bind_takes_what_is_mounted_below(box: Box, nested: Path) -> None:
    mounts = (bind(nested, "/all", "rbind"), bind(nested, "/top", "bind"))
    assert box.run("ls /all/below; ls /top/below", mounts=mounts).lines == ["deep"]


def test_read_only_of_the_top_and_recursively(box: Box, nested: Path) -> None:
    mounts = (bind(nested, "/top", "rbind", "ro"), bind(nested, "/all", "rbind", "rro"))
    result = box.run(
        "for d in /top /top/below /all /all/below; do touch $d/x 2>/dev/null && echo $d; done", mounts=mounts
    )
    assert result.lines == ["/top/below"]


def test_recursive_attributes_can_be_taken_back_below(box: Box, nested: Path) -> None:
    mounts = (bind(nested, "/data", "rbind", "rnoexec", "rnosuid"),)
    result = box.run("grep /data /proc/self/mountinfo", mounts=mounts)
    assert all({"noexec", "nosuid"} <= flags_of(line) for line in result.lines)
    assert len(result.lines) == 2


@pytest.mark.parametrize(
    ("propagation", "expected"),
    [("rprivate", "-"), ("rslave", "master"), ("rshared", "shared"), ("unbindable", "unbindable")],
)
def test_propagation_of_a_bind(box: Box, tmp_path: Path, propagation: str, expected: str) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    mount("tmpfs", shared, "tmpfs")
    mount(None, shared, None, MS.SHARED)
    try:
        result = box.run(
            "grep ' /data ' /proc/self/mountinfo | cut -d' ' -f 7",
            mounts=(bind(shared, "/data", "rbind", propagation),),
        )
    finally:
        umount2(shared, MNT_DETACH)
    assert result.out.startswith(expected)


def test_a_mount_of_a_shared_bind_reaches_the_host(box: Box, tmp_path: Path) -> None:
    held = ("CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE")
    admin = Capabilities(bounding=held, effective=held, permitted=held)
    shared = tmp_path / "shared"
    shared.mkdir()
    mount("tmpfs", shared, "tmpfs")
    mount(None, shared, None, MS.SHARED)
    (shared / "inner").mkdir()
    try:
        box.run(
            "mount -t tmpfs x /data/inner && touch /data/inner/seen",
            mounts=(bind(shared, "/data", "rbind", "rshared"),),
            process={"capabilities": admin},
            linux={"rootfs_propagation": "shared"},
        )
        assert (shared / "inner/seen").exists()
        umount2(shared / "inner", MNT_DETACH)
    finally:
        umount2(shared, MNT_DETACH)


def test_a_tmpfs_with_its_options(box: Box) -> None:
    mounts = (
        Mount(
            destination="/t", type="tmpfs", source="tmpfs", options=("size=1m", "mode=1700", "uid=5", "gid=6", "noexec")
        ),
    )
    result = box.run(
        "stat -c '%a %u %g' /t; df -k /t | tail -1 | awk '{print $2}'; grep ' /t ' /proc/self/mountinfo", mounts=mounts
    )
    assert result.lines[:2] == ["1700 5 6", "1024"]
    assert "noexec" in flags_of(result.lines[2])


def test_a_tmpfs_takes_over_the_mode_of_the_images_directory(box: Box) -> None:
    (box.layer / "var").mkdir(mode=0o750)
    mounts = (Mount(destination="/var", type="tmpfs"), Mount(destination="/fresh", type="tmpfs"))
    assert box.run("stat -c %a /var /fresh", mounts=mounts).lines == ["750", "1777"]


def test_a_tmpfs_can_begin_with_the_images_content(box: Box) -> None:
    box.write("data/sub/file", "text\n", 0o640)
    (box.layer / "data/link").symlink_to("/etc/passwd")
    os.chown(box.layer / "data/sub/file", 3, 4)
    os.utime(box.layer / "data/sub/file", ns=(0, 10**18))
    mounts = (Mount(destination="/data", type="tmpfs", options=("tmpcopyup",)),)
    result = box.run(
        "cat /data/sub/file; stat -c '%a %u:%g %Y' /data/sub/file; readlink /data/link; "
        "grep -c ' /data .*tmpfs' /proc/self/mountinfo; echo x > /data/new",
        mounts=mounts,
    )
    assert result.lines == ["text", "640 3:4 1000000000", "/etc/passwd", "1"]
    assert not (box.upper / "data").exists()


def test_an_unknown_option_of_a_file_system_names_the_option(box: Box) -> None:
    failure = box.run("true", mounts=(Mount(destination="/t", type="tmpfs", options=("colour=blue",)),)).failure
    assert failure is not None
    assert "colour" in failure.text
    assert failure.step == "mount tmpfs on /t"


def test_an_unknown_file_system_is_explained(box: Box) -> None:
    failure = box.run("true", mounts=(Mount(destination="/t", type="nosuchfs"),)).failure
    assert failure is not None
    assert (failure.call, failure.step) == ("fsopen", "mount nosuchfs on /t")


def test_a_dangling_link_in_the_image_is_followed_inside_the_root(box: Box, source: Path) -> None:
    (box.layer / "etc/resolv.conf").symlink_to("../run/resolve/stub.conf")
    result = box.run(
        "cat /etc/resolv.conf; readlink /etc/resolv.conf; ls /run/resolve",
        mounts=(bind(source / "file", "/etc/resolv.conf", "bind"),),
    )
    assert result.lines == ["from the host", "../run/resolve/stub.conf", "stub.conf"]


def test_an_endless_link_is_refused(box: Box, source: Path) -> None:
    (box.layer / "loop").symlink_to("loop")
    failure = box.run("true", mounts=(bind(source, "/loop/x", "bind"),)).failure
    assert failure is not None
    assert "loop" in failure.text


@pytest.mark.parametrize("name", ["proc", "sys"])
def test_proc_and_sys_must_be_ordinary_directories(box: Box, name: str) -> None:
    (box.layer / "elsewhere").mkdir()
    (box.layer / name).symlink_to("elsewhere")
    failure = box.run("true").failure
    assert failure is not None
    assert failure.kind == "invalid"
    assert "must be an ordinary directory" in failure.text


def test_a_dev_that_is_a_link_stays_in_the_root(box: Box) -> None:
    (box.layer / "dev").symlink_to("../../../../../tmp")
    before = set(os.listdir("/tmp"))
    result = box.run("test -c /tmp/null && test -c /dev/null && echo inside")
    assert result.out == "inside\n"
    assert "null" not in set(os.listdir("/tmp")) - before


def layers(box: Box, number: int, length: int = 0) -> list[str]:
    """Layers that hold one file each; the uppermost first."""
    base = box.directory / ("l" * length or "layers")
    found = []
    for index in range(number):
        directory = base / str(index)
        directory.mkdir(parents=True)
        (directory / f"file{index}").touch()
        found.append(str(directory))
    return found


def root_of(box: Box, lower: list[str]) -> Mount:
    options = (
        *(f"lowerdir+={one}" for one in [*lower, str(box.layer)]),
        f"upperdir={box.upper}",
        f"workdir={box.work}",
    )
    return Mount(destination="/", type="overlay", options=options)


def test_a_root_of_many_layers(box: Box) -> None:
    lower = layers(box, 200, length=100)
    assert box.run("ls / | grep -c ^file", root=root_of(box, lower)).out == "200\n"


def test_an_overlay_can_be_read_only_and_without_an_upper_layer(box: Box) -> None:
    options = (f"lowerdir={box.layer}:{layers(box, 1)[0]}",)
    result = box.run("ls /file0; touch /x", root=Mount(destination="/", type="overlay", options=options), mounts=())
    # /proc and the like cannot be made in a root that nothing can be written to
    assert result.failure is not None or "Read-only" in result.err


def test_names_with_special_characters_are_layers_too(box: Box) -> None:
    odd = box.directory / "a,b:c\\d e"
    (odd / "upper").mkdir(parents=True)
    (odd / "work").mkdir()
    lower = odd / "lower"
    lower.mkdir()
    (lower / "odd").write_text("found\n")
    options = (f"lowerdir+={lower}", f"lowerdir+={box.layer}", f"upperdir={odd}/upper", f"workdir={odd}/work")
    result = box.run("cat /odd; echo x > /written", root=Mount(destination="/", type="overlay", options=options))
    assert result.out == "found\n"
    assert (odd / "upper/written").exists()


def test_the_way_of_older_kernels_gives_the_same(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without ``lowerdir+``, mount(2) is used, with names relative to the layers' directory."""
    monkeypatch.setattr(overlay, "has_overlay_lowerdir_append", lambda: False)
    odd = box.directory / "a,b:c\\d e"
    (odd / "upper").mkdir(parents=True)
    (odd / "work").mkdir()
    lower = [*layers(box, 120), str(box.layer)]
    options = (*(f"lowerdir+={one}" for one in lower), f"upperdir={odd}/upper", f"workdir={odd}/work")
    result = box.run(
        "ls / | grep -c ^file; echo x > /written", root=Mount(destination="/", type="overlay", options=options)
    )
    assert result.out == "120\n", result
    assert (odd / "upper/written").exists()


def test_too_many_layers_for_an_older_kernel_are_told(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlay, "has_overlay_lowerdir_append", lambda: False)
    failure = box.run("true", root=root_of(box, layers(box, 60, length=100) + layers(box, 1500))).failure
    assert failure is not None
    assert "too many layers for this kernel" in failure.text


@pytest.mark.parametrize("old_kernel", [False, True])
def test_parts_of_the_tree_can_be_overlays_too(box: Box, monkeypatch: pytest.MonkeyPatch, old_kernel: bool) -> None:
    if old_kernel:
        monkeypatch.setattr(overlay, "has_overlay_lowerdir_append", lambda: False)
    lower, upper, work = (box.directory / name for name in ("usr-lower", "usr-upper", "usr-work"))
    for path in (lower, upper, work):
        path.mkdir()
    (lower / "tool").write_text("tool\n")
    usr = Mount(
        destination="/usr", type="overlay", options=(f"lowerdir={lower}", f"upperdir={upper}", f"workdir={work}")
    )
    result = box.run("cat /usr/tool; echo x > /usr/mine", mounts=(usr,))
    assert result.out == "tool\n"
    assert (upper / "mine").exists()
    assert not (box.upper / "usr/mine").exists()


def test_a_broken_overlay_says_what_the_kernel_said(box: Box) -> None:
    options = (f"lowerdir+={box.layer}", "upperdir=/proc/nothing", "workdir=/proc/nothing")
    failure = box.run("true", root=Mount(destination="/", type="overlay", options=options)).failure
    assert failure is not None
    assert failure.step.startswith("mount an overlay of 1 layers on /")
    assert failure.kind == "system"


def test_a_read_only_root_still_gets_its_mount_points(box: Box, source: Path) -> None:
    result = box.run(
        "cat /new/place/file; touch /x",
        mounts=(bind(source, "/new/place", "bind"),),
        spec={"root": Root(path=str(box.rootfs), readonly=True)},
    )
    assert result.out == "from the host\n"
    assert "Read-only" in result.err


def test_nothing_is_mounted_on_the_host_while_a_container_runs(box: Box) -> None:
    with box.running("sleep 100"):
        assert str(box.rootfs.parent) not in Path("/proc/self/mountinfo").read_text()


def test_a_root_works_where_the_hosts_root_cannot_be_pivoted(box: Box) -> None:
    """As on a machine that runs from its initramfs: emulated by a root that has no mount below it."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            unshare(CLONE.NEWNS)
            mount(None, "/", None, MS.PRIVATE | MS.REC)
            rootfs._put_a_mount_below_the_root()
            assert stat.S_ISDIR(os.stat(box.layer).st_mode)
            status = box.run("echo covered; exit 5").status
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5
