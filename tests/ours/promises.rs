//! The promises of the sandbox, by number, and the tests that prove them, wherever they are.
//!
//! | promise | file | test |
//! |---|---|---|
//! | 1 one unprivileged user, without groups | tests/ours/roles.rs | once_it_listens_no_process_of_root_is_root |
//! | 1 | tests/ours/roles.rs | started_by_root_every_process_becomes_the_user_named |
//! | 1 | tests/ours/roles.rs | started_through_sudo_every_process_becomes_its_caller |
//! | 2 no thread has a capability | tests/ours/roles.rs | once_it_listens_no_process_of_root_is_root |
//! | 3 what is dropped never comes back | tests/ours/roles.rs | a_set_uid_start_gives_up_root_for_good |
//! | 3 | privsep/tests/cage.rs | dropped root cannot be regained, even without a filter |
//! | 4 confined before the first byte | tests/ours/roles.rs | started_by_the_current_user_every_process_is_confined |
//! | 5 without its filter nothing runs | tests/probe/harness.rs | nothing is forwarded if any step of any role fails |
//! | 5 | tests/ours/sandbox.rs | without_seccomp_it_does_not_serve |
//! | 5 | tests/ours/sandbox.rs | sandbox_log_is_reported_even_with_quiet |
//! | 5 | tests/ours/sandbox.rs | a_set_uid_start_rejects_sandbox_log |
//! | 5 | tests/probe/trial.rs | with --sandbox=log a call outside the list is survived |
//! | 6 a worker that makes any other call is killed | privsep/tests/cage.rs | opens a file |
//! | 6 | privsep/tests/cage.rs | makes a socket |
//! | 6 | privsep/tests/cage.rs | makes a process |
//! | 6 | privsep/tests/cage.rs | makes a thread |
//! | 6 | privsep/tests/cage.rs | kills |
//! | 6 | privsep/tests/cage.rs | calls with a forbidden argument |
//! | 6 | tests/probe/trial.rs | a call outside the list is fatal |
//! | 6 | tests/probe/trial.rs | a call on the list is survived |
//! | 6 | tests/probe/trial.rs | a call with permitted arguments is survived |
//! | 6 | tests/probe/trial.rs | a call with other arguments is fatal |
//! | 6 | tests/probe/harness.rs | the tables and the second list have the same calls |
//! | 6 | tests/probe/attacks.rs | higher limits |
//! | 6 | tests/probe/attacks.rs | the machine's memory |
//! | 7 no other entry into the kernel works | tests/probe/trial.rs | calls of other architectures are fatal |
//! | 7 | tests/probe/attacks.rs | a call through the vsyscall page |
//! | 8 a worker makes no connection | tests/probe/attacks.rs | sendto by TCP Fast Open |
//! | 8 | tests/probe/attacks.rs | sendmsg by TCP Fast Open |
//! | 8 | tests/probe/attacks.rs | sendto with an address |
//! | 8 | tests/probe/attacks.rs | sendmsg with an address |
//! | 8 | tests/probe/attacks.rs | sendmsg to a socket with a name |
//! | 9 a worker holds its session alone | tests/ours/roles.rs | a_worker_holds_its_session_and_nothing_else |
//! | 9 | tests/ours/roles.rs | a_spare_worker_holds_its_channel_and_nothing_else |
//! | 9 | tests/ours/roles.rs | a_worker_holds_nothing_else_whatever_was_inherited |
//! | 9 | tests/probe/attacks.rs | a descriptor more than its session needs |
//! | 9 | tests/ours/roles.rs | only_parent_and_worker_hold_network_sockets |
//! | 9 | tests/compat/diagnostics/surroundings.rs | with_any_of_the_three_streams_closed_the_traffic_is_exact |
//! | 9 | tests/compat/diagnostics/surroundings.rs | with_a_thousand_descriptors_inherited_it_serves |
//! | 10 nothing is left over | tests/ours/endurance.rs | sessions_that_fail_at_every_step_leave_nothing_behind |
//! | 10 | tests/ours/endurance.rs | a_server_that_refuses_leaves_nothing_behind |
//! | 11 hostile descriptors are closed | privsep/tests/cage.rs | descriptors beyond the permitted two are closed, and the message is refused |
//! | 11 | tests/ours/attack/on_the_zygote.rs | a_worker_serves_nothing_but_two_streams |
//! | 11 | tests/ours/attack/on_the_zygote.rs | a_worker_that_cannot_take_the_descriptors_serves_nothing |
//! | 11 | tests/ours/attack/on_the_logger.rs | a_logger_accepts_only_a_channel_as_a_workers_end |
//! | 11 | tests/ours/attack/on_the_parent.rs | a_worker_with_an_invalid_channel_ends_everything |
//! | 11 | tests/ours/attack/on_the_resolver.rs | a_resolver_accepts_only_a_channel_as_the_loggers_end |
//! | 12 a malformed message ends its sender | tests/ours/attack/on_the_logger.rs | a_worker_that_violates_the_protocol_is_disconnected_alone |
//! | 12 | tests/ours/attack/on_the_logger.rs | a_worker_disconnected_during_a_lookup_is_reported_once |
//! | 12 | tests/ours/attack/on_the_logger.rs | a_resolver_that_violates_the_protocol_is_disconnected_without_loss_of_records |
//! | 12 | tests/ours/attack/on_the_logger.rs | a_resolver_that_floods_the_logger_holds_up_no_record |
//! | 12 | tests/ours/attack/on_the_logger.rs | a_logger_that_gets_invalid_messages_exits_with_the_record_complete |
//! | 12 | tests/ours/attack/on_the_parent.rs | invalid_messages_of_the_zygote_end_everything |
//! | 12 | tests/ours/attack/on_the_parent.rs | invalid_messages_of_the_logger_end_everything |
//! | 12 | tests/ours/attack/on_the_parent.rs | invalid_messages_of_the_resolver_cost_only_names |
//! | 12 | tests/ours/attack/on_the_parent.rs | a_worker_reported_twice_ends_everything |
//! | 12 | tests/ours/attack/on_the_parent.rs | a_zygote_that_floods_the_parent_does_not_keep_the_operator_from_it |
//! | 12 | tests/ours/attack/on_the_resolver.rs | invalid_messages_of_the_parent_end_the_resolver |
//! | 12 | tests/ours/attack/on_the_resolver.rs | invalid_messages_of_the_logger_end_the_resolver |
//! | 12 | tests/ours/attack/on_the_zygote.rs | a_worker_takes_one_session_with_two_descriptors_and_no_other_message |
//! | 12 | tests/ours/attack/on_the_zygote.rs | a_worker_in_a_session_accepts_no_message |
//! | 12 | tests/ours/attack/on_the_zygote.rs | invalid_messages_of_the_parent_end_the_zygote_and_its_workers |
//! | 12 | tests/ours/attack/on_the_zygote.rs | a_zygote_forks_no_worker_before_it_is_prepared |
//! | 12 | privsep/tests/cage.rs | an oversized message is refused |
//! | 12 | privsep/src/wire.rs | trailing_bytes_are_refused |
//! | 12 | privsep/src/wire.rs | every_shorter_message_is_refused |
//! | 12 | privsep/src/wire.rs | a_claimed_length_beyond_the_limit_is_refused_before_memory_is_taken |
//! | 12 | src/logger/intake/session.rs | nothing_is_allowed_after_the_last_word |
//! | 12 | src/logger/intake/session.rs | no_claim_of_a_worker_overflows_a_sum |
//! | 13 records are out of a worker's reach | tests/ours/attack/on_the_logger.rs | an_output_is_open_in_the_logger_alone_and_only_to_be_added_to |
//! | 14 hostile data stays in its own session | tests/ours/weaknesses/forging.rs | traffic_cannot_forge_lines_of_a_shared_output |
//! | 14 | tests/compat/weaknesses/forging.rs | peers_cannot_send_terminal_commands |
//! | 14 | tests/compat/names.rs | with_a_silent_name_server_many_clients_take_bounded_memory |
//! | 14 | src/logger/intake/session.rs | no_more_than_one_record_goes_beyond_the_limit_whichever_side_it_is_from |
//! | 14 | tests/ours/attack/on_the_disk.rs | a_compromised_worker_exceeds_its_limit_by_one_piece_at_most |
//! | 14 | tests/ours/attack/on_the_disk.rs | with_parts_the_disk_is_bounded_even_for_a_worker_without_a_limit |
//! | 14 | tests/ours/parts.rs | rotate_count_bounds_the_disk |
//! | 15 a killed worker ends its session alone | tests/ours/loss.rs | a_killed_worker_ends_its_session_with_a_note_in_the_record |
//! | 15 | tests/ours/loss.rs | a_killed_worker_ends_no_other_session |
//! | 15 | tests/compat/weaknesses/disks.rs | a_killed_worker_takes_nothing_from_the_file |
//! | 16 nothing is forwarded after the loss of a role | tests/ours/loss.rs | a_lost_logger_ends_everything |
//! | 16 | tests/ours/loss.rs | bytes_that_a_server_got_are_recorded_whenever_the_parent_is_killed |
//! | 16 | tests/ours/attack/on_the_zygote.rs | a_worker_forwards_nothing_until_the_logger_has_its_session |
//! | 16 | tests/ours/loss.rs | a_lost_zygote_ends_everything |
//! | 16 | tests/ours/endurance.rs | a_logger_killed_under_load_ends_every_process |
//! | 16 | tests/ours/endurance.rs | a_zygote_killed_under_load_ends_every_process |
//! | 17 no process survives the parent | tests/ours/loss.rs | a_lost_parent_ends_everything |
//! | 17 | tests/ours/endurance.rs | a_parent_killed_under_load_ends_every_process |
//! | 17 | tests/ours/endurance.rs | the_death_of_the_parent_alone_ends_every_role |
//! | 17 | tests/ours/endurance.rs | the_end_of_the_channel_alone_ends_every_role |
//! | 17 | tests/ours/attack/on_the_logger.rs | records_that_wait_for_names_are_written_when_the_parent_is_lost |
//! | 18 a violation of a filter is reported | tests/ours/sandbox.rs | a_worker_killed_by_its_filter_is_named_with_its_session_and_a_remedy |
//! | 18 | tests/ours/sandbox.rs | a_role_killed_by_its_filter_is_named_with_a_remedy |
//! | 19 a bug is distinguished from an attack | privsep/tests/cage.rs | aborts |
//! | 19 | tests/probe/trial.rs | a bug ends as a bug in any environment |
//! | 20 a stopped process harms no other | tests/ours/endurance.rs | a_role_that_is_stopped_and_continued_has_lost_nothing |
//! | 21 the heap may be tuned | tests/ours/endurance.rs | sessions_are_served_with_every_heap_setting |
//! | 22 the tables compile for other architectures | tests/probe/harness.rs | the tables compile for aarch64 and riscv64 |
//! | 23 every row has a reason | tests/probe/harness.rs | every row of a table has a reason |
//! | 23 | tests/ours/policy.rs | every_row_of_a_table_is_used_or_marked |
//! | 23 | tests/ours/policy.rs | the_policy_is_printed_for_this_very_start |
//! | 24 a hostile start has no effect | tests/ours/roles.rs | a_set_uid_start_gives_up_root_for_good |
//! | 24 | tests/ours/set_uid.rs | every_hostile_start_is_confined_or_a_clean_error |
//! | 24 | tests/ours/set_uid.rs | without_arguments_and_with_a_hundred_thousand_it_is_a_usage_error |
//! | 24 | tests/ours/set_uid.rs | in_a_directory_that_is_gone_or_closed_it_serves |
//! | 24 | tests/ours/set_uid.rs | a_hard_link_in_another_place_is_the_same_program |
//! | 24 | tests/ours/set_uid.rs | with_no_new_privileges_the_bit_and_the_capability_give_nothing |
//! | 25 root's power touches no path | tests/compat/weaknesses.rs | a_set_uid_start_creates_no_socket_that_its_caller_could_not |
//! | 25 | tests/ours/set_uid.rs | no_output_is_opened_with_more_than_its_callers_rights |
//! | 25 | tests/ours/set_uid.rs | a_set_uid_caller_cannot_select_another_user |
//! | 26 a role started by hand has no power | privsep/tests/cage.rs | a role started by hand is rejected |
//! | 26 | tests/ours/set_uid.rs | a_role_started_by_hand_gives_its_caller_nothing |
//! | 26 | tests/ours/set_uid.rs | a_role_that_accepts_a_manual_start_has_no_privilege |
//! | 27 versions do not mix | tests/ours/attack/on_the_zygote.rs | a_role_of_another_version_refuses_to_start |
//! | 27 | tests/ours/set_uid.rs | a_deleted_or_replaced_program_keeps_its_version |
//! | 28 rotation loses nothing | tests/ours/daemon/rotation.rs | a_hundred_rotations_under_load_lose_and_double_nothing |
//! | 28 | tests/ours/daemon/rotation.rs | a_new_file_has_the_mode_and_the_owner_of_the_old_one |
//! | 28 | tests/ours/parts.rs | the_parts_of_every_format_are_the_record_and_none_is_too_large |
//! | 28 | tests/ours/parts.rs | a_closed_directory_is_reported_once_and_the_current_file_continues |
//! | 28 | tests/ours/daemon/logrotate.rs | a_signal_after_the_rotation_as_shipped_loses_nothing |
//! | 28 | tests/ours/daemon/logrotate.rs | a_copy_of_a_record_at_rest_loses_nothing |
//! | 28 | tests/ours/parts.rs | every_part_has_the_mode_and_the_owner_of_the_first |
//! | 28 | tests/ours/daemon/rotation.rs | sighup_rotates_in_the_foreground_without_a_terminal |
//! | 28 | tests/ours/daemon/rotation.rs | the_logger_also_handles_sighup |
//! | 28 | tests/ours/daemon/rotation.rs | rotation_into_a_closed_directory_is_reported_and_keeps_the_old_file |
//! | 29 write errors are reported, and memory is bounded | tests/compat/weaknesses/disks.rs | a_full_disk_is_reported_once_and_sets_the_exit_status |
//! | 29 | tests/compat/diagnostics/surroundings.rs | a_stdout_without_a_reader_stalls_the_session_and_loses_nothing |
//! | 29 | tests/ours/backpressure.rs | a_logger_that_is_stopped_holds_the_peers_up_and_loses_nothing |
//! | 29 | tests/ours/backpressure.rs | a_pipe_without_a_reader_takes_no_memory_in_any_format |
//! | 29 | tests/ours/backpressure.rs | a_write_error_of_a_device_is_reported_and_ends_the_sessions |
//! | 29 | tests/ours/parts.rs | a_full_disk_ends_the_sessions_and_every_part_is_whole |
//! | 30 syslog never delays a byte | tests/ours/daemon/syslog.rs | without_syslogd_it_starts_reports_that_and_finds_it_later |
//! | 30 | tests/ours/daemon/syslog.rs | a_syslogd_that_is_restarted_is_found_again |
//! | 30 | tests/ours/daemon/rsyslog.rs | a_late_or_restarted_rsyslogd_gets_the_number_of_lost_messages |
//! | 30 | tests/ours/daemon/rsyslog.rs | a_stuck_rsyslogd_delays_nothing_and_gets_the_number_of_lost_messages |
//! | 30 | tests/ours/daemon/syslog.rs | a_syslogd_that_is_stuck_delays_nothing |
//! | 31 inherited descriptors are checked first | tests/ours/inetd.rs | descriptor_0_has_to_be_a_stream_socket |
//! | 31 | tests/ours/inetd.rs | inetd_starts_one_for_each_client |
//! | 31 | tests/ours/inetd.rs | inetd_starts_one_for_all_clients |
//! | 31 | tests/ours/inetd.rs | no_message_reaches_an_inetd_client |
//! | 31 | tests/ours/activation.rs | inherited_descriptors_must_be_stream_sockets |
//! | 31 | tests/ours/activation.rs | a_socket_for_another_process_is_ignored |
//! | 31 | tests/ours/activation.rs | a_set_uid_start_ignores_sockets_of_its_caller |
//! | 31 | tests/ours/activation.rs | no_role_sees_the_sockets_or_the_variables |
//! | 31 | tests/ours/activation.rs | systemd_hands_its_socket_over_with_the_first_client |
//! | 31 | tests/ours/activation.rs | systemd_starts_one_for_each_client |
//! | 32 the sandbox needs no root | tests/ours/roles.rs | started_as_nobody_every_process_is_confined |
//! | 32 | tests/ours/units.rs | the_activated_service_works_within_its_units_restrictions |
//! | 32 | tests/ours/units.rs | the_root_daemon_works_within_its_units_restrictions |
//! | 32 | tests/ours/units.rs | the_per_client_service_works_within_its_units_restrictions |
//! | 32 | tests/ours/sandbox.rs | a_container_without_capabilities_has_every_restriction_that_needs_none |
//! | 32 | tests/ours/sandbox.rs | a_user_namespace_has_every_restriction_that_needs_no_capability |
//! | 32 | tests/ours/sandbox.rs | root_with_setuid_only_drops_and_reports_missing_restrictions |
//! | 32 | tests/ours/sandbox.rs | root_without_setuid_gets_an_error_with_a_remedy |
//! | 32 | tests/ours/sandbox.rs | an_ordinary_user_lacks_the_restrictions_that_need_root |
//! | 32 | tests/ours/sandbox.rs | root_has_the_whole_sandbox |
//! | 33 Landlock is a second line of defence, and its status is reported | tests/ours/sandbox.rs | without_landlock_it_serves_and_reports_that_when_verbose |
//! | 33 | tests/ours/sandbox.rs | without_landlock_the_whole_sandbox_is_not_there |
//! | 34 no port of root after the drop | tests/probe/trial.rs | a call with other arguments is fatal |
//! | 35 no core, no tracing | tests/ours/roles.rs | a_dropped_program_leaves_no_core_and_cannot_be_traced |
//! | 35 | tests/ours/roles.rs | another_process_of_the_same_user_can_neither_trace_nor_read_it |
//! | 35 | tests/probe/attacks.rs | abort of the zygote |
//! | 36 the parent is confined, too | tests/probe/trial.rs | a call outside the list is fatal |
//! | 36 | tests/ours/roles.rs | once_it_listens_no_process_of_root_is_root |
//! | 37 shortages reject clients, and recover | tests/ours/diagnostics/surroundings.rs | with_too_few_descriptors_it_reports_that_and_serves |
//! | 37 | tests/ours/endurance/shortage.rs | with_few_descriptors_a_crowd_waits_and_nothing_spins |
//! | 37 | tests/ours/endurance/shortage.rs | with_few_processes_a_crowd_waits_and_nothing_spins |
//! | 37 | tests/ours/endurance.rs | sessions_held_at_once_are_exact_and_confined |
//! | 37 | tests/ours/weaknesses.rs | clients_wait_for_a_process_and_are_then_served |
//! | 37 | tests/ours/weaknesses.rs | a_bridge_that_was_short_of_processes_and_is_idle_serves_the_next_client |
//! | 37 | tests/ours/relay/dialling.rs | a_server_that_does_not_answer_is_given_up_after_the_time_out |
//! | 37 | tests/ours/bursts.rs | clients_beyond_max_per_client_are_rejected_with_one_notice |
//! | 38 every promise has its test | tests/ours/promises.rs | every_promise_has_a_test_and_every_test_named_exists |
//! | 38 | tests/ours/promises.rs | every_test_in_the_security_paper_exists |
//! | 40 no process waits on a descriptor of another | tests/ours/attack/on_the_logger.rs | a_lingering_socket_from_a_worker_delays_no_record |
//! | 40 | tests/ours/attack/on_the_logger.rs | a_lingering_socket_from_the_resolver_delays_no_record |
//! | 40 | tests/ours/attack/on_the_logger.rs | a_lost_workers_connection_delays_no_other_session |
//! | 40 | tests/ours/attack/on_the_logger.rs | the_kernel_refuses_descriptors_where_none_may_come |
//! | 40 | tests/ours/attack/on_the_parent.rs | a_logger_that_sends_a_lingering_socket_ends_everything_at_once |
//! | 40 | tests/ours/attack/on_the_parent.rs | a_lingering_socket_from_the_resolver_delays_no_session |
//! | 40 | tests/ours/attack/on_the_zygote.rs | a_worker_keeps_a_unix_socket_until_the_parent_holds_it_no_more |
//! | 40 | tests/ours/attack/by_a_peer.rs | a_lingering_socket_in_the_queue_of_a_refused_client_delays_no_other |
//! | 39 no name costs a session | tests/ours/names/hostile.rs | hostile_name_server_answers_cost_at_most_a_name |
//! | 39 | tests/ours/names/hostile.rs | a_truncated_answer_is_followed_up_by_tcp_at_the_start |
//! | 39 | tests/ours/names/hostile.rs | lookups_that_hang_end_and_others_are_shown_by_name_again |
//! | 39 | tests/ours/names/hostile.rs | a_killed_lookup_is_reported_and_costs_one_name |
//! | 39 | tests/ours/names/hostile.rs | a_lookup_killed_at_the_start_is_an_error_with_a_remedy |
//! | 39 | tests/ours/names/modules.rs | nss_modules_cost_at_most_a_name |
//! | 39 | tests/ours/loss.rs | a_lost_resolver_costs_only_names |
//! | 39 | tests/ours/loss.rs | without_its_resolver_new_sessions_are_shown_as_numbers_at_once |
//! | 39 | tests/ours/endurance.rs | a_resolver_killed_under_load_costs_no_session |
//! | 39 | tests/ours/notify.rs | a_hanging_or_lost_resolver_does_not_trigger_the_watchdog |
//! | 39 | tests/ours/attack/on_the_parent.rs | a_resolver_that_floods_the_parent_costs_only_names |
//! | 48 a lookup reaches name servers and NSS daemons only | tests/probe/trial.rs | a call on the list is survived |
//! | 48 | tests/ours/names/modules.rs | lookups_reach_daemons_only_if_a_module_is_configured |
//! | 48 | tests/ours/names/hostile.rs | a_lookup_holds_nothing_of_the_resolver_and_can_make_no_process |
//! | 43 other set-id bits of the file are refused | tests/ours/set_uid.rs | other_set_id_bits_are_refused_and_touch_nothing |
//! | 44 a start creates no predictable name | tests/ours/sandbox.rs | starting_creates_no_name_in_any_directory |
//! | 44 | tests/ours/containers.rs | on_a_read_only_root_file_system_it_has_the_whole_sandbox |
//! | 32 | tests/ours/containers.rs | root_of_a_single_user_namespace_continues_as_that_user |
//! | 32 | tests/ours/containers.rs | root_of_a_namespace_with_one_user_that_is_root_outside_is_refused |
//! | 32 | tests/ours/containers.rs | calls_that_a_profile_forbids_have_their_fallback |
//! | 47 one bound for all data that waits in the logger | tests/compat/names.rs | with_a_silent_name_server_many_clients_take_bounded_memory |
//! | 47 | src/logger/intake/session.rs | memory_of_records_that_wait_for_names_is_counted_and_given_back |
//! | 47 | tests/ours/backlog.rs | sessions_that_are_over_and_not_recorded_are_bounded_and_the_next_client_waits |
//! | 47 | tests/ours/backlog.rs | short_sessions_one_after_the_other_are_recorded_as_they_come |
//! | 41 shutdown has a deadline, whatever one process or peer does | tests/ours/shutdown.rs | a_stopped_worker_is_killed_at_the_deadline_with_a_note_in_the_record |
//! | 41 | tests/ours/shutdown.rs | a_worker_that_floods_the_logger_is_killed_at_the_deadline |
//! | 41 | tests/ours/shutdown.rs | a_worker_that_lingers_over_a_peer_that_never_reads_ends_in_time |
//! | 41 | tests/ours/shutdown.rs | with_the_resolver_stopped_it_ends_in_time |
//! | 41 | tests/ours/shutdown.rs | with_the_zygote_stopped_it_ends_in_time |
//! | 41 | tests/ours/shutdown.rs | with_the_logger_stopped_it_ends_in_time_and_nothing_is_left |
//! | 41 | src/parent/supervisor/phase.rs | once_it_ends_time_alone_brings_it_to_an_end |
//! | 41 | src/parent/supervisor/phase.rs | no_step_leads_back_or_gives_more_time |
//! | 41 | src/parent/supervisor/phase.rs | three_signals_end_it_from_every_state |
//! | 41 | tests/ours/attack/by_a_peer.rs | a_lingering_socket_in_the_queue_of_a_listener_does_not_put_off_the_end |
//! | 41 | tests/ours/attack/by_a_peer.rs | without_a_worker_a_lingering_socket_does_not_put_off_the_end |
//! | 42 every retry has a delay | tests/ours/endurance/shortage.rs | with_too_many_descriptors_in_flight_retries_are_delayed |
//! | 42 | tests/ours/endurance/shortage.rs | a_lookup_at_the_start_waits_for_a_process |
//! | 42 | tests/ours/endurance/shortage.rs | killed_idle_workers_are_replaced_after_a_delay |
//! | 42 | tests/ours/endurance/shortage.rs | with_few_processes_a_crowd_waits_and_nothing_spins |
//! | 42 | tests/ours/endurance/shortage.rs | with_few_descriptors_a_crowd_waits_and_nothing_spins |
//! | 42 | tests/ours/relay/dialling.rs | a_unix_server_with_a_full_queue_serves_every_client_in_the_end |
//! | 42 | tests/ours/relay/dialling.rs | failed_dialling_is_retried_with_a_delay |
//! | 40 | tests/probe/trial.rs | a call with other arguments is fatal |
//! | 45 no text of another process acts | src/parent/startup/roles.rs | the_last_words_of_a_role_act_on_no_terminal |
//! | 45 | privsep/src/text.rs | nothing_that_acts_is_left_of_any_character |
//! | 45 | privsep/src/text.rs | lines_of_ours_stay_lines |
//! | 45 | src/logger/notices/syslog.rs | control_characters_are_escaped |
//! | 45 | src/record/visible.rs | what_acts_is_spelled_out |
//! | 35 | tests/probe/attacks.rs | a constant becomes writable |
//! | 21 | tests/ours/audit.rs | whatever_the_environment_no_process_breaks_its_sandbox |
//! | 23 | tests/ours/audit.rs | with_an_open_sandbox_everyday_sessions_leave_no_record |
//! | 41 | tests/ours/attack/on_the_parent.rs | a_role_that_floods_the_parent_after_term_does_not_put_off_the_end |
//! | 12 | tests/ours/attack/by_the_converter.rs | invalid_messages_of_the_converter_end_the_run |
//! | 12 | tests/ours/attack/by_the_converter.rs | a_converter_that_violates_the_protocol_is_disconnected_and_what_came_before_is_written |
//! | 12 | tests/ours/attack/on_the_converter.rs | invalid_messages_of_the_parent_end_the_converter |
//! | 11 | tests/ours/attack/on_the_converter.rs | a_converter_accepts_only_a_channel_as_the_loggers_end |
//! | 14 | tests/ours/attack/on_the_converter.rs | whatever_the_record_is_the_converter_reports_a_flaw_and_ends_in_order |
//! | 45 | tests/ours/attack/by_the_converter.rs | no_text_of_a_converter_acts_on_a_terminal_or_forges_a_line |
//! | 40 | tests/ours/attack/by_the_converter.rs | a_lingering_socket_from_the_converter_holds_up_neither_logger_nor_parent |
//! | 41 | tests/ours/attack/by_the_converter.rs | a_stopped_converter_or_logger_does_not_keep_a_reading_from_its_end |
//! | 41 | tests/ours/attack/by_the_converter.rs | a_converter_that_floods_the_logger_after_term_does_not_put_off_the_end |
//! | 41 | tests/ours/attack/by_the_converter.rs | a_logger_that_floods_the_parent_does_not_keep_a_reading_from_its_end |
//! | 40 | tests/ours/attack/blocking.rs | a_zygote_that_sends_a_lingering_socket_ends_everything_at_once |
//! | 40 | tests/ours/attack/blocking.rs | a_lingering_socket_from_the_logger_ends_the_resolver_at_once |
//! | 41 | tests/ours/attack/blocking.rs | a_logger_that_floods_the_parent_does_not_keep_the_operator_from_it |
//! | 41 | tests/ours/attack/blocking.rs | a_role_that_reads_nothing_more_and_floods_ends_everything_at_once |
//! | 39 | tests/ours/attack/blocking.rs | a_stopped_resolver_delays_no_session |
//! | 39 | tests/ours/attack/blocking.rs | a_resolver_that_reads_no_question_delays_no_record |
//! | 39 | tests/ours/attack/blocking.rs | a_logger_that_floods_the_resolver_or_reads_no_answer_delays_no_address |
//! | 20 | tests/ours/attack/blocking.rs | a_worker_that_reads_no_acknowledgement_delays_no_other_session |
//! | 12 | tests/ours/attack/blocking.rs | answers_that_come_twice_or_for_no_question_change_nothing |
//! | 23 | tests/ours/policy.rs | calls_and_rows_are_compared_by_their_arguments |
//! | 46 | tests/ours/policy.rs | the_policy_names_the_restrictions_that_a_start_reads_back |
//! | 46 what is said of the cage was tried | tests/probe/harness.rs | nothing is forwarded if any step of any role fails |
//! | 46 | tests/probe/harness.rs | a wall that is only said to be up is none |

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
    let all: BTreeSet<u32> = (1..=48).collect();
    assert_eq!(promises, all);
}

#[test]
fn every_test_in_the_security_paper_exists() {
    let named: Vec<(u32, &str)> = table::rows(include_str!("../../SECURITY.md"), "| ")
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
