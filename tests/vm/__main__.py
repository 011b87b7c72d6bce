"""Run tests in the virtual machine: ``python -m tests.vm [--keep] [PYTEST ARGUMENTS]``."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
import threading
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

from tests import machine
from tests.vm import image, kernel

MARK, ALONE = "mark.vm", "mark.alone"
NETWORKS = "tests/kernel/network/"
LEFT_OUT = (
    "tests/attack/test_build_steps.py::test_a_flood_of_output_is_all_there_and_costs_no_memory",
    "tests/attack/test_build_steps.py::test_directories_deeper_than_any_path_can_be_removed",
    "tests/attack/test_mounts.py::test_a_full_disk_leaves_the_hosts_file_as_it_was",
    "tests/attack/test_mounts.py::test_no_container_fills_the_exec_root",
    "tests/attack/test_mounts.py::test_who_fills_its_hosts_file_fills_its_own_disk_and_nothing_else",
    "tests/kernel/build/exporters/test_outputs.py",
    "tests/kernel/build/test_attended_steps.py",
    "tests/kernel/build/test_copies_left.py",
    "tests/kernel/build/test_copies_of_contexts.py",
    "tests/kernel/build/test_kill.py",
    "tests/kernel/images/test_full_disk.py",
    "tests/kernel/images/test_kill.py",
    "tests/kernel/images/test_machine.py",
    "tests/kernel/images/test_repair.py",
    "tests/kernel/keeper/test_machine.py::test_a_container_that_must_not_block_goes_on_and_the_log_says_what_is_missing",
    "tests/kernel/keeper/test_machine.py::test_a_container_waits_while_the_disk_is_full_and_nothing_is_lost",
    "tests/kernel/keeper/test_machine.py::test_a_full_disk_delays_the_report_of_an_exit_until_there_is_room",
    "tests/kernel/layers/test_overlay_view.py::test_a_layer_has_directories_as_deep_as_a_path_is_long",
    "tests/kernel/layers/test_overlay_view.py::test_directories_that_are_deeper_than_the_longest_path_are_seen_to_their_bottom",
    "tests/kernel/layers/test_overlay_view.py::test_more_changes_than_fit_into_a_list_are_not_listed",
    "tests/kernel/layers/test_unpack.py::test_directories_are_as_deep_as_a_name_is_long",
    "tests/kernel/layers/test_unpack.py::test_longer_names_than_any_entry_has_are_not_made_through_links_either",
    "tests/kernel/layers/test_unpack.py::test_ten_thousand_entries_are_unpacked_quickly",
    "tests/kernel/network/test_core.py::test_a_network_with_many_members_is_no_slower_than_one_with_few",
    "tests/kernel/network/test_core.py::test_many_who_ask_at_once_get_different_addresses_and_ports",
    "tests/kernel/network/test_firewall.py::test_two_thousand_ports_are_published_and_withdrawn_at_once",
    "tests/kernel/network/test_forwarding.py::test_a_bridge_that_was_there_stays_as_it_was",
    "tests/kernel/network/test_forwarding.py::test_a_daemon_that_may_not_switch_forwarding_on_leaves_it",
    "tests/kernel/network/test_forwarding.py::test_a_family_is_closed_when_it_was_off_whatever_the_other_was",
    "tests/kernel/network/test_forwarding.py::test_a_host_that_was_a_router_stays_one",
    "tests/kernel/network/test_forwarding.py::test_forwarding_stays_on_for_another_engine_and_closed_for_others",
    "tests/kernel/network/test_forwarding.py::test_the_first_network_that_needs_it_has_forwarding_switched_on",
    "tests/kernel/network/test_forwarding.py::test_what_another_boot_or_namespace_was_told_is_forgotten",
    "tests/kernel/network/test_forwarding.py::test_what_was_off_is_remembered_by_the_next_daemon",
    "tests/kernel/network/test_forwarding.py::test_whenever_it_is_killed_nobody_passes_and_the_next_daemon_puts_all_back",
    "tests/kernel/network/test_forwarding.py::test_who_wants_a_router_says_so",
    "tests/kernel/network/test_gateway_modes.py::test_all_that_stays_is_as_it_was_after_a_restart",
    "tests/kernel/network/test_gateway_modes.py::test_by_a_trusted_interface_published_ports_are_reached_straight",
    "tests/kernel/network/test_gateway_modes.py::test_the_bridge_has_no_ipv4_address_if_that_is_inhibited",
    "tests/kernel/network/test_gateway_modes.py::test_the_hosts_address_is_chosen_for_what_leaves",
    "tests/kernel/runtime/test_mounts.py::test_a_root_of_many_layers",
    "tests/kernel/volumes/test_tree_copies.py::test_a_full_disk_is_told",
)
"""Tests that run on this machine's kernel only. What cgroup v2 decides stays, and what an older kernel may do
differently: system calls and their errors, mounts, namespaces, the rules of the firewall and who passes them. Left out
are bounds on time that software emulation cannot keep; minutes of work that no kernel does differently (thousands of
directories and names, damaged images, full disks, copies of files, daemons killed at each step); what the daemon
remembers and decides by itself (which switch of forwarding it found on, who got which address); lists of layers longer
than a page, which need Linux 6.5."""


def main() -> int:
    """Boot, run, report; gives the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.vm", description=__doc__)
    parser.add_argument(
        "--python", type=Path, default=machine.ROOT / ".venv/bin/python", help="interpreter to take along"
    )
    parser.add_argument("--junit", type=Path, help="where to write the report")
    parser.add_argument("--minutes", type=float, default=50.0, help="the longest the machine may run")
    parser.add_argument("--memory", default="3072M")
    parser.add_argument("--shell", metavar="COMMAND", help="run a command instead of the tests")
    options, selection = parser.parse_known_args()
    machine.CACHE.mkdir(exist_ok=True)
    found = kernel.find()
    print(f"kernel {found.release} from {found.image}", flush=True)
    with tempfile.TemporaryDirectory(prefix="vm-", dir=machine.CACHE) as directory:
        disks = prepare(Path(directory), options.python.absolute(), found, options.shell or script(selection))
        finished = boot(disks, found, options.memory, options.minutes * 60)
        return conclude(image.read_report(disks / "report"), finished, options.junit)


