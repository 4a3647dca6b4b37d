"""Every row of the framing tables and of the fault matrix, and the tests that hold it.

A test is named as `module::test`, below `tests/`; `request: NAME` and `response: NAME` are cases of the wire tables
(`NAME…` stands for all whose name begins so), which run whole, in pieces, and three times over on a memory that warms up.
"""

# ruff: noqa: E501
# fmt: off

from __future__ import annotations

from dataclasses import dataclass

LATER = "waits for"  # a row whose feature does not exist yet names it instead of tests


@dataclass(frozen=True, slots=True)
class Row:
    """One row: what happens, what comes of it, which tests hold it."""

    what: str
    outcome: str
    tests: tuple[str, ...]


def _row(what: str, outcome: str, *tests: str) -> Row:
    return Row(what, outcome, tests)


REQUESTS = (
    _row("Transfer-Encoding and Content-Length together", "400 framing_conflict", "request: cl then te", "request: te then cl…", "request: cl and te in odd case", "unit/data/test_smuggling.py::test_no_disguise_makes_two_requests_of_one"),
    _row("two Content-Length, or a list", "400 framing_conflict", "request: cl twice…", "request: cl list…"),
    _row("Content-Length that is no plain number, or over 2^63−1", "400 framing_conflict", "request: cl plus…", "request: cl minus…", "request: cl hex", "request: cl empty", "request: cl 2^63", "request: cl 2^64", "request: cl 20 digits", "request: cl nul"),
    _row("Transfer-Encoding other than one `chunked`", "501 unsupported_coding", "request: te gzip…", "request: te identity…", "request: te xchunked", "request: te cow"),
    _row("malformed Transfer-Encoding", "400 framing_conflict", "request: te comma first", "request: te comma last", "request: te quoted", "request: te with parameter", "request: te tab after", "request: te on two lines", "request: te twice on one line"),
    _row("Transfer-Encoding in HTTP/1.0", "400 framing_conflict", "request: te in http/1.0", "request: te and cl in http/1.0"),
    _row("chunk size or chunk end malformed", "400 bad_chunk", "request: chunk size: …", "request: chunk: lf as the last line", "property/test_framing.py::test_any_cut_gives_the_same_verdict_on_a_broken_body"),
    _row("chunk extensions malformed or too long", "400 bad_chunk", "request: chunk size: cr in a quoted extension", "request: chunk size: an extension of 300 bytes", "request: chunk size: extensions of 20 kilobytes"),
    _row("folded lines", "400 bad_header", "request: fold…", "request: te in a fold", "request: te value in a fold"),
    _row("space before the colon, no token, no name", "400 bad_header", "request: space before the colon", "request: tab before the colon", "request: empty name", "request: no colon", "request: 0x…"),
    _row("control characters, bare CR, bare LF", "400 bad_header", "request: bare cr…", "request: bare lf…", "request: cr cr lf…", "request: 0x00 in a value", "request: obs-text in a value"),
    _row("head over 32 KiB, line over 16 KiB, over 100 fields", "431 header_too_large", "request: head of 33 kilobytes", "request: line of 17 kilobytes", "request: 101 fields", "request: 100 fields", "wire/test_limits.py::test_the_head_limit_is_the_listeners"),
    _row("target over 8 KiB", "414 uri_too_long", "request: target of 8193 bytes", "request: target of 8000 bytes", "request: query of 9000 bytes"),
    _row("trailers over 8 KiB or 32 fields", "431 header_too_large", "request: trailers of 9 kilobytes", "request: 33 trailers…", "request: 32 trailers"),
    _row("trailers that name framing or Host", "refused, or dropped", "request: trailer Host", "request: trailer Content-Length", "request: trailer Transfer-Encoding", "request: trailer X-Forwarded-For"),
    _row("Host missing, doubled, empty, malformed", "400 bad_host", "request: no Host…", "request: Host …", "request: http/1.0 without Host"),
    _row("HTTP/0.9, 2.0, RTSP, ICE", "505 unsupported_version", "request: http/0.9…", "request: version …"),
    _row("HTTP/1.2 to 1.9, lower case", "505 unsupported_version", "request: version HTTP/1.2", "request: version HTTP/1.9", "request: version http/1.1"),
    _row("the HTTP/2 preface", "closed, logged as 505", "wire/test_requests.py::test_the_h2_preface_on_a_plain_port_closes_and_is_logged_as_505"),
    _row("unknown method", "501 unsupported_method", "request: method unknown", "request: method in lower case", "request: method of 200 bytes"),
    _row("TLS on a plain port", "400 tls_on_plain_port", "request: tls client hello"),
    _row("plain HTTP on a TLS port", "400 plain_on_tls_port", f"{LATER} TLS listeners"),
    _row("target with a character that it may not hold", "400 bad_target", "request: target tab", "request: target nul", "request: target fragment", "request: target backslash", "request: target percent…", "request: target non-ascii", "request: target with a space"),
    _row("`*` without OPTIONS, relative target", "400 bad_target", "request: target star with get", "request: star with post", "request: target relative", "request: options star"),
    _row("CONNECT", "405 method_not_allowed", "request: connect…"),
    _row("absolute form", "served, or 400", "request: target absolute…", "request: target userinfo", "request: target ftp"),
    _row("after any of these", "the connection is closed; the client reads the answer all the same", "wire/test_matrix.py::test_a_refusal_reaches_a_client_that_goes_on_sending", "unit/data/test_client.py::test_a_lingering_client_may_not_send_for_ever"),
    _row("no request line at all", "logged without method and path", "wire/test_matrix.py::test_what_has_no_request_line_is_logged_without_method_and_path"),
    _row("blank lines before a request", "two are accepted", "request: one empty line first", "request: two empty lines first", "request: three empty lines first"),
    _row("names with `_` that an upstream would merge", "dropped", "request: underscored …", "request: te written with underscore", "request: cl written with underscore", "request: underscore in a name"),
    _row("pipelined requests", "in order; a flood is held back", "wire/test_forwarding.py::test_pipelined_requests_are_answered_in_order", "wire/test_forwarding.py::test_a_flood_of_pipelined_requests_is_held_back_and_not_refused"),
    _row("any cut of any of these", "the same outcome", "unit/data/test_cuts.py::test_a_request_means_the_same_wherever_it_is_cut", "unit/data/test_cuts.py::test_a_request_means_the_same_each_time_on_memory_that_warms_up", "wire/test_bodies.py::test_a_message_split_anywhere_is_the_same_message", "property/test_wire.py::test_any_cut_of_requests_gives_the_same_requests_and_answers_in_order", "fuzz/test_targets.py::test_changed_seeds_hold"),
)

