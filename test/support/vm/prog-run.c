// Runs eBPF programs in the running kernel by BPF_PROG_TEST_RUN, for test/vm/kernel.test.ts.
// Programs are loaded as BPF_PROG_TYPE_SYSCALL into this process alone and attached to nothing.
//
// stdin:  records of { u32 insn count, u32 context length, instructions, context }
// stdout: for each { s32 0 or -errno, u32 retval, context, and a log of 512 bytes when it failed }
#include <errno.h>
#include <linux/bpf.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MAX_INSNS 4096
#define MAX_CONTEXT 4096
#define LOG_SIZE 512

static struct bpf_insn insns[MAX_INSNS];
static unsigned char context[MAX_CONTEXT];
static char verifier_log[1 << 20];

static int load(unsigned int count)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_SYSCALL;
	attr.prog_flags = BPF_F_SLEEPABLE;
	attr.insns = (unsigned long)insns;
	attr.insn_cnt = count;
	attr.license = (unsigned long)"MIT";
	attr.log_level = 1;
	attr.log_buf = (unsigned long)verifier_log;
	attr.log_size = sizeof(verifier_log);
	verifier_log[0] = 0;
	return syscall(__NR_bpf, BPF_PROG_LOAD, &attr, sizeof(attr));
}

static int run(unsigned int count, unsigned int length, unsigned int *retval)
{
	union bpf_attr attr;
	int fd = load(count);
	int result;

	if (fd < 0)
		return -errno;
	memset(&attr, 0, sizeof(attr));
	attr.test.prog_fd = fd;
	attr.test.ctx_in = (unsigned long)context;
	attr.test.ctx_size_in = length;
	result = syscall(__NR_bpf, BPF_PROG_TEST_RUN, &attr, sizeof(attr)) ? -errno : 0;
	*retval = attr.test.retval;
	close(fd);
	return result;
}

int main(void)
{
	unsigned int head[2];

	while (fread(head, sizeof(head), 1, stdin) == 1) {
		unsigned int reply[2] = { 0, 0 };
		char tail[LOG_SIZE];
		size_t used;

		if (head[0] > MAX_INSNS || head[1] > MAX_CONTEXT)
			return 1;
		if (fread(insns, sizeof(insns[0]), head[0], stdin) != head[0] ||
		    fread(context, 1, head[1], stdin) != head[1])
			return 1;
		reply[0] = (unsigned int)run(head[0], head[1], &reply[1]);
		fwrite(reply, sizeof(reply), 1, stdout);
		fwrite(context, 1, head[1], stdout);
		if (reply[0] == 0)
			continue;
		// The end of the log has the reason.
		used = strlen(verifier_log);
		memset(tail, 0, sizeof(tail));
		strncpy(tail, verifier_log + (used >= LOG_SIZE ? used - LOG_SIZE + 1 : 0),
			LOG_SIZE - 1);
		fwrite(tail, 1, sizeof(tail), stdout);
	}
	return 0;
}
