"""Rows of one key as a chain, newest first: ``heads[key id]`` is the last row, ``nexts[row - base]`` the one before it.

Rows are numbered for ever; what lies before `base` has been dropped, so a link below it ends a chain. `times` are event
times of all rows from `base`, or empty when the join has no bound in time; then ``newest[row - base]`` is the latest
time of the row and all after it in the chain, so that a probe can stop where everything else is too old.
"""

from __future__ import annotations

import numpy as np

from windrow.kernels._compile import kernel
from windrow.kernels._types import I64, NONE, R_I32, R_I64, R_U64, W_I64


@kernel(NONE(R_I32, R_I64, I64, I64, W_I64, W_I64, W_I64))
def link_rows(ids, times, first, base, heads, nexts, newest):  # type: ignore[no-untyped-def]
    """Put rows `first`, `first` + 1, ... in front of the chains of their keys; a negative id leaves a row out.

    `times` are those of the new rows only, or empty.
    """
    timed = times.shape[0] > 0
    for i in range(ids.shape[0]):
        row = first + i
        key = np.int64(ids[i])
        if key < 0:
            nexts[row - base] = -1
            continue
        before = heads[key]
        nexts[row - base] = before
        heads[key] = row
        if timed:
            latest = times[i]
            if before >= base and newest[before - base] > latest:
                latest = newest[before - base]
            newest[row - base] = latest


@kernel(I64(R_I32, R_I64, I64, I64, I64, R_I64, R_I64, R_I64, R_I64, W_I64, W_I64, W_I64))
def probe_chains(  # type: ignore[no-untyped-def]
    ids, times, lower, upper, base, heads, nexts, state_times, newest, cursor, probes, rows
):
    """Pairs of a probing row and a row in the chain of its id, as many as `probes` and `rows` hold; returns how many.

    With `times`, only rows whose time is from `lower` to `upper` after the probing row's. `cursor` is where to go on:
    the probing row, and the next link of its chain, or -2 for its head; it starts as (0, -2), and the work is done when
    the first is the number of ids. A negative id or one without a chain pairs with nothing.
    """
    room = rows.shape[0]
    timed = times.shape[0] > 0
    known = heads.shape[0]
    found = 0
    at, link = cursor[0], cursor[1]
    while at < ids.shape[0]:
        if link == -2:
            key = np.int64(ids[at])
            link = heads[key] if 0 <= key < known else np.int64(-1)
        if timed:
            least, most = times[at] + lower, times[at] + upper
            while link >= base and found < room:
                place = link - base
                if newest[place] < least:
                    link = np.int64(-1)
                    break
                time = state_times[place]
                if least <= time <= most:
                    probes[found] = at
                    rows[found] = link
                    found += 1
                link = nexts[place]
        else:
            while link >= base and found < room:
                probes[found] = at
                rows[found] = link
                found += 1
                link = nexts[link - base]
        if link >= base:
            break
        at += 1
        link = np.int64(-2)
    cursor[0], cursor[1] = at, link
    return found


@kernel(I64(R_I32, R_U64, I64, R_U64, W_I64, W_I64, W_I64))
def unlink_rows(ids, hashes, base, state_hashes, heads, nexts, rows):  # type: ignore[no-untyped-def]
    """Take the newest row with the same hash out of the chain of each id; its number, -1 if there is none.

    Returns how many were found. A row that is out is found by no later probe.
    """
    found = 0
    known = heads.shape[0]
    for i in range(ids.shape[0]):
        key = np.int64(ids[i])
        rows[i] = -1
        before = np.int64(-1)
        link = heads[key] if 0 <= key < known else np.int64(-1)
        while link >= base:
            after = nexts[link - base]
            if state_hashes[link - base] == hashes[i]:
                if before < 0:
                    heads[key] = after
                else:
                    nexts[before - base] = after
                rows[i] = link
                found += 1
                break
            before = link
            link = after
    return found


@kernel(NONE(R_I32, R_I64, I64, I64, W_I64, W_I64))
def link_sorted(ids, times, first, base, heads, nexts):  # type: ignore[no-untyped-def]
    """Put rows `first`, `first` + 1, ... into the chains of their keys so that times never grow along a chain.

    `times` are those of all rows from `base`. Of rows with the same time the one put in last comes first. A negative id
    leaves a row out.
    """
    for i in range(ids.shape[0]):
        row = first + i
        key = np.int64(ids[i])
        nexts[row - base] = -1
        if key < 0:
            continue
        time = times[row - base]
        before = np.int64(-1)
        link = heads[key]
        while link >= base and times[link - base] > time:
            before = link
            link = nexts[link - base]
        nexts[row - base] = link
        if before < 0:
            heads[key] = row
        else:
            nexts[before - base] = row


@kernel(NONE(R_I32, R_I64, I64, I64, I64, I64, R_I64, R_I64, R_I64, W_I64))
def probe_nearest(ids, times, backward, forward, tolerance, base, heads, nexts, state_times, rows):  # type: ignore[no-untyped-def]
    """For each id the row of its sorted chain that is nearest in time; -1 when there is none within `tolerance`.

    With `backward`, among rows whose time is not after ``times[i]``; with `forward`, not before. Of two as near, the
    one before. Of rows with the same time, the first in the chain.
    """
    known = heads.shape[0]
    for i in range(ids.shape[0]):
        key, time = np.int64(ids[i]), times[i]
        link = heads[key] if 0 <= key < known else np.int64(-1)
        after = np.int64(-1)
        while link >= base and state_times[link - base] > time:
            if after < 0 or state_times[link - base] != state_times[after - base]:
                after = link
            link = nexts[link - base]
        here = link if link >= base else np.int64(-1)
        if here >= 0 and forward != 0 and state_times[here - base] == time:
            after = here
        if backward == 0 or (here >= 0 and time - state_times[here - base] > tolerance):
            here = np.int64(-1)
        if forward == 0 or (after >= 0 and state_times[after - base] - time > tolerance):
            after = np.int64(-1)
        if here < 0 or (after >= 0 and state_times[after - base] - time < time - state_times[here - base]):
            here = after
        rows[i] = here


@kernel(I64(R_I32, I64, I64, R_I64, R_I64, W_I64, W_I64, W_I64))
def cut_chains(ids, until, base, heads, state_times, nexts, rows, cursor):  # type: ignore[no-untyped-def]
    """Cut each id's sorted chain after the first row whose time is before `until`.

    `rows` gets the rows that are cut off, as many as there is room for; returns how many. ``cursor[0]`` is where in
    `ids` to go on, the number of ids when all is done.
    """
    room = rows.shape[0]
    found = np.int64(0)
    at = cursor[0]
    while at < ids.shape[0]:
        link = heads[np.int64(ids[at])]
        while link >= base and state_times[link - base] >= until:
            link = nexts[link - base]
        if link >= base:
            while nexts[link - base] >= base and found < room:
                gone = nexts[link - base]
                rows[found] = gone
                found += 1
                nexts[link - base] = nexts[gone - base]
            if nexts[link - base] >= base:
                break
        at += 1
    cursor[0] = at
    return found