RESPONSES = (
    _row("no HTTP, malformed status line", "502 bad_response", "response: status line: …", "response: garbage", "response: http/0.9 body", "response: a request", "response: tls"),
    _row("malformed field", "502 bad_response", "response: field: …", "response: bare lf everywhere"),
    _row("two framings, or one that lies", "502 bad_response", "response: framing: …", "response: chunked from http/1.0", "response: chunked with a 204"),
    _row("bad chunk before the head went on", "502 bad_response, or cut", "response: chunk size at once: …"),
    _row("bad chunk later", "cut with RST", "response: chunked, bad size later", "response: chunked, no crlf after a chunk", "response: chunked, lf after a size"),
    _row("status below 100 or above 599", "502 bad_response", "response: status line: status 099", "response: status line: status 600"),
    _row("101 that nobody asked for", "502 upgrade_failed", "response: 101 that nobody asked for", "wire/test_upgrade.py::test_a_101_with_another_token_is_an_upgrade_failed"),
    _row("head over 64 KiB or 200 fields", "502 response_header_too_large", "response: head of 70 kilobytes", "response: head without an end", "response: 300 fields"),
    _row("bytes on an idle connection", "unsolicited_response, closed", "wire/test_responses.py::test_a_response_on_an_idle_pooled_connection_is_thrown_away"),
    _row("bytes after a response", "delivered; the connection is not used again", "response: bytes after a sized body", "response: crlf after a sized body", "response: a response after a…"),
    _row("body shorter than announced, chunked body cut", "response_truncated: cut with RST, never a last chunk", "response: sized, fin…", "response: sized, rst", "response: chunked, fin…", "response: chunked, rst inside a chunk"),
    _row("body where none is allowed", "delivered without it, the connection is not used again", "response: a body with a 204", "response: a body with a 304", "response: a body with a head", "response: a chunked body with a head"),
    _row("1xx", "passed on, at most 16", "response: 16 times 103 first", "response: 17 times 103", "response: 10000 times 103", "wire/test_matrix.py::test_a_flood_of_interim_responses_is_cut_off_and_held_in_no_memory"),
    _row("any cut of any of these", "the same outcome", "unit/data/test_cuts.py::test_a_response_means_the_same_wherever_it_is_cut", "property/test_wire.py::test_any_cut_of_a_response_gives_the_same_response_and_keeps_the_connection"),
    _row("the next client", "never sees a byte of it", "wire/test_responses.py::test_response", "property/test_wire.py::test_a_damaged_response_ends_in_a_whole_answer_or_in_a_broken_connection"),
)