def script(selection: list[str]) -> str:
    """The guest's command: a run of pytest per selection, its worst status at the end.

    All but the last run side by side, as most tests wait a lot; what each says is printed when it has ended.
    """
    if selection:
        return pytest(0, selection)
    *together, alone = (pytest(number, *chosen) for number, chosen in enumerate(selections()))
    begun = [f"({command}) >/job/{number}.out 2>&1 & run{number}=$!" for number, command in enumerate(together)]
    ended = [f"wait $run{number} || worst=1; cat /job/{number}.out" for number in range(len(together))]
    return "\n".join([*begun, "worst=0", *ended, f"({alone}) || worst=1", "exit $worst"])


def pytest(number: int, chosen: list[str], before: Sequence[str] = ()) -> str:
    """The command of one run.

    :param before: words that begin it.
    """
    report = f"--junitxml=/job/report-{number}.xml"
    options = ["-q", "-p", "no:cacheprovider", "-o", "timeout=1200", "--durations=15", report]
    return shlex.join([*before, ".venv/bin/python", "-m", "pytest", *options, *chosen])


def selections() -> list[tuple[list[str], Sequence[str]]]:
    """What runs when nothing is named: the kernel tests in two halves, the tests with a daemon that carry the mark, the
    attacks that carry it, and those alone.

    Only files with the mark are named, because importing the others' libraries takes half a minute in there. Tests that
    want the machine for themselves are the last, in a run without the daemon that the others share.

    :returns: for each run what pytest is told, and what comes before it.
    """
    kernel = tests_of("kernel")
    present = {**kernel, **tests_of("attack")}
    for file, _, test in (name.partition("::") for name in LEFT_OUT):
        assert f"{test}(" in present.get(file, ""), f"left out, and not there: {file}::{test}"
    left_out = [f"--deselect={name}" for name in LEFT_OUT]
    networks = [name for name in kernel if name.startswith(NETWORKS)]
    others = [name for name in kernel if name not in networks]
    e2e, attack = ([name for name, text in tests_of(part).items() if MARK in text] for part in ("e2e", "attack"))
    alone = [name for name in e2e if ALONE in (machine.ROOT / name).read_text()]
    return [
        ([*networks, *left_out], machine.OWN_NETWORK),
        (["tests/vm", *others, *left_out], machine.OWN_NETWORK),
        ([*e2e, "-m", "vm and not alone", *left_out], ()),
        ([*attack, "-m", "vm and not alone", *left_out], machine.OWN_NETWORK),
        ([*alone, "-m", "vm and alone"], ()),
    ]


