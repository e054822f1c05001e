//! The promises of the sandbox, by number, and the tests that prove them, wherever they are.
//!
//! | promise | file | test |
//! |---|---|---|
//! | 1 one unprivileged user, without groups | tests/roles.rs | once_it_listens_no_process_of_root_is_root |
//! | 1 | tests/roles.rs | started_by_root_every_process_becomes_the_user_named |
//! | 1 | tests/roles.rs | started_through_sudo_every_process_becomes_its_caller |
//! | 2 no thread has a capability | tests/roles.rs | once_it_listens_no_process_of_root_is_root |
//! | 3 what is dropped never comes back | tests/roles.rs | a_set_uid_start_gives_up_root_for_good |
//! | 3 | privsep/tests/cage.rs | a role that has dropped root does not get it back, even without a filter |
//! | 4 confined before the first byte | tests/roles.rs | started_by_whoever_runs_the_tests_every_process_is_confined |
//! | 5 without its cage nothing runs | tests/probe/harness.rs | without any one step in any one role nothing is forwarded |
//! | 5 | tests/sandbox.rs | without_seccomp_it_does_not_serve |
//! | 5 | tests/sandbox.rs | an_open_cage_is_told_of_even_if_quiet |
//! | 5 | tests/sandbox.rs | a_set_uid_start_has_no_open_cage |
//! | 5 | tests/probe/trial.rs | with --sandbox=log a call that is not on the list is survived |
//! | 6 a worker that does anything else is killed | privsep/tests/cage.rs | opens a file |
//! | 6 | privsep/tests/cage.rs | makes a socket |
//! | 6 | privsep/tests/cage.rs | makes a process |
//! | 6 | privsep/tests/cage.rs | makes a thread |
//! | 6 | privsep/tests/cage.rs | kills |
//! | 6 | privsep/tests/cage.rs | calls with a forbidden argument |
//! | 6 | tests/probe/trial.rs | a call that is not on the list is death |
//! | 6 | tests/probe/trial.rs | a call on the list is survived |
//! | 6 | tests/probe/trial.rs | a call with the arguments that it is for is survived |
//! | 6 | tests/probe/trial.rs | a call with other arguments is death |
//! | 6 | tests/probe/harness.rs | the table of a role and the second list have the same calls |
//! | 6 | tests/probe/attacks.rs | higher limits |
//! | 6 | tests/probe/attacks.rs | the machine's memory |
//! | 7 another way into the kernel is none | tests/probe/trial.rs | the calls of other architectures are death |
//! | 7 | tests/probe/attacks.rs | a call by the page that every process has |
//! | 8 a worker connects to nobody | tests/probe/attacks.rs | sendto by TCP Fast Open |
//! | 8 | tests/probe/attacks.rs | sendmsg by TCP Fast Open |
//! | 8 | tests/probe/attacks.rs | sendto with an address |
//! | 8 | tests/probe/attacks.rs | sendmsg with an address |
//! | 8 | tests/probe/attacks.rs | sendmsg to a socket with a name |
//! | 9 a worker holds its session alone | tests/roles.rs | a_worker_holds_its_session_and_nothing_else |
//! | 9 | tests/roles.rs | a_worker_to_spare_holds_its_channel_and_nothing_else |
//! | 9 | tests/roles.rs | a_worker_holds_nothing_else_whatever_was_inherited |
//! | 9 | tests/probe/attacks.rs | a descriptor more than its session needs |
//! | 9 | tests/roles.rs | nobody_but_the_parent_and_the_worker_holds_a_socket_of_the_network |
//! | 9 | tests/diagnostics/surroundings.rs | with_any_of_the_three_streams_closed_the_traffic_is_exact |
//! | 9 | tests/diagnostics/surroundings.rs | with_a_thousand_descriptors_inherited_it_serves |
//! | 10 nothing is left over | tests/endurance.rs | sessions_that_fail_at_every_step_leave_nothing_behind |
//! | 10 | tests/endurance.rs | a_server_that_refuses_leaves_nothing_behind |
//! | 11 hostile descriptors are closed | privsep/tests/cage.rs | descriptors beyond the two that may come are closed, and the message is refused |
//! | 11 | tests/attack/on_the_zygote.rs | a_worker_serves_nothing_but_two_streams |
//! | 11 | tests/attack/on_the_zygote.rs | a_worker_that_cannot_take_the_descriptors_serves_nothing |
//! | 11 | tests/attack/on_the_logger.rs | a_logger_takes_only_a_channel_for_a_workers |
//! | 11 | tests/attack/on_the_parent.rs | a_worker_whose_channel_is_none_ends_everything |
//! | 11 | tests/attack/on_the_resolver.rs | a_resolver_takes_only_a_channel_for_the_loggers |
//! | 12 a malformed message ends its sender | tests/attack/on_the_logger.rs | a_worker_that_breaks_the_rules_is_cut_off_and_nobody_else |
//! | 12 | tests/attack/on_the_logger.rs | a_worker_that_is_cut_off_while_names_are_looked_up_is_told_of_once |
//! | 12 | tests/attack/on_the_logger.rs | a_resolver_that_breaks_the_rules_is_cut_off_and_no_record_is_lost |
//! | 12 | tests/attack/on_the_logger.rs | a_resolver_that_floods_the_logger_holds_up_no_record |
//! | 12 | tests/attack/on_the_logger.rs | a_logger_that_is_told_nonsense_ends_and_what_was_recorded_is_there |
//! | 12 | tests/attack/on_the_parent.rs | a_zygote_that_talks_nonsense_ends_everything |
//! | 12 | tests/attack/on_the_parent.rs | a_logger_that_talks_nonsense_ends_everything |
//! | 12 | tests/attack/on_the_parent.rs | a_resolver_that_talks_nonsense_costs_names_alone |
//! | 12 | tests/attack/on_the_parent.rs | a_worker_that_is_said_to_be_born_twice_ends_everything |
//! | 12 | tests/attack/on_the_parent.rs | a_zygote_that_floods_the_parent_does_not_keep_the_operator_from_it |
//! | 12 | tests/attack/on_the_resolver.rs | a_resolver_that_is_told_nonsense_by_the_parent_ends |
//! | 12 | tests/attack/on_the_resolver.rs | a_resolver_that_is_asked_nonsense_by_the_logger_ends |
//! | 12 | tests/attack/on_the_zygote.rs | a_worker_takes_one_session_with_two_descriptors_and_no_other_message |
//! | 12 | tests/attack/on_the_zygote.rs | a_worker_whose_session_runs_obeys_nobody |
//! | 12 | tests/attack/on_the_zygote.rs | a_zygote_that_is_told_nonsense_ends_with_its_workers |
//! | 12 | tests/attack/on_the_zygote.rs | a_zygote_makes_nobody_before_it_is_prepared |
//! | 12 | privsep/tests/cage.rs | a message longer than any is refused |
//! | 12 | privsep/src/wire.rs | trailing_bytes_are_refused |
//! | 12 | privsep/src/wire.rs | every_shorter_message_is_refused |
//! | 12 | privsep/src/wire.rs | a_claimed_length_beyond_the_limit_is_refused_before_memory_is_taken |
//! | 12 | src/logger/session.rs | nothing_is_allowed_after_the_last_word |
//! | 12 | src/logger/session.rs | no_claim_of_a_worker_overflows_a_sum |
//! | 13 records are out of a worker's reach | tests/attack/on_the_logger.rs | an_output_is_open_in_the_logger_alone_and_only_to_be_added_to |
//! | 14 garbage stays in its own session | tests/weaknesses/forging.rs | traffic_forges_no_line_of_a_shared_output |
//! | 14 | tests/weaknesses/forging.rs | no_peer_commands_a_terminal |
//! | 14 | tests/names.rs | with_a_silent_name_server_many_clients_take_bounded_memory |
//! | 14 | src/logger/session.rs | no_more_than_one_record_goes_beyond_the_limit_whichever_side_it_is_from |
//! | 14 | tests/attack/on_the_disk.rs | a_worker_that_has_been_taken_over_records_one_piece_more_than_it_may |
//! | 14 | tests/attack/on_the_disk.rs | with_parts_the_disk_is_bounded_even_for_a_worker_without_a_limit |
//! | 14 | tests/parts.rs | only_so_many_parts_are_kept_and_the_disk_is_bounded |
//! | 15 a killed worker ends its session alone | tests/loss.rs | a_killed_worker_ends_its_session_and_the_record_says_so |
//! | 15 | tests/loss.rs | a_killed_worker_ends_no_other_session |
//! | 15 | tests/weaknesses/disks.rs | a_killed_worker_takes_nothing_from_the_file |
//! | 16 nothing passes without the others | tests/loss.rs | a_lost_logger_ends_everything |
//! | 16 | tests/loss.rs | a_lost_zygote_ends_everything |
//! | 16 | tests/endurance.rs | a_logger_killed_under_load_takes_everybody_along |
//! | 16 | tests/endurance.rs | a_zygote_killed_under_load_takes_everybody_along |
//! | 17 nobody survives the parent | tests/loss.rs | a_lost_parent_ends_everything |
//! | 17 | tests/endurance.rs | a_parent_killed_under_load_takes_everybody_along |
//! | 17 | tests/endurance.rs | the_death_of_the_parent_alone_ends_every_role |
//! | 17 | tests/endurance.rs | the_end_of_the_channel_alone_ends_every_role |
//! | 17 | tests/attack/on_the_logger.rs | what_waits_for_names_is_written_when_the_parent_is_lost |
//! | 18 a cage that was broken is told | tests/sandbox.rs | a_worker_that_broke_its_cage_is_named_with_its_session_and_what_to_do |
//! | 18 | tests/sandbox.rs | a_role_that_broke_its_cage_is_named_with_what_to_do |
//! | 19 a bug is told from an attack | privsep/tests/cage.rs | aborts |
//! | 19 | tests/probe/trial.rs | a bug ends as a bug, whatever the environment asks for |
//! | 20 a stop harms nobody | tests/endurance.rs | a_role_that_is_stopped_and_goes_on_has_lost_nothing |
//! | 21 the heap may be tuned | tests/endurance.rs | whatever_the_heap_is_told_to_do_sessions_are_served |
//! | 22 the tables are there on other machines | tests/probe/harness.rs | the tables compile for aarch64 and riscv64 |
//! | 23 no row without a need | tests/probe/harness.rs | every row of a table says who needs it |
//! | 23 | tests/policy.rs | every_row_of_a_table_has_a_user_or_is_marked |
//! | 23 | tests/policy.rs | the_policy_is_printed_for_this_very_start |
//! | 24 a hostile start harms nobody | tests/roles.rs | a_set_uid_start_gives_up_root_for_good |
//! | 24 | tests/set_uid.rs | however_it_is_started_it_serves_confined_or_says_why_not |
//! | 24 | tests/set_uid.rs | without_arguments_and_with_a_hundred_thousand_it_is_a_usage_error |
//! | 24 | tests/set_uid.rs | in_a_directory_that_is_gone_or_closed_it_serves |
//! | 24 | tests/set_uid.rs | a_hard_link_in_another_place_is_the_same_program |
//! | 24 | tests/set_uid.rs | with_no_new_privileges_the_bit_and_the_capability_give_nothing |
//! | 25 root's power touches no path | tests/weaknesses.rs | set_uid_makes_no_socket_where_its_caller_may_not |
//! | 25 | tests/set_uid.rs | no_output_is_opened_with_more_than_its_callers_rights |
//! | 25 | tests/set_uid.rs | its_caller_chooses_no_user_but_himself |
//! | 26 a role by hand is nothing | privsep/tests/cage.rs | a role started by hand is none |
//! | 26 | tests/set_uid.rs | a_role_by_hand_gives_its_caller_nothing |
//! | 26 | tests/set_uid.rs | a_role_that_is_let_in_by_hand_has_no_privilege_left |
//! | 27 versions do not mix | tests/attack/on_the_zygote.rs | a_role_of_another_version_refuses_to_start |
//! | 27 | tests/set_uid.rs | a_program_that_is_deleted_or_replaced_goes_on_as_what_it_was |
//! | 28 rotation loses nothing | tests/daemon/rotation.rs | a_hundred_rotations_under_load_lose_and_double_nothing |
//! | 28 | tests/daemon/rotation.rs | a_new_file_has_the_mode_and_the_owner_of_the_old_one |
//! | 28 | tests/parts.rs | the_parts_of_every_format_are_the_record_and_none_is_too_large |
//! | 28 | tests/parts.rs | a_directory_that_is_closed_is_told_once_and_the_file_goes_on |
//! | 28 | tests/daemon/logrotate.rs | a_signal_after_the_rotation_as_shipped_loses_nothing |
//! | 28 | tests/daemon/logrotate.rs | a_copy_of_a_record_at_rest_loses_nothing |
//! | 28 | tests/parts.rs | every_part_has_the_mode_and_the_owner_of_the_first |
//! | 28 | tests/daemon/rotation.rs | who_need_not_mind_a_hang_up_rotates_in_the_foreground_too |
//! | 28 | tests/daemon/rotation.rs | the_logger_takes_the_signal_too |
//! | 28 | tests/daemon/rotation.rs | a_directory_that_is_closed_is_told_and_the_old_file_goes_on |
//! | 29 a bad disk is told, and memory bounded | tests/weaknesses/disks.rs | a_full_disk_is_told_once_and_remembered |
//! | 29 | tests/diagnostics/surroundings.rs | a_stdout_that_nobody_reads_stalls_the_session_and_loses_nothing |
//! | 29 | tests/backpressure.rs | a_logger_that_is_stopped_holds_the_peers_up_and_loses_nothing |
//! | 29 | tests/backpressure.rs | a_pipe_that_nobody_reads_takes_no_memory_whatever_a_format_makes_of_it |
//! | 29 | tests/backpressure.rs | a_device_with_an_error_is_told_and_ends_the_sessions |
//! | 29 | tests/parts.rs | a_full_disk_ends_the_sessions_and_every_part_is_whole |
//! | 30 syslog never holds a byte up | tests/daemon/syslog.rs | without_syslogd_it_starts_says_so_and_finds_it_later |
//! | 30 | tests/daemon/syslog.rs | a_syslogd_that_is_restarted_is_found_again |
//! | 30 | tests/daemon/rsyslog.rs | an_rsyslogd_that_comes_later_or_again_is_told_how_much_it_missed |
//! | 30 | tests/daemon/rsyslog.rs | an_rsyslogd_that_is_stuck_delays_nothing_and_is_told_how_much_it_missed |
//! | 30 | tests/daemon/syslog.rs | a_syslogd_that_is_stuck_delays_nothing |
//! | 31 what is handed over is looked at first | tests/inetd.rs | descriptor_0_has_to_be_a_stream_socket |
//! | 31 | tests/inetd.rs | inetd_starts_one_for_each_client |
//! | 31 | tests/inetd.rs | inetd_starts_one_for_all_clients |
//! | 31 | tests/inetd.rs | nothing_of_ours_reaches_the_client |
//! | 31 | tests/activation.rs | what_is_no_stream_socket_is_refused |
//! | 31 | tests/activation.rs | a_socket_for_another_process_is_ignored |
//! | 31 | tests/activation.rs | a_set_uid_start_ignores_what_its_caller_hands_over |
//! | 31 | tests/activation.rs | no_role_sees_the_sockets_or_the_variables |
//! | 31 | tests/activation.rs | systemd_hands_its_socket_over_with_the_first_client |
//! | 31 | tests/activation.rs | systemd_starts_one_for_each_client |
//! | 32 the cage needs no root | tests/roles.rs | started_by_nobody_every_process_is_confined_as_well |
//! | 32 | tests/units.rs | the_activated_service_works_with_all_that_its_unit_takes_away |
//! | 32 | tests/units.rs | the_daemon_of_root_works_with_all_that_its_unit_takes_away |
//! | 32 | tests/units.rs | the_service_for_one_client_works_with_all_that_its_unit_takes_away |
//! | 32 | tests/sandbox.rs | a_container_without_capabilities_has_all_that_needs_none |
//! | 32 | tests/sandbox.rs | a_user_namespace_of_nobody_has_all_that_needs_no_capability |
//! | 32 | tests/sandbox.rs | root_that_can_only_become_another_does_and_names_the_rest |
//! | 32 | tests/sandbox.rs | root_that_cannot_become_another_is_told_what_to_do |
//! | 32 | tests/sandbox.rs | an_ordinary_user_lacks_what_root_could_give |
//! | 32 | tests/sandbox.rs | root_has_the_whole_sandbox |
//! | 33 Landlock is a second belt, and told | tests/sandbox.rs | without_landlock_it_serves_and_says_so_when_asked |
//! | 33 | tests/sandbox.rs | without_landlock_the_whole_sandbox_is_not_there |
//! | 34 no port of root after the drop | tests/probe/trial.rs | a call with other arguments is death |
//! | 35 no core, no tracing | tests/roles.rs | a_dropped_program_leaves_no_core_and_cannot_be_traced |
//! | 35 | tests/roles.rs | another_process_of_the_same_user_can_neither_trace_nor_read_it |
//! | 35 | tests/probe/attacks.rs | abort of the zygote |
//! | 36 the parent is in a cage, too | tests/probe/trial.rs | a call that is not on the list is death |
//! | 36 | tests/roles.rs | once_it_listens_no_process_of_root_is_root |
//! | 37 shortage sheds, and recovers | tests/diagnostics/surroundings.rs | with_too_few_descriptors_it_says_so_and_serves |
//! | 37 | tests/endurance/shortage.rs | with_few_descriptors_a_crowd_waits_and_nothing_spins |
//! | 37 | tests/endurance/shortage.rs | with_few_processes_a_crowd_waits_and_nothing_spins |
//! | 37 | tests/endurance.rs | sessions_held_at_once_are_exact_and_confined |
//! | 37 | tests/weaknesses.rs | clients_for_whom_there_is_no_process_yet_are_served_when_there_is |
//! | 37 | tests/weaknesses.rs | a_bridge_that_was_short_of_processes_and_is_idle_serves_the_next_client |
//! | 37 | tests/relay/dialling.rs | a_server_that_does_not_answer_is_given_up_after_the_time_out |
//! | 37 | tests/bursts.rs | a_client_with_all_the_sessions_it_may_have_is_turned_away_and_told_once |
//! | 38 every promise has its test | tests/promises.rs | every_promise_has_a_test_and_every_test_named_exists |
//! | 38 | tests/promises.rs | every_test_that_the_readme_names_exists |
//! | 40 no process waits on a descriptor of another | tests/attack/on_the_logger.rs | a_worker_that_hands_over_what_lingers_holds_up_no_record |
//! | 40 | tests/attack/on_the_logger.rs | a_resolver_that_hands_over_what_lingers_holds_up_no_record |
//! | 40 | tests/attack/on_the_logger.rs | the_connection_of_a_lost_worker_holds_up_no_other_session |
//! | 40 | tests/attack/on_the_logger.rs | the_kernel_refuses_descriptors_where_none_may_come |
//! | 40 | tests/attack/on_the_parent.rs | a_logger_that_hands_over_what_lingers_ends_everything_at_once |
//! | 40 | tests/attack/on_the_parent.rs | a_resolver_that_hands_over_what_lingers_holds_up_no_session |
//! | 39 no name costs a session | tests/names/hostile.rs | no_answer_of_a_name_server_costs_more_than_a_name |
//! | 39 | tests/names/hostile.rs | a_truncated_answer_is_followed_up_by_tcp_at_the_start |
//! | 39 | tests/names/hostile.rs | lookups_that_hang_end_and_others_are_shown_by_name_again |
//! | 39 | tests/names/hostile.rs | a_lookup_that_is_killed_is_told_and_costs_one_name |
//! | 39 | tests/names/hostile.rs | a_lookup_that_is_killed_at_the_start_is_an_error_that_says_what_to_do |
//! | 39 | tests/names/modules.rs | no_module_costs_more_than_a_name |
//! | 39 | tests/loss.rs | a_lost_resolver_costs_names_alone |
//! | 39 | tests/loss.rs | without_its_resolver_new_sessions_are_shown_as_numbers_at_once |
//! | 39 | tests/endurance.rs | a_resolver_killed_under_load_costs_no_session |
//! | 39 | tests/notify.rs | a_resolver_that_hangs_or_is_lost_is_no_reason_for_the_watchdog |
//! | 39 | tests/attack/on_the_parent.rs | a_resolver_that_floods_the_parent_costs_names_alone |
//! | 48 a lookup reaches name servers and NSS daemons | tests/probe/trial.rs | a call on the list is survived |
//! | 48 | tests/names/modules.rs | without_a_module_that_asks_one_no_daemon_can_be_reached |
//! | 48 | tests/names/hostile.rs | a_lookup_holds_nothing_of_the_resolver_and_can_make_no_process |
//! | 43 no other power of the file is taken along | tests/set_uid.rs | any_other_power_of_the_file_is_refused_and_touches_nothing |
//! | 44 a start makes no name that can be foreseen | tests/sandbox.rs | starting_makes_no_name_in_any_directory |
//! | 44 | tests/containers.rs | on_a_read_only_root_file_system_it_has_the_whole_sandbox |
//! | 32 | tests/containers.rs | root_of_a_namespace_with_one_user_goes_on_as_that_user |
//! | 32 | tests/containers.rs | root_of_a_namespace_with_one_user_that_is_root_outside_is_refused |
//! | 32 | tests/containers.rs | calls_that_a_profile_forbids_have_their_fallback |
//! | 47 one bound for all that waits in the logger | tests/names.rs | with_a_silent_name_server_many_clients_take_bounded_memory |
//! | 47 | src/logger/session.rs | memory_of_records_that_wait_for_names_is_counted_and_given_back |
//! | 47 | tests/backlog.rs | sessions_that_are_over_and_not_recorded_are_bounded_and_the_next_client_waits |
//! | 47 | tests/backlog.rs | short_sessions_one_after_the_other_are_recorded_as_they_come |
//! | 41 the end comes in time, whatever one process or peer does | tests/shutdown.rs | a_worker_that_is_stopped_is_killed_after_its_time_and_the_record_says_so |
//! | 41 | tests/shutdown.rs | a_worker_that_floods_its_logger_is_killed_after_its_time |
//! | 41 | tests/shutdown.rs | a_worker_that_lingers_over_a_peer_that_never_reads_ends_in_time |
//! | 41 | tests/shutdown.rs | with_the_resolver_stopped_it_ends_in_time |
//! | 41 | tests/shutdown.rs | with_the_zygote_stopped_it_ends_in_time |
//! | 41 | tests/shutdown.rs | with_the_logger_stopped_it_ends_in_time_and_nothing_is_left |
//! | 42 nothing is tried again without a pause | tests/endurance/shortage.rs | with_too_many_descriptors_on_their_way_nothing_is_tried_again_without_a_pause |
//! | 42 | tests/endurance/shortage.rs | workers_that_are_killed_before_they_have_a_session_are_replaced_after_a_pause |
//! | 42 | tests/endurance/shortage.rs | with_few_processes_a_crowd_waits_and_nothing_spins |
//! | 42 | tests/endurance/shortage.rs | with_few_descriptors_a_crowd_waits_and_nothing_spins |
//! | 42 | tests/relay/dialling.rs | a_unix_server_with_a_full_queue_serves_every_client_in_the_end |
//! | 42 | tests/relay/dialling.rs | what_is_dialled_in_vain_is_not_dialled_again_without_a_pause |

