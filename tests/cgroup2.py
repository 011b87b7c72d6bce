"""Which tests run once more on this machine where cgroup version 2 alone is mounted, and how that is done.

They are about what wherry does differently there: a process is born in its group, devices are let in by a program, a
group has its namespace, is frozen and killed by a file of its own. None of that needs a controller, so the hierarchy is
there on every kernel, also where version 1 has taken the controllers. What needs these runs in the virtual machine;
see `vm.chosen`. Nobody is to be listed here whom only a limit stops: without controllers there is none.
"""

from __future__ import annotations

from typing import Final

import machine
from vm.chosen import ALL, Chosen

__all__ = ["ALONE", "TESTS"]

ALONE: Final = [
    *("unshare", "--mount", "--propagation=private", "sh", "-c"),
    'umount -R -l /sys/fs/cgroup; mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup && exec "$@"',
    *("sh", *machine.OWN_NETWORK),
]
"""Before a command: it sees version 2 only, in a mount namespace of its own."""

TESTS: Final[Chosen] = {
    "kernel/ociruntime/test_lifecycle.py": (
        "test_a_container_is_created_started_and_deleted",
        "test_a_control_group_that_others_are_in_stays_with_them",
        "test_exec_runs_in_the_container_and_has_runcs_flags",
        "test_what_waits_to_be_started_has_nothing_of_the_hosts",
    ),
    "kernel/runtime/test_basics.py": (
        "test_device_rules_are_in_force",
        "test_it_has_its_own_namespaces",
        "test_the_same_specification_gives_the_same_with_runc",
        "test_without_a_cgroup_namespace_the_containers_group_is_bound",
    ),
    "kernel/runtime/test_birth.py": (
        "test_a_joined_pid_namespace_is_what_proc_shows",
        "test_where_the_kernel_cannot_make_it_the_others_proc_is_copied",
    ),
    "kernel/runtime/test_mounts.py": (
        "test_a_root_works_where_the_hosts_root_cannot_be_pivoted",
        "test_nothing_is_mounted_on_the_host_while_a_container_runs",
    ),
    "kernel/runtime/test_net_devices.py": ("test_a_start_that_fails_later_puts_them_back",),
    "kernel/runtime/test_process.py": (
        "test_a_time_namespace_with_another_boot_time",
        "test_namespaces_of_another_container_are_joined",
    ),
    "kernel/runtime/test_seccomp_listener.py": ("test_an_exec_has_a_listener_of_its_own_and_its_own_number",),
    "kernel/runtime/test_spare_cgroup2.py": ALL,
    "kernel/runtime/test_specification.py": (
        "test_a_mount_namespace_is_joined_with_all_that_is_mounted_there",
        "test_an_exec_begins_and_goes_on_with_the_processors_of_the_specification",
    ),
    "kernel/runtime/test_user_namespaces.py": (
        "test_a_mapped_container_works_as_any_other",
        "test_an_existing_user_namespace_can_be_joined",
    ),
    "kernel/build/test_steps.py": (
        "test_a_part_of_layers_can_be_mounted",
        "test_a_step_that_is_cancelled_is_gone_with_everything",
        "test_what_a_step_took_is_told",
    ),
    "e2e/test_docker_cli_flags.py": (
        "test_a_cgroup_namespace_hides_where_the_container_is",
        "test_a_device_rule_opens_what_it_names_and_no_more",
    ),
    "e2e/test_smoke.py": (
        "test_a_container_prints_and_its_status_comes_back",
        "test_a_device_that_was_not_given_cannot_be_opened",
        "test_a_paused_container_stands_still",
        "test_exec_enters_every_namespace",
        "test_output_and_containers_outlive_the_daemon",
        "test_the_built_in_image_runs",
    ),
    "attack/test_birth.py": (
        "test_a_container_that_joins_the_pid_namespace_has_nothing_of_the_hosts[init]",
        "test_init_has_nothing_of_the_hosts",
        "test_what_is_executed_has_nothing_of_the_hosts[root]",
        "test_who_stops_what_comes_in_holds_up_nobody_else",
    ),
    "attack/test_build_steps.py": (
        "test_a_part_that_is_exchanged_while_it_is_mounted_never_leads_out",
        "test_an_insecure_step_cannot_freeze_what_is_to_end",
        "test_it_holds_its_streams_and_nothing_else",
        "test_what_an_insecure_step_mounts_does_not_come_to_the_host",
    ),
    "attack/test_descriptors.py": ALL,
    "attack/test_devices.py": (
        "test_a_terminal_is_the_containers_own_console",
        "test_no_other_device_of_the_hosts_is_opened[[]]",
        "test_the_hosts_console_is_not_opened_by_an_exec_either",
    ),
    "attack/test_escapes.py": (
        "test_a_disk_cannot_be_made_and_read",
        "test_a_process_that_has_just_entered_cannot_be_looked_into",
        "test_exec_has_no_descriptor_that_leads_out",
        "test_init_cannot_be_traced_from_inside",
    ),
    "attack/test_kernel_interfaces.py": (
        "test_an_exec_is_permitted_no_more",
        "test_no_lever_of_the_kernels_can_be_moved",
        "test_no_path_through_proc_leads_around_the_read_only_mounts",
    ),
    "attack/test_mounts.py": ("test_shared_memory_outlives_the_daemon_and_the_one_who_made_it",),
}
"""By what a test calls on: the runtime, a daemon and its clients, and what is tried against both. Steps come after the
runtime, as an engine in this process has threads, and who has some enters no time namespace."""
