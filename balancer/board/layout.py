"""Where every number lies in the shared memory (the board).

One anonymous file, made by the supervisor, mapped by every process; cells are unsigned 64-bit, native order. Offsets
are in cells. Its size is fixed and sparse: what is never touched costs nothing.

    0        HEAD      magic, layout version, generation, config version, control's beat and pid, …
    64       GROUPS    one block of 32 a target group:  panic bits, number of tiers, share of each tier in percent
             STATES    one block of 8 a target:         state code, evidence code, since (monotonic ms), weight ‰,
                                                        orders and the weight that they give
             DRILLS    the reports of the last 20 drills, packed text
             ROWS      one row a worker place:          64 cells about the worker, then CELLS counters and gauges
             TABLES    one row a worker place:          numbers by key, for keys that clients bring (`keyed.py`)
             RINGS     one area a worker place:         its last requests, its last failed ones, those that are open,
                                                        and the scenes they were placed in (offsets in bytes)

Rules
1. HEAD, GROUPS, STATES and DRILLS are written by control alone; generation is odd while it writes GROUPS and STATES (a
   sequence lock): a reader that meets an odd one, or another one after reading, reads again.
2. A row is written by the worker of its place alone (the last one by control). Readers add rows up. Counters survive
   their worker; gauges (`GAUGES` of each block) are zeroed by its successor before it does anything else.
   What is in a TABLES row belongs to its worker in the same way.
3. Which block starts at which cell is decided by control (`slots.py`) and travels in the snapshot.
4. A ring is written by the worker of its place alone, and read by control; a successor goes on after the last record.
   A slot begins and ends with its number, counted from 1 in each ring, and is whole only where both are the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from balancer.board import histogram

MAGIC = 0x42414C414E434552  # "BALANCER"
VERSION = 3

# HEAD
(
    MAGIC_AT,
    VERSION_AT,
    GENERATION,
    CONFIG_VERSION,
    CONTROL_PID,
    CONTROL_BEAT,
    CONFIG_LOADED,  # ms, wall clock: when the running configuration was taken over
    CONFIG_HASH,  # the first 64 bits of its hash: a control that starts anew knows its file again
    DRILL_UNTIL,  # ms, monotonic: when a drill is over, whether or not control lives to end it; 0: none runs
    SALT,  # 64 random bits: where keys lie in TABLES is nobody's guess
) = range(10)
HEAD = 64

# GROUPS: one block a target group
MAX_GROUPS = 512
GROUP_PANIC, GROUP_TIERS, GROUP_SHARES = 0, 1, 2  # panic: bit i for tier i
MAX_TIERS = 24
GROUP_BLOCK = 32
GROUPS_AT = HEAD

# STATES: one block a target
MAX_TARGETS = 32768
(
    STATE,
    EVIDENCE,
    SINCE,
    FACTOR,
    ORDERS,  # bits, below
    ORDERED,  # ms, wall clock: when the drain or its end was asked for
    WEIGHT,  # the operator's weight + 1; 0: the configuration's
    WEIGHED,  # ms, wall clock: when that weight was set
) = range(8)
STATE_BLOCK = 8
# ORDERS: drained by the operator; serving by the operator's word, whatever the configuration says; the target itself
# asked to be drained; since then it was seen away; it left the configuration or its name; its zone is drilled
ORDER_DRAIN, ORDER_SERVE, ORDER_ASKED, ORDER_AWAY, ORDER_LEAVING, ORDER_DRILLED = (1 << bit for bit in range(6))
STATES_AT = GROUPS_AT + MAX_GROUPS * GROUP_BLOCK

# DRILLS: one room a report
DRILLS = 20
DRILL_LENGTH, DRILL_NUMBER, DRILL_TEXT = range(3)  # bytes of the text, or 0; how many there were before it; the text
DRILL_ROOM = 2048
DRILL_BYTES = (DRILL_ROOM - DRILL_TEXT) * 8
DRILLS_AT = STATES_AT + MAX_TARGETS * STATE_BLOCK

# ROWS
MAX_WORKERS = 64
ROW_HEAD = 64
(
    ROW_PID,
    ROW_BEAT,  # changes while the worker's loop turns
    ROW_STARTED,  # ms, wall clock
    ROW_STARTS,  # how often this place was filled
    ROW_REVISION,  # revision of the snapshot it runs
    ROW_LOG_DROPPED,
    ROW_ACTIVE,  # requests inside it, as of the last look at the clock (gauge)
    ROW_CONNECTIONS,  # client connections (gauge)
    ROW_LOST,  # requests that were inside a worker of this place when it was lost
    ROW_LAG,  # µs that its loop runs late (gauge)
    ROW_SHED,  # percent of the requests that it turns away (gauge)
    ROW_BUFFERED,  # bytes that wait in it (gauge)
    ROW_FAILED,  # tries that failed at a target
    ROW_OPEN_FULL,  # turns of its clock at which a request under way found no room in OPEN
    ROW_FORGOTTEN,  # keys that TABLES gave up for want of room, a cell a kind
) = range(15)
ROW_GAUGES = (ROW_ACTIVE, ROW_CONNECTIONS, ROW_LAG, ROW_SHED, ROW_BUFFERED)
CELLS = 1 << 20
ROW = ROW_HEAD + CELLS
ROWS_AT = DRILLS_AT + DRILLS * DRILL_ROOM

# TABLES: in each row one table a kind, each of SETS sets of WAYS keys; a set is its tags (0: free), then its values
# When a bucket is full again (monotonic ns), by address; connections of a client (gauge); buckets by header value,
# which clients make up: a flood of them must not push the others out.
RATES, CLIENTS, HEADER_RATES = range(3)
TABLE_KINDS = 3
WAYS = 8
SETS = 4096
TABLE = SETS * WAYS * 2
TABLES_AT = ROWS_AT + MAX_WORKERS * ROW
CELLS_SIZE = (TABLES_AT + MAX_WORKERS * TABLE_KINDS * TABLE) * 8  # bytes

# RINGS: what `balancer explain` reads; from here on in bytes. 15 MB a place once all is full, nothing before.
PAGE = 4096


@dataclass(frozen=True, slots=True)
class Ring:
    """Slots of one size in a place's area; `at`, `slot` in bytes."""

    at: int
    slots: int
    slot: int

    @property
    def end(self) -> int:
        return self.at + self.slots * self.slot


