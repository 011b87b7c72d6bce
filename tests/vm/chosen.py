"""Which tests run in the virtual machine, and why: those whose outcome its kernel may decide differently.

What differs there: cgroup v2 alone, where this machine may have v1; a kernel that is some years older (system calls
that are not there, mounts, namespaces, the packet filter, table owners); modules to load (XFS, NFS) or to leave out.
What the daemon decides by itself, or what no kernel does differently, runs on this machine only: software emulation is
twenty times slower.
"""

from __future__ import annotations

from typing import Final

__all__ = ["ALL", "ALONE", "ATTACK", "E2E", "KERNEL", "NETWORK", "nodes"]

ALL: Final = ("",)
"""All tests of a file."""

Chosen = dict[str, tuple[str, ...]]

KERNEL: Final[Chosen] = {
    "vm/test_machine.py": ALL,
    "kernel/linux/test_mount.py": ALL,
    "kernel/linux/test_process.py": ALL,
    "kernel/ociruntime/test_checkpoint.py": ALL,
    "kernel/ociruntime/test_lifecycle.py": (
        "test_a_container_is_created_started_and_deleted",
        "test_a_control_group_that_others_are_in_stays_with_them",
        "test_exec_runs_in_the_container_and_has_runcs_flags",
        "test_pause_resume_and_update",
        "test_what_waits_to_be_started_has_nothing_of_the_hosts",
    ),
    "kernel/runtime/test_cgroup_machine.py": ALL,
    "kernel/runtime/test_mount_conformance.py": ALL,
    "kernel/runtime/test_user_namespaces.py": ALL,
    "kernel/runtime/test_mounts.py": (
        "test_a_broken_overlay_says_what_the_kernel_said",
        "test_a_directory_and_a_file_are_bound_and_their_places_made",
        "test_a_recursive_bind_takes_what_is_mounted_below",
        "test_a_root_works_where_the_hosts_root_cannot_be_pivoted",
        "test_a_tmpfs_with_its_options",
        "test_an_overlay_can_be_read_only_and_without_an_upper_layer",
        "test_names_with_special_characters_are_layers_too",
        "test_nothing_is_mounted_on_the_host_while_a_container_runs",
        "test_parts_of_the_tree_can_be_overlays_too",
        "test_propagation_of_a_bind",
        "test_read_only_of_the_top_and_recursively",
        "test_recursive_attributes_can_be_taken_back_below",
        "test_too_many_layers_for_an_older_kernel_are_told",
    ),
    "kernel/runtime/test_basics.py": (
        "test_a_hard_limit_above_ours_is_clamped_unless_it_must_be_exact",
        "test_device_rules_are_in_force",
        "test_it_has_its_own_namespaces",
        "test_limits_of_the_control_group_are_in_force",
        "test_sysctls_of_own_namespaces",
        "test_the_default_seccomp_profile_is_in_force",
        "test_the_same_specification_gives_the_same_with_runc",
        "test_without_a_cgroup_namespace_the_containers_group_is_bound",
    ),
    "kernel/runtime/test_specification.py": (
        "test_a_mount_namespace_is_joined_with_all_that_is_mounted_there",
        "test_an_exec_begins_and_goes_on_with_the_processors_of_the_specification",
    ),
    "kernel/runtime/test_net_devices.py": ("test_a_start_that_fails_later_puts_them_back",),
    "kernel/runtime/test_seccomp_listener.py": ("test_an_exec_has_a_listener_of_its_own_and_its_own_number",),
    "kernel/runtime/test_systemd.py": (
        "test_a_container_is_a_scope_with_its_limits_and_nothing_is_left_of_it",
        "test_a_start_that_fails_leaves_no_unit",
        "test_limits_are_systemds_as_well_and_can_be_changed",
    ),
    "kernel/runtime/test_birth.py": (
        "test_a_joined_pid_namespace_is_what_proc_shows",
        "test_a_limit_on_processes_counts_nobody_who_helps",
        "test_where_the_kernel_cannot_make_it_the_others_proc_is_copied",
    ),
    "kernel/runtime/test_process.py": (
        "test_a_limit_that_the_kernel_refuses_leaves_nothing",
        "test_a_time_namespace_with_another_boot_time",
        "test_exec_joins_namespaces_group_and_root",
        "test_namespaces_of_another_container_are_joined",
    ),
    "kernel/runtime/test_spare.py": (
        "test_a_waiting_process_becomes_the_container",
        "test_one_process_clones_for_start_after_start",
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
    "kernel/build/test_snapshots.py": (
        "test_a_mount_shows_all_layers_and_is_in_no_mount_namespace",
        "test_hundreds_of_layers_are_one_tree",
    ),
    "kernel/build/test_steps.py": (
        "test_a_part_of_layers_can_be_mounted",
        "test_a_step_that_is_cancelled_is_gone_with_everything",
        "test_a_step_that_needs_more_memory_than_it_may_have_is_out_of_memory",
        "test_limits_are_those_of_the_step",
        "test_what_a_step_took_is_told",
    ),
    "kernel/volumes/test_mount_space.py": ALL,
    "kernel/volumes/test_tree_copies.py": ("test_contents_are_shared_where_the_file_system_can",),
}
"""Cgroups, mounts and namespaces as the runtime uses them, and file systems."""

NETWORK: Final[Chosen] = {
    "kernel/network/test_core.py": (
        "test_a_macvlan_without_a_parent_joins_its_members_only",
        "test_a_network_comes_with_its_bridge_and_goes_with_it",
        "test_a_network_may_say_what_interfaces_inside_are_called",
        "test_a_warm_sandbox_is_complete_and_is_claimed_without_asking_the_kernel",
        "test_the_real_network_conforms",
    ),
    "kernel/network/test_firewall.py": (
        "test_a_container_reaches_itself_through_its_published_port",
        "test_a_link_opens_its_ports_in_one_direction_and_nothing_else",
        "test_a_published_port_is_reached_at_localhost",
        "test_a_restore_that_fails_changes_nothing",
        "test_an_internal_network_has_no_way_out_and_none_in",
        "test_no_packet_sees_anything_in_between_while_the_tables_are_made_anew",
        "test_one_bridge_cannot_reach_the_containers_of_another",
        "test_sctp_is_published_like_the_others",
        "test_the_kernel_is_asked_whether_it_can_without_a_trace",
        "test_the_rules_read_as_nft_lists_them",
        "test_without_icc_containers_of_one_bridge_reach_only_published_ports",
    ),
    "kernel/network/test_forwarding.py": ("test_containers_reach_outside_and_are_reached_and_nobody_else_passes",),
    "kernel/network/test_gateway_modes.py": (
        "test_a_routed_network_is_reached_at_its_published_ports_and_nothing_is_translated",
        "test_an_isolated_network_has_no_address_of_the_host",
    ),
    "kernel/network/test_ownership.py": ALL,
    "kernel/network/test_parents.py": (
        "test_a_parent_named_like_a_vlan_is_made_and_goes_with_its_last_network",
        "test_endpoints_of_an_ipvlan_reach_one_another_and_the_link",
    ),
    "kernel/network/test_proxy6.py": ("test_a_connection_to_localhost_is_passed_on_in_both_directions_with_its_ends",),
}
"""Links, the rules of the firewall as that kernel takes them, and who passes."""

E2E: Final[Chosen] = {
    "e2e/test_api_updates.py": ("test_the_limit_of_processes_is_lifted_by_zero_and_by_less",),
    "e2e/test_docker_cli_flags.py": (
        "test_a_cgroup_namespace_hides_where_the_container_is",
        "test_a_device_rule_opens_what_it_names_and_no_more",
        "test_processors_are_shared_out",
        "test_what_version_2_cannot_limit_is_warned_of_and_the_container_runs",
    ),
    "e2e/test_limits_inside.py": ("test_limits_of_version_2_are_in_force_inside",),
    "e2e/test_memory_runs_out.py": ALL,
    "e2e/test_network_volumes.py": ALL,
    "e2e/test_smoke.py": ALL,
}
"""A daemon and its clients on cgroup v2."""

ATTACK: Final[Chosen] = {
    "attack/test_birth.py": (
        "test_a_container_that_joins_the_pid_namespace_has_nothing_of_the_hosts[init]",
        "test_init_has_nothing_of_the_hosts",
        "test_what_is_executed_has_nothing_of_the_hosts[root]",
        "test_who_stops_what_comes_in_holds_up_nobody_else",
    ),
    "attack/test_build_steps.py": (
        "test_a_part_that_is_exchanged_while_it_is_mounted_never_leads_out",
        "test_a_step_that_forks_for_ever_is_bounded_and_ends",
        "test_a_step_without_processor_time_ends_all_the_same",
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
        "test_a_console_that_is_a_link_makes_nothing_writable",
        "test_a_disk_cannot_be_made_and_read",
        "test_a_mount_that_a_link_leads_over_the_settings_is_noticed",
        "test_a_process_that_has_just_entered_cannot_be_looked_into",
        "test_a_setting_is_not_written_through_a_mount_on_its_way",
        "test_exec_has_no_descriptor_that_leads_out",
        "test_init_cannot_be_traced_from_inside",
        "test_the_engines_program_lies_on_a_read_only_mount",
    ),
    "attack/test_kernel_interfaces.py": ALL,
    "attack/test_limits.py": ALL,
    "attack/test_mounts.py": (
        "test_a_read_only_bind_is_so_as_deep_as_the_clients_version_says",
        "test_a_tmpfs_that_is_read_only_is_so_with_what_is_mounted_in_it",
        "test_mounts_come_and_go_only_through_a_mount_that_shares_them",
        "test_shared_memory_has_its_size_and_neither_devices_nor_programs",
        "test_shared_memory_outlives_the_daemon_and_the_one_who_made_it",
        "test_what_the_host_mounts_later_comes_in_where_that_was_asked_for",
    ),
    "attack/test_writable_layers.py": ALL,
}
"""Attacks where what holds is the kernel's: its limits, its names of processes, its mounts."""

ALONE: Final[Chosen] = {"e2e/test_network_missing.py": ALL}
"""Tests that want the machine for themselves: they take modules away from it."""


def nodes(chosen: Chosen) -> list[str]:
    """What pytest calls the tests on its command line."""
    return ["::".join(filter(None, (f"tests/{file}", test))) for file, tests in chosen.items() for test in tests]
