// SPDX-License-Identifier: GPL-2.0-only
/* Records when the scheduler moves a thread that traps to another CPU. Attached on the first trap. */

BPF_RINGBUF_OUTPUT(migrations, SLD_MIGRATE_PAGES);

TRACEPOINT_PROBE(sched, sched_migrate_task)
{
	u64 current = bpf_get_current_pid_tgid(), now;
	u32 tid = args->pid;
	struct sld_thread *t = thread_of(tid);
	struct sld_migrate *record;

	if (!t)
		return 0;
	now = bpf_ktime_get_ns();
	if (!told(SLD_CONTROL_OPEN) || !hot(t, now))
		return 0;
	tally(SLD_KIND_MIGRATE, SLD_LOST_NOTHING);
	record = migrations.ringbuf_reserve(sizeof(*record));
	if (!record) {
		tally(SLD_KIND_MIGRATE, SLD_LOST_RING_FULL);
		return 0;
	}
	record->ns = now;
	record->tgid = t->trap.tgid;
	record->tid = tid;
	record->from_cpu = args->orig_cpu;
	record->to_cpu = args->dest_cpu;
	record->by_tgid = current >> 32;
	record->by_tid = current;
	migrations.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}
