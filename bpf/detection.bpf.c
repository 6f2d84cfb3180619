// SPDX-License-Identifier: GPL-2.0-only
/* Records every write of MSR_TEST_CTRL. Attached on the first trap: the tracepoint fires on every MSR write. */

#define SLD_MSR_TEST_CTRL 0x33
#define SLD_TEST_CTRL_DETECT (1ULL << 29)	/* Intel SDM volume 4, MSR_TEST_CTRL: split-lock detection */

BPF_RINGBUF_OUTPUT(detections, SLD_DETECTION_PAGES);

/* TP_PROTO(unsigned int msr, u64 val, int failed), arch/x86/include/asm/msr-trace.h. */
RAW_TRACEPOINT_PROBE(write_msr)
{
	u64 value = ctx->args[1];
	struct sld_detection *record;
	struct sld_thread *t;

	if ((u32)ctx->args[0] != SLD_MSR_TEST_CTRL || (u32)ctx->args[2] || !told(SLD_CONTROL_OPEN))
		return 0;
	t = inside();
	if (t && !(value & SLD_TEST_CTRL_DETECT))
		t->trap.flags |= SLD_TRAP_MSR_CLEARED;

	tally(SLD_KIND_DETECTION, SLD_LOST_NONE);
	record = detections.ringbuf_reserve(sizeof(*record));
	if (!record) {
		tally(SLD_KIND_DETECTION, SLD_LOST_RING_FULL);
		return 0;
	}
	record->ns = bpf_ktime_get_ns();
	record->value = value;
	record->cpu = bpf_get_smp_processor_id();
	record->tid = bpf_get_current_pid_tgid();
	detections.ringbuf_submit(record, BPF_RB_NO_WAKEUP);
	return 0;
}
