// SPDX-License-Identifier: GPL-2.0-only
/* Remembers the newest signal sent to a thread that traps, or to its process. */

/* Codes that name a sender (include/uapi/asm-generic/siginfo.h): kill, sigqueue, tkill and tgkill. With any
 * other, the running thread is whoever was interrupted. */
#define SLD_SI_USER 0
#define SLD_SI_QUEUE (-1)
#define SLD_SI_TKILL (-6)

static __always_inline void remember(struct last_signal *s, int number, int code)
{
	s->number = number;
	s->code = code;
	s->sender = code == SLD_SI_USER || code == SLD_SI_QUEUE || code == SLD_SI_TKILL ?
		    bpf_get_current_pid_tgid() : 0;
	s->ns = bpf_ktime_get_ns();
}

/* Results of trace_signal_generate that leave a new signal pending (include/trace/events/signal.h). */
#define SLD_SIGNAL_DELIVERED 0
#define SLD_SIGNAL_LOSE_INFO 4

TRACEPOINT_PROBE(signal, signal_generate)
{
	u64 current = bpf_get_current_pid_tgid();
	u32 pid = args->pid;
	struct sld_thread *t;
	struct last_signal *s;

	if (args->result != SLD_SIGNAL_DELIVERED && args->result != SLD_SIGNAL_LOSE_INFO)
		return 0;
	t = threads.lookup(&pid);
	if (!args->group) {
		if (t)
			remember(&t->signal, args->sig, args->code);
		return 0;
	}
	/* To a process: the tracepoint names its first thread, whose TID is the TGID, or for a timer the running one
	 * if that is of the process. */
	if (t)
		pid = t->trap.tgid;
	else if (pid == (u32)current)
		pid = current >> 32;
	s = groups.lookup(&pid);
	if (s)
		remember(s, args->sig, args->code);
	return 0;
}
