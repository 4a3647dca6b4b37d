"""Why a request went where it went: the records on the board, joined with names, rules and states."""
