/* Takes the place of bcc: the probes as an ordinary program. Maps are memory, and the helpers tell what a test sets. */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/types.h>

typedef __u8 u8;
typedef __u16 u16;
typedef __u32 u32;
typedef __s32 s32;
typedef __u64 u64;

#define __always_inline inline __attribute__((always_inline))
#define BPF_F_MMAPABLE 0
#define BPF_RB_NO_WAKEUP 0

#define ARRAY(type, name, size)                                                                                  \
	static type name##_entries[size];                                                                        \
	static type *name##_lookup(u32 *key) { return *key < (size) ? &name##_entries[*key] : 0; }                \
	static struct { type *(*lookup)(u32 *); } name = {name##_lookup}
#define BPF_ARRAY(name, type, size) ARRAY(type, name, size)
#define BPF_F_TABLE(kind, key, type, name, size, flags) ARRAY(type, name, size)

/* A hash by TID or TGID: memory that is not used takes no room. */
#define TIDS (4 << 20)
#define BPF_HASH(name, key_type, type, size)                                                                     \
	static type name##_entries[TIDS];                                                                        \
	static bool name##_used[TIDS];                                                                           \
	static type *name##_lookup(key_type *key) { return name##_used[*key] ? &name##_entries[*key] : 0; }      \
	static int name##_insert(key_type *key, type *value)                                                     \
	{                                                                                                        \
		if (name##_used[*key])                                                                           \
			return -1;                                                                               \
		name##_entries[*key] = *value;                                                                   \
		name##_used[*key] = true;                                                                        \
		return 0;                                                                                        \
	}                                                                                                        \
	static int name##_delete(key_type *key) { return name##_used[*key] = false; }                            \
	static struct {                                                                                          \
		type *(*lookup)(key_type *);                                                                     \
		int (*insert)(key_type *, type *);                                                               \
		int (*delete)(key_type *);                                                                       \
	} name = {name##_lookup, name##_insert, name##_delete}
#define BPF_TABLE(kind, key, type, name, size) BPF_HASH(name, key, type, size)

#define BPF_STACK(name, type, size)                                                                              \
	static type name##_entries[size];                                                                        \
	static u32 name##_count;                                                                                 \
	static int name##_pop(type *value)                                                                       \
	{                                                                                                        \
		return name##_count ? *value = name##_entries[--name##_count], 0 : -1;                           \
	}                                                                                                        \
	static int name##_push(type *value, u64 flags)                                                           \
	{                                                                                                        \
		return name##_count < (size) ? name##_entries[name##_count++] = *value, 0 : -1;                  \
	}                                                                                                        \
	static struct { int (*pop)(type *); int (*push)(type *, u64); } name = {name##_pop, name##_push}

/* A ring with room for `room` records, that of traps for `room_for_traps`; each one is handed on when it is submitted. */
struct reserved {
	const char *ring;
	size_t size;
	char record[256];
};
static u32 room = 1 << 30, room_for_traps = 1 << 30;
static void *reserve(const char *ring, size_t size)
{
	static struct reserved made;

	if (!room || (!strcmp(ring, "traps") && !room_for_traps--))
		return 0;
	room--;
	made.ring = ring;
	made.size = size;
	memset(made.record, 0xa5, sizeof(made.record));
	return made.record;
}
#define BPF_RINGBUF_OUTPUT(name, pages)                                                                          \
	static void *name##_reserve(size_t size) { return reserve(#name, size); }                                \
	static struct { void *(*ringbuf_reserve)(size_t); } name = {name##_reserve}
static void submitted(struct reserved *made);
static void bpf_ringbuf_submit(void *record, u64 flags)
{
	submitted((struct reserved *)((char *)record - __builtin_offsetof(struct reserved, record)));
}

/* The current thread and time. */
static u64 current_id, current_ns = 1000;
static u64 bpf_get_current_pid_tgid(void) { return current_id; }
static u64 bpf_ktime_get_ns(void) { return current_ns += 1000; }
static u32 bpf_get_smp_processor_id(void) { return 0; }
static int bpf_get_current_comm(void *comm, u32 size) { return snprintf(comm, size, "t%u", (u32)current_id) < 0; }
static void bpf_probe_read_kernel(void *to, u32 size, const void *from) { memcpy(to, from, size); }
static u32 bpf_log2(u32 value) { return 31 - __builtin_clz(value); }

struct raw_tracepoint { u64 args[4]; };
#define RAW_TRACEPOINT_PROBE(name) static int raw_tracepoint__##name(struct raw_tracepoint *ctx)
#define TRACEPOINT_PROBE(category, name) static int tracepoint__##name(struct category##_##name *args)
struct kvm_kvm_exit { u32 exit_reason, isa, intr_info, vcpu_id; u64 guest_rip, info1; };
struct signal_signal_generate { u32 pid, group, result; s32 sig, code; };
struct pt_regs { u64 di, ax, ip; };
#define PT_REGS_PARM1(regs) ((regs)->di)
#define PT_REGS_RC(regs) ((regs)->ax)
