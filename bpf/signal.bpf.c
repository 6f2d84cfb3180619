// SPDX-License-Identifier: GPL-2.0-only
/* Remembers the newest signal sent to a thread that traps, or to its process. */

/* Codes that name a sender (include/uapi/asm-generic/siginfo.h): kill, sigqueue, tkill and tgkill. With any
 * other, the running thread is whoever was interrupted. */
#define SLD_SI_USER 0
#define SLD_SI_QUEUE (-1)
#define SLD_SI_TKILL (-6)

static __always_inline void remember(struct sld_signal *s, int number, int code)
{
	s->number = number;
	s->code = code;
	s->sender = code == SLD_SI_USER || code == SLD_SI_QUEUE || code == SLD_SI_TKILL ?
		    bpf_get_current_pid_tgid() : 0;
	s->ns = bpf_ktime_get_ns();
}

TRACEPOINT_PROBE(signal, signal_generate)
{
	u32 pid = args->pid;
	struct sld_thread *t = threads.lookup(&pid);
	struct sld_signal *s;

	if (!args->group) {
		if (t)
			remember(&t->signal, args->sig, args->code);
		return 0;
	}
	/* To a process: the tracepoint names one of its threads, as a rule the first, whose TID is the TGID. */
	if (t)
		pid = t->trap.tgid;
	s = groups.lookup(&pid);
	if (s)
		remember(s, args->sig, args->code);
	return 0;
}
