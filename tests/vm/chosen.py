"""Which tests run in the virtual machine, and why: those whose outcome its kernel may decide differently.

What differs there: limits of cgroup v2, where this machine's controllers may be version 1's; a kernel that is some
years older (system calls that are not there, mounts, the packet filter, table owners); modules to load (NFS, ipvlan,
quotas) or to leave out. What version 2 does without controllers is tried on this machine (`cgroup2`), and what the
daemon decides by itself, or no kernel does differently, there only: software emulation is twenty times slower.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ALL", "TABLES", "Chosen", "nodes"]

ALL: Final = ("",)
"""All tests of a file."""

Chosen = dict[str, tuple[str, ...]]

KERNEL: Final[Chosen] = {
    "vm/test_machine.py": ALL,
    "kernel/linux/test_mount.py": ALL,
    "kernel/linux/test_process.py": ALL,
    "kernel/ociruntime/test_checkpoint.py": (
        "test_a_program_goes_on_where_it_was",
        "test_memory_is_written_ahead_while_it_runs",
    ),
    "kernel/ociruntime/test_lifecycle.py": ("test_pause_resume_and_update",),
    "kernel/runtime/test_cgroup_machine.py": ALL,
    "kernel/runtime/test_mount_conformance.py": ALL,
    "kernel/runtime/test_user_namespaces.py": (
        "test_a_mapped_container_works_as_any_other",
        "test_limits_and_exec_with_a_user_namespace",
        "test_many_layers_are_mapped",
    ),
    "kernel/runtime/test_mounts.py": (
        "test_a_broken_overlay_says_what_the_kernel_said",
        "test_an_overlay_can_be_read_only_and_without_an_upper_layer",
        "test_names_with_special_characters_are_layers_too",
        "test_parts_of_the_tree_can_be_overlays_too",
        "test_read_only_of_the_top_and_recursively",
        "test_too_many_layers_for_an_older_kernel_are_told",
    ),
    "kernel/runtime/test_basics.py": (
        "test_a_hard_limit_above_ours_is_clamped_unless_it_must_be_exact",
        "test_device_rules_are_in_force",
        "test_limits_of_the_control_group_are_in_force",
        "test_the_default_seccomp_profile_is_in_force",
        "test_without_a_cgroup_namespace_the_containers_group_is_bound",
    ),
    "kernel/runtime/test_specification.py": (
        "test_an_exec_begins_and_goes_on_with_the_processors_of_the_specification",
    ),
    "kernel/runtime/test_systemd.py": (
        "test_a_container_is_a_scope_with_its_limits_and_nothing_is_left_of_it",
        "test_a_start_that_fails_leaves_no_unit",
        "test_limits_are_systemds_as_well_and_can_be_changed",
    ),
    "kernel/runtime/test_birth.py": ("test_a_limit_on_processes_counts_nobody_who_helps",),
    "kernel/runtime/test_process.py": (
        "test_a_limit_that_the_kernel_refuses_leaves_nothing",
        "test_exec_joins_namespaces_group_and_root",
    ),
    "kernel/runtime/test_spare_cgroup2.py": ALL,
    "kernel/linux/test_vfork.py": ALL,
    "kernel/keeper/test_machine.py": ("test_running_out_of_memory_is_told",),
    "kernel/layers/test_projects.py": ALL,
    "kernel/layers/test_overlay_view.py": (
        "test_a_layer_of_the_changes_gives_the_same_tree_again",
        "test_changes_are_those_that_docker_reports",
    ),
    "kernel/layers/test_unpack.py": (
        "test_attributes_that_steer_overlayfs_are_dropped",
        "test_marks_of_deletion_become_overlayfs_own",
    ),
    "kernel/build/test_snapshots.py": ("test_a_mount_shows_all_layers_and_is_in_no_mount_namespace",),
    "kernel/build/test_steps.py": (
        "test_a_step_that_needs_more_memory_than_it_may_have_is_out_of_memory",
        "test_limits_are_those_of_the_step",
        "test_what_a_step_took_is_told",
    ),
    "kernel/volumes/test_mount_space.py": ALL,
}
"""Cgroups, mounts and namespaces as the runtime uses them, and file systems."""

NETWORK: Final[Chosen] = {
    "kernel/network/test_core.py": (
        "test_a_network_comes_with_its_bridge_and_goes_with_it",
        "test_a_warm_sandbox_is_complete_and_is_claimed_without_asking_the_kernel",
    ),
    "kernel/network/test_firewall.py": (
        "test_a_container_reaches_itself_through_its_published_port",
        "test_a_link_opens_its_ports_in_one_direction_and_nothing_else[br_netfilter-4]",
        "test_a_published_port_is_reached_at_localhost",
        "test_a_restore_that_fails_changes_nothing",
        "test_an_internal_network_has_no_way_out_and_none_in[6]",
        "test_no_packet_sees_anything_in_between_while_the_tables_are_made_anew",
        "test_one_bridge_cannot_reach_the_containers_of_another[tcp-4]",
        "test_sctp_is_published_like_the_others",
        "test_the_kernel_is_asked_whether_it_can_without_a_trace",
        "test_the_rules_read_as_nft_lists_them",
        "test_without_icc_containers_of_one_bridge_reach_only_published_ports[br_netfilter-tcp-6]",
    ),
    "kernel/network/test_forwarding.py": ("test_containers_reach_outside_and_are_reached_and_nobody_else_passes",),
    "kernel/network/test_gateway_modes.py": (
        "test_a_routed_network_is_reached_at_its_published_ports_and_nothing_is_translated",
    ),
    "kernel/network/test_ownership.py": ALL,
    "kernel/network/test_parents.py": (
        "test_a_parent_named_like_a_vlan_is_made_and_goes_with_its_last_network",
        "test_endpoints_of_an_ipvlan_reach_one_another_and_the_link",
    ),
}
"""Links, the rules of the firewall as that kernel takes them, and who passes."""

E2E: Final[Chosen] = {
    "e2e/test_api_updates.py": ("test_the_limit_of_processes_is_lifted_by_zero_and_by_less",),
    "e2e/test_checkpoints.py": ("test_a_container_goes_on_from_a_checkpoint_that_another_daemon_makes",),
    "e2e/test_docker_cli_flags.py": (
        "test_processors_are_shared_out",
        "test_what_version_2_cannot_limit_is_warned_of_and_the_container_runs",
    ),
    "e2e/test_limits_inside.py": ("test_limits_of_version_2_are_in_force_inside",),
    "e2e/test_memory_runs_out.py": (
        "test_a_child_is_told_of_while_its_container_lives_on",
        "test_an_exec_that_runs_out_of_memory_is_told_of",
        "test_a_container_that_dies_of_it_is_told_of_once",
        "test_another_daemon_goes_on_watching",
    ),
    "e2e/test_network_volumes.py": ALL,
    "e2e/test_smoke.py": (
        "test_a_container_prints_and_its_status_comes_back",
        "test_limits_reach_the_kernel",
        "test_more_memory_than_allowed_ends_the_program",
    ),
}
"""A daemon and its clients on cgroup v2."""

ATTACK: Final[Chosen] = {
    "attack/test_build_steps.py": (
        "test_a_step_that_forks_for_ever_is_bounded_and_ends",
        "test_a_step_without_processor_time_ends_all_the_same",
    ),
    "attack/test_kernel_interfaces.py": (
        "test_capabilities_alone_open_what_they_are_for_and_no_more",
        "test_each_of_these_calls_would_be_answered_where_it_is_permitted",
        "test_what_acts_on_the_whole_machine_is_not_permitted",
    ),
    "attack/test_limits.py": (
        "test_a_container_in_the_hosts_cgroup_namespace_changes_no_option_of_the_hosts_mount",
        "test_a_fork_bomb_stays_within_its_number_and_is_killed_at_once",
        "test_a_thousand_processes_end_however_little_time_of_the_processors_they_may_have",
        "test_a_tree_of_processes_that_detach_themselves_ends_with_the_container",
        "test_an_exec_and_a_health_check_count_for_the_container",
        "test_an_exec_is_in_the_containers_cgroups",
        "test_dead_processes_that_nobody_looks_after_count",
        "test_limits_of_the_shell_are_raised_by_nobody_who_may_not",
        "test_memory_is_no_more_than_was_given_of_any_kind",
        "test_no_hierarchy_of_cgroups_is_mounted_anew",
        "test_the_containers_cgroups_show_nothing_of_others_and_cannot_be_written",
        "test_who_divides_its_cgroup_cannot_lift_its_own_limits",
        "test_who_has_used_up_its_processes_can_still_be_stopped_paused_and_looked_at",
        "test_who_would_write_into_cgroups_of_version_1_is_refused",
    ),
    "attack/test_mounts.py": (
        "test_a_read_only_bind_is_so_as_deep_as_the_clients_version_says",
        "test_shared_memory_has_its_size_and_neither_devices_nor_programs",
    ),
    "attack/test_writable_layers.py": ALL,
}
"""Attacks where what holds is the kernel's: its limits, its names of processes, its mounts."""

FIRST: Final[Chosen] = {"e2e/test_network_missing.py": ALL}
"""Tests that take modules away from the machine, so nobody is to use these yet."""

TABLES: Final = (FIRST, KERNEL, NETWORK, E2E, ATTACK)
"""In the order in which they run."""


def nodes(*tables: Chosen) -> list[str]:
    """What pytest calls the tests on its command line."""
    return [
        "::".join(filter(None, (f"tests/{file}", test)))
        for chosen in tables
        for file, tests in chosen.items()
        for test in tests
    ]