RECENT = Ring(0, 10_000, 256)  # every finished request
FAILED = Ring(RECENT.end, 10_000, 1024)  # those with a reason or a 5xx once more, with all that is known of them
SCENES = Ring(FAILED.end, 512, 4096)  # who was in rotation, noted when that changes
OPEN = Ring(SCENES.end, 1024, 256)  # no ring but a table: requests under way for longer than a tick of the clock
AREA = OPEN.end
RINGS_AT = -(-CELLS_SIZE // PAGE) * PAGE
SIZE = RINGS_AT + MAX_WORKERS * AREA  # bytes

# Blocks inside a row's CELLS; each kind of block has a size in cells and says which cells are gauges.
# listener
LISTENER_CONNECTIONS, LISTENER_ACTIVE, LISTENER_ACCEPTED = range(3)
LISTENER_BLOCK = 4
LISTENER_GAUGES = (LISTENER_CONNECTIONS, LISTENER_ACTIVE)
# flow: listener × target group. WHOLE holds responses that came in one piece, whose first byte is their last: each
# belongs to both histograms, and is counted in one.
FLOW_DURATION = 0
FLOW_FIRST_BYTE = histogram.CELLS
FLOW_WHOLE = 2 * histogram.CELLS
FLOW_BYTES_IN = 3 * histogram.CELLS
FLOW_BYTES_OUT = FLOW_BYTES_IN + 1
FLOW_BLOCK = FLOW_BYTES_OUT + 1
# hits: listener × target group × target; cell = class (0 for 1xx … 4 for 5xx) + HITS_BALANCER if we made the status
HITS_BALANCER = 5
HITS_BLOCK = 10
# target: target group × target
TARGET_ACTIVE, TARGET_CONNECTIONS, TARGET_IDLE, TARGET_STREAKS = range(4)
TARGET_BLOCK = 4
TARGET_GAUGES = (TARGET_ACTIVE, TARGET_CONNECTIONS, TARGET_IDLE, TARGET_STREAKS)
STREAK_BITS = 16  # of TARGET_STREAKS: failed connects in a row, then (shifted) gateway failures in a row
STREAK = (1 << STREAK_BITS) - 1
# reasons: target group; failures by reason code, then retries by reason code; in the last cells (gauges) when the claim
# of those who wait was renewed and since when the first of them waits (both monotonic ms), and how many wait
REASONS_RETRIES = 128
REASONS_BLOCK = 256
REASONS_CLAIMED_AT, REASONS_CLAIM, REASONS_QUEUED = range(REASONS_BLOCK - 3, REASONS_BLOCK)
REASONS_GAUGES = (REASONS_CLAIMED_AT, REASONS_CLAIM, REASONS_QUEUED)
# What control counts lies in the same cells of a row of its own, the last place: no worker ever has it.
CONTROL_PLACE = MAX_WORKERS - 1
# checks: target group × target; probes by result, in the order of `ProbeResult`
CHECKS_BLOCK = 16
# failovers: target group; how often a tier lost its traffic
FAILOVERS_BLOCK = 1

GAUGES: dict[str, tuple[int, ...]] = {
    "listener": LISTENER_GAUGES,
    "flow": (),
    "hits": (),
    "target": TARGET_GAUGES,
    "reasons": REASONS_GAUGES,
    "checks": (),
    "failovers": (),
}
BLOCKS: dict[str, int] = {
    "listener": LISTENER_BLOCK,
    "flow": FLOW_BLOCK,
    "hits": HITS_BLOCK,
    "target": TARGET_BLOCK,
    "reasons": REASONS_BLOCK,
    "checks": CHECKS_BLOCK,
    "failovers": FAILOVERS_BLOCK,
}

# Where a series that found no place is counted: cells that nobody reads, so that no count needs a condition.
NOWHERE = CELLS - max(BLOCKS.values())
