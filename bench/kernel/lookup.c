// Lookups in the running kernel: by the helper bpf_map_lookup_elem in a program, timed by BPF_PROG_TEST_RUN (goal 13), and
// by the system call. One hash map (u32 -> u64) and one program of type SOCKET_FILTER, which is attached to nothing.
//
// usage:  lookup ENTRIES (a power of two)
// stdin:  lines "helper REPEAT" (each repetition does LOOKUPS) or "syscall LOOKUPS"
// stdout: for each a line with the nanoseconds of a lookup
#define _GNU_SOURCE
#include <errno.h>
#include <linux/bpf.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define LOOKUPS 4096
#define PACKET_BYTES 64
// Errors and a line of statistics, not every instruction.
#define LOG_STATS 4
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#define INSN(c, d, s, o, i) \
	((struct bpf_insn){ .code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i) })
#define MOV(d, s) INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define MOV_IMM(d, i) INSN(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, i)
#define ALU_IMM(op, d, i) INSN(BPF_ALU64 | (op) | BPF_K, d, 0, 0, i)
#define ALU(op, d, s) INSN(BPF_ALU64 | (op) | BPF_X, d, s, 0, 0)
#define STORE32(d, o, s) INSN(BPF_STX | BPF_MEM | BPF_W, d, s, o, 0)
#define JUMP_IMM(op, d, i, o) INSN(BPF_JMP | (op) | BPF_K, d, 0, o, i)
#define CALL(f) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, f)
#define EXIT() INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)
#define LOAD64(d, s, v) \
	INSN(BPF_LD | BPF_DW | BPF_IMM, d, s, 0, (int)(unsigned int)(v)), \
	INSN(0, 0, 0, 0, (int)(unsigned int)((unsigned long long)(v) >> 32))

static char verifier_log[1 << 16];

static int bpf(int cmd, union bpf_attr *attr)
{
	return (int)syscall(__NR_bpf, cmd, attr, sizeof(*attr));
}

static void fail(const char *what)
{
	fprintf(stderr, "%s: %s\n%s", what, strerror(errno), verifier_log);
	exit(1);
}

static int create_map(unsigned int entries)
{
	union bpf_attr attr;
	int fd;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = BPF_MAP_TYPE_HASH;
	attr.key_size = 4;
	attr.value_size = 8;
	attr.max_entries = entries;
	fd = bpf(BPF_MAP_CREATE, &attr);
	if (fd < 0)
		fail("BPF_MAP_CREATE");
	return fd;
}

// All keys below `entries`, in an order that has nothing to do with them.
static void fill_map(int fd, unsigned int entries)
{
	for (unsigned int i = 0; i < entries; i++) {
		unsigned int key = (i * 2654435761u) & (entries - 1);
		unsigned long long value = key;
		union bpf_attr attr;

		memset(&attr, 0, sizeof(attr));
		attr.map_fd = fd;
		attr.key = (unsigned long)&key;
		attr.value = (unsigned long)&value;
		if (bpf(BPF_MAP_UPDATE_ELEM, &attr))
			fail("BPF_MAP_UPDATE_ELEM");
	}
}

