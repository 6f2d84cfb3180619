// SPDX-License-Identifier: GPL-2.0-only
/* Remembers the newest signal sent to a thread that traps, or to its process, and records each one. */

/* Codes that name a sender (include/uapi/asm-generic/siginfo.h): kill, sigqueue, tkill and tgkill. With any
 * other, the running thread is whoever was interrupted. */
#define SLD_SI_USER 0
#define SLD_SI_QUEUE (-1)
#define SLD_SI_TKILL (-6)

/* Results of trace_signal_generate that leave a new signal pending (include/trace/events/signal.h). */
#define SLD_SIGNAL_DELIVERED 0
#define SLD_SIGNAL_LOSE_INFO 4

BPF_RINGBUF_OUTPUT(signals, SLD_SIGNAL_PAGES);

TRACEPOINT_PROBE(signal, signal_generate)
{
	u64 current = bpf_get_current_pid_tgid(), sender = 0, now;
	u32 pid = args->pid, tgid;
	s32 code = args->code;
	struct sld_signal *record;
	struct last_signal *last;
	struct sld_thread *t;
	struct sld_group *group;

	if (args->result != SLD_SIGNAL_DELIVERED && args->result != SLD_SIGNAL_LOSE_INFO)
		return 0;
	t = thread_of(pid);
	/* To a process: the tracepoint names its first thread, whose TID is the TGID, or for a timer the running one
	 * if that is of the process. */
	tgid = t ? t->trap.tgid : pid == (u32)current ? current >> 32 : pid;
	if (args->group) {
		group = groups.lookup(&tgid);
		if (!group)
			return 0;
		last = &group->signal;
	} else {
		if (!t)
			return 0;
		last = &t->signal;
	}
	now = bpf_ktime_get_ns();
	if (code == SLD_SI_USER || code == SLD_SI_QUEUE || code == SLD_SI_TKILL)
		sender = current;
	last->number = args->sig;
	last->code = code;
	last->sender = sender;
	last->ns = now;

	if (!told(SLD_CONTROL_OPEN) || (t && !hot(t, now)))
		return 0;
	tally(SLD_KIND_SIGNAL, SLD_LOST_NOTHING);
	record = signals.ringbuf_reserve(sizeof(*record));
	if (!record) {
		tally(SLD_KIND_SIGNAL, SLD_LOST_RING_FULL);
		return 0;
	}
	record->ns = now;
	record->tgid = tgid;
	record->tid = args->group ? 0 : pid;
	record->signal = args->sig;
	record->code = code;
	record->sender_tgid = sender >> 32;
	record->sender_tid = sender;
	record->cpu = bpf_get_smp_processor_id();
	record->result = args->result;
	signals.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}