use std::collections::BTreeSet;

use crate::support::table;

#[test]
fn every_promise_has_a_test_and_every_test_named_exists() {
    let mut promises = BTreeSet::new();
    for row in list() {
        let [promise, file, test] = row[..] else { panic!("three cells: {row:?}") };
        table::expect_test(file, test);
        promises.insert(table::number(promise));
    }
    let first: BTreeSet<u32> = (1..=38).collect();
    assert!(promises.is_superset(&first), "{promises:?}");
}

#[test]
fn every_test_that_the_readme_names_exists() {
    let named: Vec<(u32, &str)> = table::rows(include_str!("../README.md"), "| ")
        .into_iter()
        .filter_map(|row| match row[..] {
            [_, promise, test] => Some((promise.parse().ok()?, test.trim_matches('`'))),
            _ => None,
        })
        .collect();
    assert!(named.len() > 15, "{named:?}");
    for (promise, test) in named {
        let proves = |row: &&Vec<&str>| table::number(row[0]) == promise && row[2] == test;
        let rows = list();
        assert!(rows.iter().any(|row| proves(&row)), "{test} is no test of promise {promise}");
    }
}

/// Rows of the list above: number and text, file, test.
fn list() -> Vec<Vec<&'static str>> {
    table::rows(include_str!("promises.rs"), "//! | ").into_iter().skip(1).collect()
}