// r6 lookups to do, r7 state, r8 hits. The generator is that of bench/core/assembly/loops.ts.
static int load_program(int map, unsigned int mask)
{
	const struct bpf_insn insns[] = {
		CALL(BPF_FUNC_get_prandom_u32),
		MOV(BPF_REG_7, BPF_REG_0),
		MOV_IMM(BPF_REG_8, 0),
		MOV_IMM(BPF_REG_6, LOOKUPS),
		// again:
		LOAD64(BPF_REG_1, 0, 6364136223846793005ull),
		ALU(BPF_MUL, BPF_REG_7, BPF_REG_1),
		LOAD64(BPF_REG_1, 0, 1442695040888963407ull),
		ALU(BPF_ADD, BPF_REG_7, BPF_REG_1),
		MOV(BPF_REG_1, BPF_REG_7),
		ALU_IMM(BPF_RSH, BPF_REG_1, 33),
		ALU_IMM(BPF_AND, BPF_REG_1, (int)mask),
		STORE32(BPF_REG_10, -4, BPF_REG_1),
		MOV(BPF_REG_2, BPF_REG_10),
		ALU_IMM(BPF_ADD, BPF_REG_2, -4),
		LOAD64(BPF_REG_1, BPF_PSEUDO_MAP_FD, map),
		CALL(BPF_FUNC_map_lookup_elem),
		JUMP_IMM(BPF_JEQ, BPF_REG_0, 0, 1),
		ALU_IMM(BPF_ADD, BPF_REG_8, 1),
		ALU_IMM(BPF_SUB, BPF_REG_6, 1),
		JUMP_IMM(BPF_JNE, BPF_REG_6, 0, -19),
		MOV(BPF_REG_0, BPF_REG_8),
		EXIT(),
	};
	union bpf_attr attr;
	int fd;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
	attr.insns = (unsigned long)insns;
	attr.insn_cnt = COUNT(insns);
	attr.license = (unsigned long)"MIT";
	attr.log_level = LOG_STATS;
	attr.log_buf = (unsigned long)verifier_log;
	attr.log_size = sizeof(verifier_log);
	fd = bpf(BPF_PROG_LOAD, &attr);
	if (fd < 0)
		fail("BPF_PROG_LOAD");
	return fd;
}

static double time_helper(int program, unsigned int repeat)
{
	unsigned char packet[PACKET_BYTES] = { 0 };
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = (unsigned int)program;
	attr.test.data_in = (unsigned long)packet;
	attr.test.data_size_in = sizeof(packet);
	attr.test.repeat = repeat;
	if (bpf(BPF_PROG_TEST_RUN, &attr))
		fail("BPF_PROG_TEST_RUN");
	if (attr.test.retval != LOOKUPS)
		fail("misses");
	return (double)attr.test.duration / LOOKUPS;
}

static double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static double time_syscall(int map, unsigned int mask, unsigned int lookups)
{
	static unsigned long long state = 1;
	unsigned long long value;
	unsigned int key;
	union bpf_attr attr;
	double start;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (unsigned int)map;
	attr.key = (unsigned long)&key;
	attr.value = (unsigned long)&value;
	start = now_ns();
	for (unsigned int i = 0; i < lookups; i++) {
		state = state * 6364136223846793005ull + 1442695040888963407ull;
		key = (unsigned int)(state >> 33) & mask;
		if (bpf(BPF_MAP_LOOKUP_ELEM, &attr))
			fail("BPF_MAP_LOOKUP_ELEM");
	}
	return (now_ns() - start) / lookups;
}

// Moves to the CPU that the parent, which waits for us, was on last: it has seen whether others disturb that one. Where this
// fails we stay where we are.
static void follow_parent(void)
{
	char path[32];
	char stat[1024];
	char *at;
	FILE *file;
	cpu_set_t cpus;
	int cpu;

	snprintf(path, sizeof(path), "/proc/%d/stat", getppid());
	file = fopen(path, "r");
	if (!file)
		return;
	at = fgets(stat, sizeof(stat), file);
	fclose(file);
	// The name may have blanks. Behind it is field 3, and the processor is field 39.
	if (at)
		at = strrchr(stat, ')');
	for (int field = 2; at && field < 39; field++)
		at = strchr(at + 1, ' ');
	if (!at || sscanf(at, "%d", &cpu) != 1)
		return;
	CPU_ZERO(&cpus);
	CPU_SET(cpu, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
}

int main(int argc, char **argv)
{
	unsigned int entries = argc > 1 ? (unsigned int)atoi(argv[1]) : 0;
	unsigned int count;
	char what[16];
	int map, program;

	if (entries == 0 || (entries & (entries - 1)) != 0 || entries > 1 << 17)
		return 2;
	map = create_map(entries);
	fill_map(map, entries);
	program = load_program(map, entries - 1);
	while (scanf("%15s %u", what, &count) == 2) {
		follow_parent();
		if (strcmp(what, "helper") == 0)
			printf("%f\n", time_helper(program, count));
		else
			printf("%f\n", time_syscall(map, entries - 1, count));
		fflush(stdout);
	}
	return 0;
}
