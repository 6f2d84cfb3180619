// SPDX-License-Identifier: GPL-2.0-only
/* Records when the scheduler moves a thread that traps to another CPU. Attached at the first trap. */

BPF_RINGBUF_OUTPUT(migrations, SLD_MIGRATE_PAGES);

static __always_inline void emit_migration(struct sld_thread *t, u32 from_cpu, u32 to_cpu)
{
	u64 current = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns();
	struct sld_migrate *record;

	if (!control(SLD_CONTROL_OPEN) || !trapped_recently(t, now))
		return;
	count_seen(SLD_KIND_MIGRATE);
	record = check_reserved(SLD_KIND_MIGRATE, (u64)t->trap.tgid << 32 | t->tid, migrations.ringbuf_reserve(sizeof(*record)));
	if (!record)
		return;
	record->ns = now;
	record->tgid = t->trap.tgid;
	record->tid = t->tid;
	record->from_cpu = from_cpu;
	record->to_cpu = to_cpu;
	record->by_tgid = current >> 32;
	record->by_tid = current;
	submit(record);
}

#if defined(SLD_TASK_PID) && defined(SLD_TASK_CPU)

/* TP_PROTO(struct task_struct *p, int dest_cpu), include/trace/events/sched.h. */
RAW_TRACEPOINT_PROBE(sched_migrate_task)
{
	struct sld_thread *t = thread_of(id_of(ctx->args[0]));
	u32 cpu = 0;

	if (!t)
		return 0;
	bpf_probe_read_kernel(&cpu, sizeof(cpu), (void *)(ctx->args[0] + SLD_TASK_CPU));
	emit_migration(t, cpu, ctx->args[1]);
	return 0;
}

#else

TRACEPOINT_PROBE(sched, sched_migrate_task)
{
	struct sld_thread *t = thread_of(args->pid);

	if (t)
		emit_migration(t, args->orig_cpu, args->dest_cpu);
	return 0;
}

#endif