def tests_of(part: str) -> dict[str, str]:
    """The files of a part, and their texts."""
    return {
        str(path.relative_to(machine.ROOT)): path.read_text()
        for path in sorted(machine.ROOT.glob(f"tests/{part}/**/test_*.py"))
    }


def prepare(directory: Path, python: Path, found: kernel.Kernel, command: str) -> Path:
    """Make the disks of one run in ``directory``."""
    base = image.root_disk(python, found)
    (directory / "root").symlink_to(base)
    image.initramfs(found, directory / "initramfs")
    image.report_disk(directory / "report")
    (directory / "settings").write_text(settings(command))
    image.repository_disk(directory / "repository", directory / "settings")
    return directory


def settings(command: str) -> str:
    """Shell assignments that the guest reads."""
    # not WHERRY_MUST_WORK: an older kernel is the point of this machine, and some tests need a newer one
    exported = {"WHERRY_VM": "1"}
    lines = [f"export {name}={shlex.quote(value)}" for name, value in exported.items()]
    lines += [
        f"REPOSITORY={shlex.quote(str(machine.ROOT))}",
        f"COMMAND={shlex.quote(command)}",
    ]
    return "\n".join(lines) + "\n"


def boot(disks: Path, found: kernel.Kernel, memory: str, seconds: float) -> bool:
    """Run qemu with the console on our standard output; False when it had to be ended."""
    command = [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-machine", "pc", "-accel", "tcg,thread=multi", "-cpu", "Nehalem", "-smp", "2", "-m", memory,
        "-kernel", str(found.image), "-initrd", str(disks / "initramfs"),
        "-append", "console=ttyS0 quiet panic=-1 mitigations=off cgroup_no_v1=all",
        "-serial", "stdio",
        *drive("root", disks, "snapshot=on"), *drive("repository", disks, "readonly=on"), *drive("report", disks),
    ]  # fmt: skip
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        return process.wait() == 0
    finally:
        timer.cancel()
        if process.poll() is None:
            process.kill()
            process.wait()


def drive(name: str, disks: Path, *options: str) -> list[str]:
    """The words that give the machine one more disk."""
    return ["-drive", ",".join([f"file={disks / name}", "if=virtio", "format=raw", *options])]


def conclude(report: dict[str, bytes], finished: bool, junit: Path | None) -> int:
    """Say how it ended and write the reports as one."""
    if not finished or "status" not in report:
        print("the virtual machine did not finish", file=sys.stderr)
        return 1
    suites = ET.Element("testsuites")
    for name in sorted(report):
        if name.endswith(".xml"):
            suites.extend(ET.fromstring(report[name]).iter("testsuite"))
    if junit:
        ET.ElementTree(suites).write(junit)
    return int(report["status"])


if __name__ == "__main__":
    sys.exit(main())
