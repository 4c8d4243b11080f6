"""The living loop: gate, lesson, verdict, rollback; runs, their journal, snapshots and report."""