FAULTS = (
    _row("C1 one of two targets refuses", "200 from the other", "wire/test_responses.py::test_one_of_two_refuses_and_every_request_is_served"),
    _row("C2 all refuse", "502 connect_refused at once", "wire/test_responses.py::test_all_refuse_is_a_502_at_once"),
    _row("C3 one is a black hole", "200 after the connect limit", "wire/test_responses.py::test_one_of_two_is_a_hole_and_every_request_is_served"),
    _row("C4 all are", "504 connect_timeout", "wire/test_responses.py::test_a_hole_alone_is_a_504_after_the_connect_limit"),
    _row("C5 none healthy, no panic", "503 no_healthy_target with Retry-After", "wire/test_matrix.py::test_nobody_healthy_and_no_panic_is_a_503_at_once"),
    _row("C6 queue full", "503 queue_full", "wire/test_limits.py::test_a_full_group_queues_one_and_refuses_the_next", "wire/test_limits.py::test_a_queued_request_is_served_when_a_place_is_free"),
    _row("C7 a name that never resolved", "503 no_targets, nobody waits for a resolver", "system/test_control.py::test_names_that_do_not_resolve_keep_nobody_from_starting"),
    _row("C8, C9 a name that stops resolving, or moves", "the last addresses stay; new connections go to the new one", "unit/control/test_discovery.py::test_a_change_is_told_and_a_slow_resolver_holds_nobody_up", "system/test_promises.py::test_the_only_target_of_a_name_is_found_again_at_its_new_address", "compose/test_addresses.py::test_a_container_made_anew_under_another_address_serves_again"),
    _row("C10 TLS to a target fails", "502 upstream_tls_failed", f"{LATER} TLS to targets"),
    _row("C11 POST, the target refuses before a byte", "200 from another, body whole", "wire/test_responses.py::test_one_of_two_refuses_and_every_request_is_served"),
    _row("R1 dropped before a byte, GET", "200 from another", "wire/test_responses.py::test_a_get_that_a_target_drops_is_served_by_another"),
    _row("R2 the same, POST", "502, sent once", "wire/test_responses.py::test_a_post_that_a_target_drops_fails_and_is_sent_once"),
    _row("R3 on a pooled connection", "GET: hidden; POST: 502, sent once", "wire/test_responses.py::test_a_pooled_connection_that_closes_as_a_get_arrives_is_replaced", "wire/test_responses.py::test_a_pooled_connection_that_closes_as_a_post_arrives_fails_the_post_and_sends_it_once"),
    _row("R4, R5 no head, a head that drips", "504 response_timeout at the limit", "wire/test_responses.py::test_no_response_head_is_a_504_at_the_limit", "wire/test_responses.py::test_a_head_that_drips_is_a_504_at_the_same_limit"),
    _row("R6 body stalls", "cut, response_idle_timeout", "wire/test_responses.py::test_a_body_that_stalls_is_cut_after_the_idle_limit"),
    _row("R7, R8 end inside a body", "cut, never a last chunk", "response: sized, fin…", "response: chunked, fin…", "wire/test_responses.py::test_a_chunked_body_that_is_cut_is_reset_for_an_http_1_0_client_too"),
    _row("R9 to R14", "see the table of responses", "response: framing: …", "response: head of 70 kilobytes", "response: 17 times 103", "response: 101 that nobody asked for"),
    _row("R15 early final response", "delivered", "wire/test_interim.py::test_an_early_final_answer_reaches_a_client_that_is_still_sending", "wire/test_interim.py::test_an_early_final_answer_counts_even_if_the_upstream_closes_with_unread_bytes"),
    _row("R16, R18 HEAD, 204, 304", "no body, the next response is not shifted", "response: head with a length", "response: a body with a head", "response: 304 with a length"),
    _row("R17 HTTP/1.0 without a length", "delivered until FIN", "response: http/1.0 until close", "wire/test_responses.py::test_an_http_1_0_client_gets_no_chunks"),
    _row("K1 slow head", "408 at an absolute deadline", "wire/test_limits.py::test_a_head_that_does_not_end_is_a_408_at_an_absolute_deadline"),
    _row("K2 slow body", "408, not finished upstream", "wire/test_limits.py::test_a_body_that_stops_is_a_408_and_is_not_finished_upstream"),
    _row("K3 slow reader", "the upstream is held back; let go in the end", "wire/test_bodies.py::test_a_slow_reader_holds_the_upstream_back", "wire/test_limits.py::test_a_client_that_stops_reading_is_let_go"),
    _row("K4 client leaves", "the request is cancelled, 499", "wire/test_departures.py::test_a_client_that_resets_cancels_its_request", "wire/test_departures.py::test_a_client_that_leaves_inside_the_answer_ends_it_upstream"),
    _row("K5 client half-closes", "served", "wire/test_departures.py::test_a_half_closed_client_gets_its_answer"),
    _row("K6 pipelining, an error in the second", "in order; closed after the 4xx", "wire/test_matrix.py::test_an_error_in_the_second_of_two_pipelined_requests_ends_the_connection_after_its_answer"),
    _row("K7 10,000 idle connections", "a figure: `bench/crowd.py`", "wire/test_limits.py::test_slow_clients_do_not_keep_others_waiting"),
    _row("K8 oversize", "414, 431, 413", "request: target of 8193 bytes", "request: head of 33 kilobytes", "wire/test_bodies.py::test_a_body_over_the_limit_is_refused_by_its_length", "wire/test_bodies.py::test_a_chunked_body_is_refused_when_it_crosses_the_limit"),
    _row("K9 ambiguous framing", "400, nothing at a target", "wire/test_requests.py::test_request"),
    _row("P1 worker killed", "only what was inside", "system/test_losses.py::test_exactly_what_was_inside_a_killed_worker_is_lost_and_counted", "system/test_losses.py::test_connections_in_the_queue_of_a_killed_worker_are_answered"),
    _row("P2 worker stopped", "replaced", "system/test_losses.py::test_a_frozen_worker_is_replaced_and_who_waits_for_it_is_answered"),
    _row("P3 control killed", "nothing lost", "system/test_losses.py::test_a_killed_control_costs_nothing_and_finds_everything_as_it_was"),
    _row("P4 supervisor killed", "everything exits", "system/test_processes.py::test_nobody_survives_the_supervisor"),
    _row("P5 SIGTERM", "what was sent is answered, exit 0", "system/test_promises.py::test_a_stop_answers_everything_that_was_sent_before_the_close", "system/test_control.py::test_readyz_says_that_it_is_stopping"),
    _row("P6, P7 reload storm, bad files", "nothing lost, nothing changed", "system/test_reloads.py::test_a_hundred_reloads_and_as_many_invalid_ones_cost_no_request_and_leave_nothing", "system/test_control.py::test_a_broken_file_changes_nothing_and_is_reported_everywhere"),
    _row("P8 logs that nobody reads, a full disk", "lines are dropped and counted, no time is lost", "unit/data/test_access_log.py::test_a_reader_that_has_stopped_costs_lines_and_never_time", "unit/data/test_access_log.py::test_lines_that_cannot_be_written_are_counted", "system/test_log.py::test_a_full_stderr_stops_neither_workers_nor_control_nor_the_end"),
    _row("P9 crash loop", "ever slower", "system/test_processes.py::test_workers_that_die_at_once_are_started_ever_more_slowly"),
    _row("H1, H2 a target fails its checks, and recovers", "out, and back", "system/test_control.py::test_a_target_that_stops_is_found_out_and_one_that_returns_is_used_again"),
    _row("H3, H4 flapping; one failed probe", "no change of state", "system/test_promises.py::test_one_failed_probe_changes_nothing", "unit/health/test_thresholds.py::*"),
    _row("H5, H6 zone killed, zone frozen", "latency and no error", "system/test_promises.py::test_a_frozen_zone_costs_latency_and_no_error", "system/test_promises.py::test_a_zone_whose_network_is_gone_costs_only_the_posts_that_were_on_their_way", "compose/test_zones.py::test_a_lost_zone_costs_no_request"),
    _row("H7 zone returns", "late and slowly", "system/test_zones.py::test_a_first_zone_that_is_back_waits_and_then_takes_over_slowly"),
    _row("H8 panic", "everybody serves, and the metric says so", "system/test_promises.py::test_a_health_path_that_is_wrong_everywhere_costs_nothing"),
    _row("H9 a check that is answered just in time", "healthy; others are not held up", "wire/test_matrix.py::test_a_check_that_is_answered_just_in_time_is_good_and_holds_up_no_other"),
    _row("H10 many targets", "checks are spread", "unit/control/test_probes.py::test_those_that_began_together_are_spread_over_the_interval_later", "unit/control/test_probes.py::test_a_few_are_first_checked_all_at_once_and_many_within_a_second"),
    _row("all of it at random", "every failure has a reason; nothing wrong, crossed, doubled, cut and called whole", "system/chaos/test_chaos.py::test_a_minute_of_mixed_faults_leaves_every_failure_explained_and_nothing_wrong"),
)

TABLES = {
    "Requests: what can be read in two ways is refused": REQUESTS,
    "Responses: what lies becomes a 502, or is cut": RESPONSES,
    "Faults": FAULTS,
}


def written() -> str:
    """Return the tables in Markdown."""
    text = (
        "## What our own tests hold\n\nEach row names its tests in `tests/`. Cases of the wire tables (`request: …`, "
        "`response: …`, in `tests/wire/cases_*.py`) are sent whole, byte by byte, cut at line ends, and three times "
        "over, so that a remembered head means what it meant when it was read.\n"
    )
    for title, rows in TABLES.items():
        text += f"\n### {title}\n\n| row | outcome | tests |\n| --- | --- | --- |\n"
        for row in rows:
            tests = "<br>".join(one if one.startswith(LATER) else f"`{one.replace('|', '¦')}`" for one in row.tests)
            text += f"| {row.what} | {row.outcome} | {tests} |\n"
    return text
