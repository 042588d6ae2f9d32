"""The audit log: its files, its size, its pages."""

import stat

from engine.audit import FILES, AuditLog, Entry


def entry(number):
    return Entry(at_unix_ms=number, who="anna", address="192.0.2.1", action="x", what="y" * 900)


def test_the_audit_log_keeps_its_newest_and_stays_within_its_size(tmp_path):
    log = AuditLog(tmp_path, 40_000)
    cursors = []
    for number in range(200):
        log.write(entry(number))
        if number == 190:
            cursors.append(log.page("", 5).next)
    files = sorted(tmp_path.glob("audit-*.jsonl"))
    assert len(files) == FILES
    assert sum(path.stat().st_size for path in files) <= 40_000
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    kept = log.page("", 1_000).entries
    assert [one.at_unix_ms for one in kept] == list(range(199, 199 - len(kept), -1))
    assert len(kept) > 40
    assert [one.at_unix_ms for one in log.page(cursors[0], 3).entries] == [185, 184, 183]
    assert max(len(one.what) for one in kept) == 500
    paged, cursor = [], ""
    while not paged or cursor:
        page = log.page(cursor, 7)
        paged, cursor = paged + page.entries, page.next
    assert paged == kept


def test_a_line_that_was_cut_off_is_left_out(tmp_path):
    log = AuditLog(tmp_path, 1 << 20)
    log.write(entry(1))
    with (tmp_path / "audit-000001.jsonl").open("ab") as file:
        file.write(b'{"at_unix_ms": 2, "wh\n')
    log.write(entry(3))
    assert [one.at_unix_ms for one in log.page("", 9).entries] == [3, 1]
