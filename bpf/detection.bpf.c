// SPDX-License-Identifier: GPL-2.0-only
/* Records every write of MSR_TEST_CTRL. Attached at the first trap, because the tracepoint fires on every MSR write.
 * SLD_MSR_TEST_CTRL and SLD_MSR_DETECT come from sldtrace/host/msr.py. */

BPF_RINGBUF_OUTPUT(detections, SLD_DETECTION_PAGES);

/* TP_PROTO(unsigned int msr, u64 val, int failed), arch/x86/include/asm/msr-trace.h. */
RAW_TRACEPOINT_PROBE(write_msr)
{
	u64 value = ctx->args[1], id;
	struct sld_detection *record;
	struct sld_thread *t;

	if ((u32)ctx->args[0] != SLD_MSR_TEST_CTRL || (u32)ctx->args[2] || !control(SLD_CONTROL_OPEN))
		return 0;
	t = thread_in_trap();
	if (t && !(value & SLD_MSR_DETECT))
		t->trap.flags |= SLD_TRAP_MSR_CLEARED;

	id = bpf_get_current_pid_tgid();
	count_seen(SLD_KIND_DETECTION);
	record = check_reserved(SLD_KIND_DETECTION, id, detections.ringbuf_reserve(sizeof(*record)));
	if (!record)
		return 0;
	record->ns = bpf_ktime_get_ns();
	record->value = value;
	record->cpu = bpf_get_smp_processor_id();
	record->tid = id;
	submit(record);
	return 0;
}
