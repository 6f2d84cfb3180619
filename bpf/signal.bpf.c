// SPDX-License-Identifier: GPL-2.0-only
/* Remembers the newest signal sent to a thread that traps, or to its process, and records each one. */

/* Codes of signals that the current thread sends (include/uapi/asm-generic/siginfo.h): kill, sigqueue, tkill and
 * tgkill. With any other code the current thread is only the one that was interrupted. */
#define SLD_SI_USER 0
#define SLD_SI_QUEUE (-1)
#define SLD_SI_TKILL (-6)

/* Results of trace_signal_generate that leave a new signal pending (include/trace/events/signal.h). */
#define SLD_SIGNAL_DELIVERED 0
#define SLD_SIGNAL_LOSE_INFO 4

BPF_RINGBUF_OUTPUT(signals, SLD_SIGNAL_PAGES);

static __always_inline bool leaves_signal_pending(u32 result)
{
	return result == SLD_SIGNAL_DELIVERED || result == SLD_SIGNAL_LOSE_INFO;
}

/* id: TGID << 32 | TID of the receiver; for a signal to a process, of any of its threads. blocked: by the thread. */
static __always_inline void record_signal(struct sld_thread *t, u64 id, bool group, s32 number, s32 code, u32 result,
					  bool blocked)
{
	u64 current = bpf_get_current_pid_tgid(), sender = 0, now;
	u32 tid = id, tgid = id >> 32;
	struct sld_signal *record;
	struct last_signal *last;
	struct sld_group *process;
	bool recent;

	now = bpf_ktime_get_ns();
	if (group) {
		process = groups.lookup(&tgid);
		if (!process)
			return;
		last = &process->signal;
		recent = process_trapped_recently(tgid, now);
	} else {
		if (!t)
			return;
		last = &t->signal;
		recent = trapped_recently(t, now);
	}
	if (code == SLD_SI_USER || code == SLD_SI_QUEUE || code == SLD_SI_TKILL)
		sender = current;
	if (!blocked) {
		last->number = number;
		last->code = code;
		last->sender = sender;
		last->ns = now;
	}

	if (!recent || !control(SLD_CONTROL_OPEN))
		return;
	count_seen(SLD_KIND_SIGNAL);
	record = check_reserved(SLD_KIND_SIGNAL, group ? id & ~0xffffffffULL : id, signals.ringbuf_reserve(sizeof(*record)));
	if (!record)
		return;
	record->ns = now;
	record->tgid = tgid;
	record->tid = group ? 0 : tid;
	record->signal = number;
	record->signal_code = code;
	record->sender_tgid = sender >> 32;
	record->sender_tid = sender;
	record->cpu = bpf_get_smp_processor_id();
	record->result = result;
	record->flags = blocked ? SLD_SIGNAL_BLOCKED : 0;
	submit(record);
}

#ifdef SLD_TASK_PID

#define SLD_SI_KERNEL 0x80
#define SLD_SIGINFO_CODE 8	/* offset of si_code on x86-64 (include/uapi/asm-generic/siginfo.h) */
/* In place of a siginfo (include/linux/sched/signal.h); what is generated is TP_STORE_SIGINFO's. */
#define SLD_SEND_SIG_NOINFO 0
#define SLD_SEND_SIG_PRIV 1

/* TP_PROTO(int sig, struct kernel_siginfo *info, struct task_struct *task, int group, int result),
 * include/trace/events/signal.h since 6c303d3ab39f (3.4). */
RAW_TRACEPOINT_PROBE(signal_generate)
{
	u64 info = ctx->args[1], id;
	s32 code = info == SLD_SEND_SIG_NOINFO ? SLD_SI_USER : SLD_SI_KERNEL;
	bool blocked = false;

	if (!leaves_signal_pending(ctx->args[4]))
		return 0;
	if (info > SLD_SEND_SIG_PRIV)
		bpf_probe_read_kernel(&code, sizeof(code), (void *)(info + SLD_SIGINFO_CODE));
	id = id_of(ctx->args[2]);
#ifdef SLD_TASK_BLOCKED
	blocked = !(u32)ctx->args[3] && is_blocked(ctx->args[2], ctx->args[0]);
#endif
	record_signal(thread_of(id), id, (u32)ctx->args[3], ctx->args[0], code, ctx->args[4], blocked);
	return 0;
}

#else

TRACEPOINT_PROBE(signal, signal_generate)
{
	u64 current = bpf_get_current_pid_tgid(), tgid;
	u32 pid = args->pid;
	struct sld_thread *t;

	if (!leaves_signal_pending(args->result))
		return 0;
	t = thread_of(pid);
	/* For a signal to a process the tracepoint has the TID of its first thread, which is the TGID; for a timer it
	 * has the current thread if that belongs to the process. */
	tgid = t ? t->trap.tgid : pid == (u32)current ? current >> 32 : pid;
	record_signal(t, tgid << 32 | pid, args->group, args->sig, args->code, args->result, false);
	return 0;
}

#endif
