"""The tests of each "cannot" on the page "Security model".

A key is the sentence of the page, without its period. The values are tests, as pytest names them below the
folder ``tests``, without parameters.
"""

from __future__ import annotations

THREATS: dict[str, tuple[str, ...]] = {
    # The write key of the bucket
    "Cannot read contents, file names or the details of a database": (
        "management/test_secrets.py::test_stored_objects_contain_no_plaintext",
        "management/test_secrets.py::test_readable_objects_say_nothing_about_the_contents",
    ),
    "Cannot have a backup of their own decoded: each command that would do so refuses it": (
        "bad_input/test_threats.py"
        "::test_backup_that_no_trusted_key_signed_is_refused_by_every_command_that_decodes_it",
        "operations/test_signing.py::test_backup_signed_with_another_key_is_refused",
        "operations/keys/test_identity_check.py::test_check_identity_does_not_read_untrusted_backups",
    ),
    "Cannot have it restored with `--accept-unsigned` by a superuser, or by a program with known holes": (
        "operations/staging/test_origin.py::test_untrusted_backup_is_refused_with_a_superuser",
        "operations/staging/test_origin.py::test_accepted_unsigned_backup_with_vulnerable_program_is_refused",
        "operations/staging/test_origin.py::test_untrusted_dump_with_dangerous_sql_is_refused",
    ),
    "Cannot pass off an altered manifest or object, or the signature of another backup": (
        "management/test_damaged.py::test_restore_of_a_damaged_object_is_refused",
        "bad_input/test_stored.py::test_restore_of_swapped_objects_fails",
        "operations/test_signing.py::test_changed_manifest_is_refused",
        "operations/test_signing.py::test_signature_moved_to_another_backup_is_refused",
        "operations/transfer/test_download.py::test_altered_block_never_reaches_the_decoder",
        "operations/transfer/test_download.py::test_object_without_blocks_swapped_between_two_passes_is_refused",
    ),
    "Cannot switch encryption off for a stored object": (
        "bad_input/test_stored.py::test_plain_object_in_an_encrypted_backup_is_refused",
    ),
    "Cannot pass off a signed backup of another environment or `PREFIX` as one of this project": (
        "operations/test_foreign.py::test_signed_backup_of_another_environment_is_refused_unless_it_is_accepted",
        "operations/test_foreign.py::test_storage_copied_under_another_prefix_is_refused",
        "operations/test_foreign.py::test_show_backup_of_another_environment_ends_with_status",
    ),
    "Cannot make a backup of their own the one that a restore chooses, or one for which another is pruned": (
        "bad_input/test_threats.py"
        "::test_planted_newer_backup_is_neither_restored_nor_lets_prune_remove_anything",
        "operations/test_signing.py::test_untrusted_newest_backup_is_not_chosen",
        "operations/test_signing.py"
        "::test_prune_never_removes_untrusted_backups_nor_trusted_ones_because_of_them",
    ),
    "Cannot make `prune_backups` delete what a backup needs by replacing its manifest": (
        "bad_input/test_threats.py::test_prune_backups_deletes_no_pack_for_somebody_who_replaced_a_manifest",
        "operations/maintain/pruning/test_untrusted.py"
        "::test_prune_keeps_the_packs_of_a_backup_whose_manifest_somebody_has_replaced",
        "operations/maintain/pruning/test_untrusted.py::test_unsigned_manifest_that_claims_a_rotation_loses_no_packs",
        "operations/maintain/pruning/test_prune.py::test_prune_unreadable_manifest_keeps_all_packs",
    ),
    "Cannot have their packs named by the next backup of a server, which would sign them": (
        "operations/backup/trees/test_parent_index.py"
        "::test_backup_names_no_pack_of_a_manifest_that_somebody_has_replaced",
        "operations/test_lists.py::test_forged_parent_is_not_signed_by_the_next_backup",
    ),
    "Cannot make a backup count as drilled, clear damage, or accept a suspect copy": (
        "operations/test_signed_annotations.py::test_check_without_a_trusted_signature_proves_nothing",
        "operations/test_signed_annotations.py::test_signed_damage_is_not_cleared_by_an_unsigned_check",
        "operations/test_signed_annotations.py::test_acceptance_counts_only_with_a_trusted_signature",
    ),
    "Cannot end an alarm of `spot_check` by replacing its record with one of their own": (
        "operations/spot_check/test_spot_check.py"
        "::test_alarm_whose_record_somebody_has_changed_stays_an_alarm",
    ),
    "Cannot hide damage or age with a date in the future": (
        "operations/maintain/test_standing.py::test_monitor_check_dated_in_the_future_is_not_recent",
        "operations/maintain/test_standing.py"
        "::test_check_dated_in_the_future_hides_no_damage_that_is_found_now",
        "operations/maintain/test_future_dates.py::test_backup_dated_in_the_future_is_never_the_newest",
    ),
    "Cannot destroy what a manifest names in a bucket with versions: the right version is read": (
        "operations/test_versions.py"
        "::test_objects_that_somebody_overwrote_or_deleted_are_read_from_their_version",
    ),
    "Cannot write outside the folder that is restored": (
        "management/test_damaged.py::test_restore_with_forged_manifest_is_refused",
        "trees/model/test_names.py::test_check_path_outside_the_root_raises",
        "trees/extract/test_writer.py::test_writer_symlink_in_the_path_is_not_followed",
        "trees/extract/test_writer.py::test_writer_hard_link_to_the_outside_raises",
        "trees/swap/test_swap.py::test_make_staging_replaced_by_a_symlink_changes_nothing_elsewhere",
    ),
    "Cannot forge lines of the output of a command, or control the terminal": (
        "management/test_output.py::test_text_from_storage_cannot_forge_a_line",
        "management/test_output.py::test_file_name_cannot_forge_a_line",
        "management/test_commands.py::test_text_from_storage_cannot_control_the_terminal",
    ),
    # The delete key of the bucket
    "Cannot delete a backup or an object unnoticed: `monitor_backups` alarms, also if all is deleted": (
        "operations/test_s3.py::test_monitor_s3_notices_deleted_objects_and_manifests",
        "operations/monitor/test_run.py::test_monitor_empty_storage_is_unhealthy",
        "operations/history/test_storage_memory.py"
        "::test_backup_into_a_storage_without_the_last_backup_is_stored_and_reported",
    ),
    "Cannot pass a deletion off as the work of `prune_backups`": (
        "bad_input/test_threats.py::test_deletion_passed_off_as_pruning_alarms",
        "operations/maintain/test_lost.py::test_removal_that_only_the_run_record_claims_is_a_loss",
        "operations/maintain/test_lost.py"
        "::test_removal_record_that_was_not_signed_for_the_backup_does_not_count",
    ),
    "Cannot turn a deleted manifest into more deletions: what it may have named is kept": (
        "operations/maintain/test_lost.py::test_prune_lost_manifest_keeps_its_objects_and_all_packs_of_its_host",
        "operations/maintain/test_lost.py::test_run_record_that_cannot_be_read_keeps_the_packs_of_all_hosts",
    ),
    "Cannot end a pin, or clear damage, that a host has seen, by deleting the record": (
        "operations/history/test_seen.py::test_pin_that_somebody_deleted_still_holds_and_alarms",
        "operations/history/test_seen.py::test_damage_whose_record_somebody_deleted_still_counts_and_alarms",
    ),
    "Cannot destroy versions that the key may not delete: `--as-of` reads them": (
        "operations/test_versions.py::test_as_of_restores_what_was_there_before_the_bucket_was_emptied",
    ),
    "Cannot delete or shorten a lock of mode `COMPLIANCE` before it ends": (
        "store/s3/test_locks.py::test_lock_in_compliance_mode_cannot_be_undone",
    ),
    # The write key of one of several storages
    "Cannot clear damage, end a pin or excuse a loss in one storage with a signed document from the other": (
        "operations/copies/test_attacks.py::test_check_of_another_storage_clears_no_damage",
        "operations/copies/test_attacks.py::test_end_of_a_pin_in_another_storage_ends_no_pin",
        "operations/copies/test_attacks.py::test_removal_from_another_storage_does_not_excuse_a_loss",
    ),
    "Cannot have objects of a copy replaced by what they store, and even sign, among the backups": (
        "operations/copies/test_attacks.py"
        "::test_copy_replaces_no_object_that_another_backup_of_the_copy_needs",
    ),
    "Cannot have an unsigned backup signed by planting it in a copy first": (
        "operations/copies/test_attacks.py::test_backup_planted_in_a_new_copy_is_not_signed_later",
    ),
    # A server that makes backups
    "Cannot read a backup without the identity, which is not on the server": (
        "management/test_errors.py::test_command_with_wrong_identity_fails",
        "management/test_secrets.py::test_stored_objects_contain_no_plaintext",
    ),
    "Cannot have the server encrypt to its own signing key": (
        "test_checks.py::test_check_encryption_to_a_signing_key_is_e031",
    ),
    "Cannot sign for other hosts, parts or kinds of documents than its entry in `TRUSTED` names": (
        "operations/test_signing.py::test_backup_signed_without_the_right_is_refused",
        "operations/test_revocation.py::test_several_signers_each_sign_for_their_own_host_only",
        "operations/maintain/test_lost.py::test_removal_signed_by_a_key_for_another_host_does_not_count",
        "operations/maintain/test_lost.py"
        "::test_removal_signed_by_a_limited_key_does_not_count_where_nobody_knows_the_host",
    ),
    "Cannot make `prune_backups` delete the objects of another host by signing a manifest under its id": (
        "operations/maintain/pruning/test_untrusted.py"
        "::test_prune_removes_no_folder_whose_manifest_another_host_has_replaced",
        "operations/maintain/pruning/test_untrusted.py"
        "::test_prune_keeps_the_packs_of_a_backup_whose_manifest_another_host_has_replaced",
    ),
    "Cannot clear or hide damage of other hosts and parts with a signed check": (
        "operations/test_signed_annotations.py"
        "::test_key_of_another_host_or_part_neither_clears_damage_nor_hides_a_check",
    ),
    "Cannot retire a host to hide that its backups have stopped": (
        "operations/maintain/test_retire.py"
        "::test_retirement_counts_only_with_the_signature_of_a_key_that_may_retire_hosts",
        "operations/maintain/test_retire.py"
        "::test_retirement_stored_again_hides_neither_another_host_nor_one_that_has_returned",
    ),
    "Cannot, once its key is revoked, make or change a backup that others trust, whatever its date": (
        "operations/test_revocation.py"
        "::test_revoked_key_counts_for_backups_that_this_host_knew_and_for_no_others",
        "operations/test_revocation.py"
        "::test_revoked_key_does_not_count_for_a_changed_manifest_of_a_known_backup",
    ),
    # The database role
    "Cannot empty a database or replace its server unnoticed: the copy is suspect, and prunes no good one": (
        "standing/test_judge.py::test_judge_database_is_suspect_by_rows_or_bytes",
        "operations/backup/test_suspects.py::test_backup_of_a_database_that_was_only_migrated_is_suspect",
        "operations/backup/test_other_server.py"
        "::test_backup_of_another_server_counts_for_nothing_until_accepted",
    ),
    "Cannot hide rows from a backup by row-level security: the backup fails": (
        "bad_input/test_database.py::test_backup_by_role_with_hidden_rows_fails",
    ),
    "Cannot block a backup without being named": (
        "bad_input/test_database.py::test_backup_waiting_for_a_lock_names_the_holder",
    ),
    "Cannot enter the staging database of a restore before the swap, unless the restore uses the same role": (
        "databases/postgresql/restore/test_staging.py::test_staging_database_refuses_other_roles_until_swap",
    ),
    "Cannot have a dump change what identifies the live database, or its owner and settings, unnoticed": (
        "operations/staging/test_live_state.py::test_dump_that_changes_the_live_database_is_reported",
        "operations/staging/test_live_state.py::test_archive_that_commits_a_restore_in_place_is_reported",
    ),
    "Cannot use the power of the live role in a drill with `--own-server`": (
        "operations/drill/test_place.py::test_own_server_restores_what_nobody_has_signed",
    ),
    "Cannot have event triggers restored, or a restore contact foreign servers": (
        "databases/postgresql/restore/archive/test_tables.py::test_load_leaves_event_triggers_out",
        "databases/postgresql/restore/archive/test_left_out.py::test_load_does_not_contact_foreign_servers",
    ),
    "Cannot put values of rows into error messages, logs or mails": (
        "operations/restore/test_row_values.py::test_failed_restore_shows_no_values_of_rows",
        "operations/restore/test_row_values.py::test_failed_migration_of_a_restore_shows_no_values_of_rows",
        "databases/test_redact.py::test_without_values_hides_any_value",
    ),
    # The identity
    "Cannot sign with it": (
        "bad_input/test_threats.py::test_signing_key_opens_no_backup_and_identity_signs_none",
    ),
    "Cannot open backups that were made for other recipients only": (
        "operations/keys/test_identity_check.py::test_check_identity_opens_the_backups_of_its_recipient_only",
        "management/test_errors.py::test_command_with_wrong_identity_fails",
    ),
    "Cannot use an identity file that a passphrase protects without the passphrase": (
        "streams/test_age_keys.py::test_protected_identity_file_without_the_passphrase_stays_closed",
    ),
    # The signing key
    "Cannot open a backup with it": (
        "bad_input/test_threats.py::test_signing_key_opens_no_backup_and_identity_signs_none",
    ),
    "Cannot sign backups with a key that may sign checks only": (
        "operations/test_signed_annotations.py"
        "::test_key_that_may_sign_checks_only_drills_and_signs_no_backup",
    ),
    "Cannot use a signature for another document, another kind of document, or another version of a backup": (
        "operations/test_signed_annotations.py::test_check_replayed_for_another_backup_proves_nothing",
        "operations/test_signed_annotations.py::test_signature_of_another_kind_of_document_does_not_count",
        "operations/test_signed_annotations.py"
        "::test_check_of_an_earlier_version_of_the_manifest_proves_nothing",
    ),
    # Logs, process lists and mails
    "Cannot see a password or a private key in arguments, output, storage or files that others may read": (
        "databases/postgresql/test_client_access.py::test_running_pg_dump_shows_no_secret",
        "databases/postgresql/test_client_access.py::test_client_access_passfile_is_private_and_removed",
        "management/test_secrets.py::test_new_files_are_private_and_output_contains_no_secret",
    ),
}
