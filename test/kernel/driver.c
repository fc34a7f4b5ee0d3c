// Replays a stream of operations on the real bpf(2) and reports every answer.
//
// The other half of the pair is library.ts, which replays the same stream on this library; the two
// answer streams are then compared byte by byte. Both sides must therefore treat a record alike:
// wire.ts describes the format and is the reference for it.
//
// stdin:  chunks { u32 length, records }, stdout: chunks { u32 length, answers }, little-endian.
// Only maps and small programs of this process are touched; nothing is attached, everything is
// closed by a RESET record or by exit. Descriptors of our own live at 700 and above, so that the
// numbers of the maps are those that a fresh process would see.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/btf.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OP_BPF = 1, OP_CPU, OP_CLOSE, OP_WALK, OP_PROG, OP_RESET, OP_OBJECT, OP_END, OP_RUN, OP_RING, OP_PATH, OP_MMAP };
enum { BUF_IN = 1, BUF_OUT = 2, BUF_REG = 4, BUF_TAIL = 8, BUF_PADDED = 16 };
enum { PATCH_FD, PATCH_ID, PATCH_OUT_ID, PATCH_ID_BEFORE, PATCH_OUT_ANY };
enum { FLAG_BLANK_ON_FAULT = 1, FLAG_WANT_ID = 2, FLAG_BAD_ATTR = 4, FLAG_TAIL_ATTR = 8, FLAG_CHANGES = 16 };
enum { PROG_LOOKUP, PROG_UPDATE, PROG_DELETE, PROG_PUSH, PROG_POP, PROG_PEEK, PROG_LOOKUP_PERCPU, PROGS };
enum { OBJECT_SOCKET, OBJECT_TASK, OBJECT_CGROUP, OBJECT_FILE };

#define SLOTS 64
#define NO_SLOT 0xff
#define REGISTERS 8
#define REGISTER_SIZE 4096
#define SCRATCH_SIZE (4u << 20)
#define TAIL_SIZE (1u << 20)
#define ATTR_ROOM 8192
#define MAX_BUFFERS 8
#define OWN_FDS 700
#define WINDOWS 4
#define BPFFS "/sys/fs/bpf"
#define FILL 0xa5

// What programs read and write: one mmapped array element, at these offsets.
enum { IO_FLAGS = 0, IO_CPU = 8, IO_KEY = 64, IO_VALUE = 4096, IO_RESULT = 8192, IO_SIZE = 16384 };

struct slot {
  int fd;
  uint32_t id; // 0 = not asked yet
  pid_t child; // task slots: the parked process
  char cgroup[64];
  int progs[PROGS]; // -1 = not loaded yet
  int epoll;        // ring buffers: waits for wake-ups; -1 = not asked yet
};

struct buffer {
  uint8_t kind;
  uint16_t value_size; // PADDED only
  uint32_t length;
  uint8_t *data;
};

struct reader {
  const uint8_t *at;
};

static struct slot slots[SLOTS];
static uint8_t *scratch, *tail_end, *registers, *io;
static uint8_t attr[ATTR_ROOM] __attribute__((aligned(8)));
static int io_fd, in_fd, out_fd;
static struct { void *at; size_t length; } windows[WINDOWS];
static int has_bpffs, bpffs_used;
static uint8_t *out;
static size_t out_length, out_room;

static void die(const char *why) {
  fprintf(stderr, "driver: %s: %s\n", why, strerror(errno));
  exit(2);
}

static long sys_bpf(int cmd, void *at, unsigned size) {
  long ret = syscall(SYS_bpf, cmd, at, size);
  return ret < 0 ? -errno : ret;
}

// --- the two streams -----------------------------------------------------------------------------

static uint8_t get8(struct reader *in) { return *in->at++; }
static uint16_t get16(struct reader *in) {
  uint16_t value;
  memcpy(&value, in->at, 2);
  in->at += 2;
  return value;
}
static uint32_t get32(struct reader *in) {
  uint32_t value;
  memcpy(&value, in->at, 4);
  in->at += 4;
  return value;
}
static uint64_t get64(struct reader *in) {
  uint64_t value;
  memcpy(&value, in->at, 8);
  in->at += 8;
  return value;
}

static void *put(const void *data, size_t length) {
  if (out_length + length > out_room) {
    out_room = (out_length + length) * 2;
    if (!(out = realloc(out, out_room))) die("realloc");
  }
  void *at = out + out_length;
  if (data) memcpy(at, data, length);
  out_length += length;
  return at;
}
static void put32(uint32_t value) { put(&value, 4); }

/** Reads exactly `length` bytes; 0 at a clean end of the stream. */
static int read_all(void *to, size_t length) {
  uint8_t *at = to;
  while (length) {
    ssize_t n = read(in_fd, at, length);
    if (n == 0) return 0;
    if (n < 0) die("read");
    at += n;
    length -= n;
  }
  return 1;
}

static void write_all(const void *from, size_t length) {
  const uint8_t *at = from;
  while (length) {
    ssize_t n = write(out_fd, at, length);
    if (n <= 0) die("write");
    at += n;
    length -= n;
  }
}

// --- slots ---------------------------------------------------------------------------------------

static struct slot *slot_at(unsigned index) {
  if (index >= SLOTS) die("slot number");
  return &slots[index];
}

static uint32_t slot_id(struct slot *slot) {
  uint32_t info[26] = {0};
  if (slot->id || slot->fd < 0) return slot->id;
  struct {
    uint32_t fd, length;
    uint64_t info;
  } query = {slot->fd, sizeof info, (uintptr_t)info};
  if (sys_bpf(BPF_OBJ_GET_INFO_BY_FD, &query, 16) != 0) return 0;
  // Of BTF, whose answer is shorter, an id is not kept: maps have the same numbers.
  if (query.length == 32) return info[3];
  slot->id = info[1];
  return slot->id;
}

/** Names an object id by the newest slot that had it: ids themselves differ between two kernels. */
static uint32_t slot_of_id(uint32_t id) {
  for (int i = SLOTS - 1; i >= 0; i--)
    if (slots[i].id == id && id) return i;
  return 0xffffffff;
}

static int close_slot(struct slot *slot) {
  int ret = close(slot->fd) < 0 ? -errno : 0;
  slot->fd = -1;
  if (slot->epoll >= 0) close(slot->epoll);
  slot->epoll = -1;
  for (int i = 0; i < PROGS; i++) {
    if (slot->progs[i] >= 0) close(slot->progs[i]);
    slot->progs[i] = -1;
  }
  return ret;
}

static void fill_slot(struct slot *slot, int fd) {
  if (slot->fd >= 0) close_slot(slot);
  slot->fd = fd;
  slot->id = 0;
}

/** Reaps the task or removes the cgroup of a slot; sockets and files end with their last descriptor. */
static void end_object(struct slot *slot) {
  if (slot->child > 0) {
    kill(slot->child, SIGKILL);
    waitpid(slot->child, NULL, 0);
  }
  if (slot->cgroup[0]) rmdir(slot->cgroup);
  slot->child = 0;
  slot->cgroup[0] = 0;
}

static void pin_to_cpu(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof set, &set) < 0) die("sched_setaffinity");
}

static void mount_bpffs(void) {
  if (has_bpffs && bpffs_used && umount2(BPFFS, MNT_DETACH) < 0) die("umount2");
  bpffs_used = 0;
  has_bpffs = mount("bpffs", BPFFS, "bpf", 0, "mode=0700") == 0;
}

static void reset(void) {
  for (int i = 0; i < SLOTS; i++) {
    if (slots[i].fd >= 0) close_slot(&slots[i]);
    end_object(&slots[i]);
    slots[i].id = 0;
  }
  for (int i = 0; i < WINDOWS; i++) {
    if (windows[i].length) munmap(windows[i].at, windows[i].length);
    windows[i].length = 0;
  }
  if (bpffs_used) mount_bpffs();
  memset(registers, 0, REGISTERS * REGISTER_SIZE);
  pin_to_cpu(0);
}

// --- bpf(2) --------------------------------------------------------------------------------------

static void apply_patches(struct reader in, int count, struct buffer *buffers, int after, int ret) {
  for (int i = 0; i < count; i++) {
    uint8_t target = get8(&in), what = get8(&in);
    uint16_t offset = get16(&in), index = get16(&in);
    uint8_t *at = target ? buffers[target - 1].data + offset : attr + offset;
    int is_answer = what == PATCH_OUT_ID || what == PATCH_OUT_ANY;
    uint32_t value;
    if (is_answer != after || (after && ret != 0 && ret != -ENOENT)) continue;
    if (after) {
      memcpy(&value, at, 4);
      value = what == PATCH_OUT_ID ? slot_of_id(value) : value != 0;
      memcpy(at, &value, 4);
    } else {
      value = what == PATCH_FD ? (uint32_t)slot_at(index)->fd : slot_id(slot_at(index));
      if (what == PATCH_ID_BEFORE) value--;
      memcpy(at, &value, 4);
    }
  }
}

/** Lays a record's buffers out in memory and points the attr at them. */
static void place_buffers(struct reader *in, int count, struct buffer *buffers) {
  uint8_t *next = scratch;
  for (int i = 0; i < count; i++) {
    uint8_t offset = get8(in), kind = get8(in);
    uint16_t reg = get16(in);
    uint32_t length = get32(in);
    uint8_t *data = next;
    if (kind & BUF_REG) data = registers + reg * REGISTER_SIZE;
    else if (kind & BUF_TAIL) data = tail_end - length;
    else next += (length + 15) & ~7u;
    if (next > scratch + SCRATCH_SIZE || length > TAIL_SIZE) die("buffers do not fit");
    if (kind & BUF_IN) {
      memcpy(data, in->at, length);
      in->at += length;
    } else if (!(kind & BUF_REG)) {
      memset(data, FILL, length);
    }
    uint64_t pointer = (uintptr_t)data;
    memcpy(attr + offset, &pointer, 8);
    buffers[i] = (struct buffer){kind, reg, length, data};
  }
}

static void clear_padding(uint8_t *values, uint32_t length, uint32_t value_size) {
  uint32_t stride = (value_size + 7) & ~7u;
  for (uint32_t at = 0; at + stride <= length; at += stride)
    memset(values + at + value_size, 0, stride - value_size);
}

static void op_bpf(struct reader *in) {
  struct buffer buffers[MAX_BUFFERS];
  uint8_t buffer_count = get8(in), patch_count = get8(in), result = get8(in);
  uint32_t cmd = get32(in), size = get32(in);
  uint8_t attr_length = get8(in), changed = get8(in), changed_length = get8(in), flags = get8(in);
  if (buffer_count > MAX_BUFFERS) die("too many buffers");
  memset(attr, 0, 256);
  memcpy(attr, in->at, attr_length);
  in->at += attr_length;
  place_buffers(in, buffer_count, buffers);
  apply_patches(*in, patch_count, buffers, 0, 0);

  uint8_t before[256], *given = flags & FLAG_BAD_ATTR ? (void *)-16 : attr;
  if (flags & FLAG_TAIL_ATTR) given = memcpy(tail_end - size, attr, size);
  memcpy(before, attr, sizeof before);
  long ret = sys_bpf(cmd, given, size);
  if (flags & FLAG_TAIL_ATTR) memcpy(attr, given, size);
  if (cmd == BPF_OBJ_PIN) bpffs_used = 1;
  if (result != NO_SLOT && ret >= 0) {
    fill_slot(slot_at(result), ret);
    if (flags & FLAG_WANT_ID) slot_id(slot_at(result));
  }
  apply_patches(*in, patch_count, buffers, 1, ret);
  put32(ret);
  uint8_t *shown = put(attr + changed, changed_length);
  for (int i = 0; flags & FLAG_CHANGES && i < changed_length; i++) shown[i] ^= before[changed + i];
  for (int i = 0; i < buffer_count; i++) {
    if (!(buffers[i].kind & BUF_OUT)) continue;
    uint8_t *copy = put(buffers[i].data, buffers[i].length);
    if (buffers[i].kind & BUF_PADDED) clear_padding(copy, buffers[i].length, buffers[i].value_size);
    if (ret == -EFAULT && (flags & FLAG_BLANK_ON_FAULT)) memset(copy, 0, buffers[i].length);
  }
}

/** A whole BPF_MAP_GET_NEXT_KEY walk in one record: the iteration order is the answer. */
static void op_walk(struct reader *in) {
  int fd = slot_at(get8(in))->fd;
  uint32_t key_size = get32(in), limit = get32(in), count = 0;
  uint64_t fields[3] = {(uint32_t)fd, 0, (uintptr_t)scratch};
  size_t head = out_length;
  long ret;
  put(NULL, 8);
  while ((ret = sys_bpf(BPF_MAP_GET_NEXT_KEY, fields, 24)) == 0 && count < limit) {
    put(scratch, key_size);
    fields[1] = (uintptr_t)scratch;
    count++;
  }
  int32_t result = ret;
  memcpy(out + head, &result, 4);
  memcpy(out + head + 4, &count, 4);
}

// --- programs ------------------------------------------------------------------------------------

#define INSN(c, d, s, o, i) ((struct bpf_insn){.code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i)})
#define MOV(d, s) INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define MOV_IMM(d, i) INSN(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, i)
#define ADD_IMM(d, i) INSN(BPF_ALU64 | BPF_ADD | BPF_K, d, 0, 0, i)
#define LOAD(size, d, s, o) INSN(BPF_LDX | BPF_MEM | (size), d, s, o, 0)
#define STORE(size, d, s, o) INSN(BPF_STX | BPF_MEM | (size), d, s, o, 0)
#define CALL(id) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, id)
#define EXIT() INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

#ifndef BPF_PSEUDO_MAP_VALUE
#define BPF_PSEUDO_MAP_VALUE 2
#endif

struct code {
  struct bpf_insn insns[2048];
  int count;
};

static void emit(struct code *code, struct bpf_insn insn) { code->insns[code->count++] = insn; }

static void emit_address(struct code *code, int reg, int fd, int pseudo) {
  emit(code, INSN(BPF_LD | BPF_DW | BPF_IMM, reg, pseudo, 0, fd));
  emit(code, INSN(0, 0, 0, 0, 0));
}

static void emit_io(struct code *code, int reg, int offset) {
  emit(code, MOV(reg, 6));
  emit(code, ADD_IMM(reg, offset));
}

/** Copies a value from r0 to the io element: r0 = 1 if there was one, else 0. */
static void emit_copy_value(struct code *code, uint32_t value_size) {
  uint32_t at = 0;
  emit(code, INSN(BPF_JMP | BPF_JNE | BPF_K, 0, 0, 1, 0));
  emit(code, EXIT());
  for (; at + 8 <= value_size; at += 8) {
    emit(code, LOAD(BPF_DW, 1, 0, at));
    emit(code, STORE(BPF_DW, 6, 1, IO_RESULT + at));
  }
  for (; at < value_size; at++) {
    emit(code, LOAD(BPF_B, 1, 0, at));
    emit(code, STORE(BPF_B, 6, 1, IO_RESULT + at));
  }
  emit(code, MOV_IMM(0, 1));
}

static void emit_program(struct code *code, int what, int map_fd, uint32_t value_size) {
  static const int helper[PROGS] = {1, 2, 3, 87, 88, 89, 195};
  emit_address(code, 6, io_fd, BPF_PSEUDO_MAP_VALUE);
  emit_address(code, 1, map_fd, BPF_PSEUDO_MAP_FD);
  emit_io(code, 2, what == PROG_PUSH ? IO_VALUE : what == PROG_POP || what == PROG_PEEK ? IO_RESULT : IO_KEY);
  if (what == PROG_UPDATE) {
    emit_io(code, 3, IO_VALUE);
    emit(code, LOAD(BPF_DW, 4, 6, IO_FLAGS));
  }
  if (what == PROG_PUSH) emit(code, LOAD(BPF_DW, 3, 6, IO_FLAGS));
  if (what == PROG_LOOKUP_PERCPU) emit(code, LOAD(BPF_W, 3, 6, IO_CPU));
  emit(code, CALL(helper[what]));
  if (what == PROG_LOOKUP || what == PROG_LOOKUP_PERCPU) emit_copy_value(code, value_size);
  emit(code, EXIT());
}

/** Descriptor of the program that calls one helper on the map of `slot`, or -errno. */
static int program_of(struct slot *slot, int what, uint32_t value_size) {
  static struct code code;
  static char log[16384];
  union bpf_attr load;
  if (slot->progs[what] >= 0) return slot->progs[what];
  code.count = 0;
  emit_program(&code, what, slot->fd, value_size);
  memset(&load, 0, sizeof load);
  load.prog_type = BPF_PROG_TYPE_RAW_TRACEPOINT;
  load.insns = (uintptr_t)code.insns;
  load.insn_cnt = code.count;
  load.license = (uintptr_t)"MIT";
  if (getenv("BPFMAPS_KERNEL_LOG")) {
    load.log_buf = (uintptr_t)log;
    load.log_size = sizeof log;
    load.log_level = 1;
  }
  int fd = sys_bpf(BPF_PROG_LOAD, &load, sizeof load);
  if (fd < 0) {
    if (load.log_buf) fprintf(stderr, "%s\n", log);
    return fd;
  }
  slot->progs[what] = fcntl(fd, F_DUPFD_CLOEXEC, OWN_FDS);
  close(fd);
  return slot->progs[what];
}

static void op_prog(struct reader *in) {
  struct slot *slot = slot_at(get8(in));
  uint8_t what = get8(in);
  uint32_t cpu = get32(in), key_size = get32(in), value_size = get32(in);
  uint64_t flags = get64(in);
  union bpf_attr run;
  if (what >= PROGS || key_size > IO_VALUE - IO_KEY || value_size > IO_RESULT - IO_VALUE - 8) die("program record");
  memset(io, 0, IO_FLAGS + 16);
  memcpy(io + IO_FLAGS, &flags, 8);
  memcpy(io + IO_CPU, &cpu, 4);
  memcpy(io + IO_KEY, in->at, key_size);
  memcpy(io + IO_VALUE, in->at + key_size, value_size);
  memset(io + IO_VALUE + value_size, 0, 8);
  // A Bloom filter's peek takes the value in the buffer that others answer in.
  memcpy(io + IO_RESULT, in->at + key_size, value_size);
  int fd = slot->fd < 0 ? -EBADF : program_of(slot, what, value_size);
  int ret = fd;
  if (fd >= 0) {
    memset(&run, 0, sizeof run);
    run.test.prog_fd = fd;
    long failed = sys_bpf(BPF_PROG_TEST_RUN, &run, sizeof run);
    ret = failed < 0 ? (int)failed : (int)run.test.retval;
  }
  put32(ret);
  put(io + IO_RESULT, value_size);
}

// --- whole programs -------------------------------------------------------------------------------

#define MAX_FUNCTIONS 8
#define IO_SLOT 0xff

/** BTF that says what the verifier asks about callbacks: they are static functions. */
static int function_btf(int count) {
  static const char strings[] = "\0int\0f";
  static struct {
    struct btf_header header;
    uint32_t types[7 + MAX_FUNCTIONS * 3];
    char strings[sizeof strings];
  } blob;
  uint32_t *at = blob.types;
  union bpf_attr load;
  // 1: int; 2: int (void); 3 and on: static functions of type 2.
  memcpy(at, (uint32_t[]){1, BTF_KIND_INT << 24, 4, BTF_INT_SIGNED << 24 | 32}, 16);
  memcpy(at + 4, (uint32_t[]){0, BTF_KIND_FUNC_PROTO << 24, 1}, 12);
  at += 7;
  for (int i = 0; i < count; i++, at += 3) memcpy(at, (uint32_t[]){5, BTF_KIND_FUNC << 24, 2}, 12);
  uint32_t length = (at - blob.types) * 4;
  memcpy(at, strings, sizeof strings);
  blob.header = (struct btf_header){BTF_MAGIC, 1, 0, sizeof blob.header, 0, length, length, sizeof strings};
  memset(&load, 0, sizeof load);
  load.btf = (uintptr_t)&blob;
  load.btf_size = sizeof blob.header + length + sizeof strings;
  return sys_bpf(BPF_BTF_LOAD, &load, sizeof load);
}

/** References to maps are by slot; the io element's is by its own number. */
static void resolve_slots(struct bpf_insn *insns, uint32_t count) {
  for (uint32_t i = 0; i < count; i++) {
    if (insns[i].code != (BPF_LD | BPF_DW | BPF_IMM)) continue;
    if (insns[i].src_reg == BPF_PSEUDO_MAP_FD) insns[i].imm = slot_at(insns[i].imm)->fd;
    else if (insns[i].src_reg == BPF_PSEUDO_MAP_VALUE) insns[i].imm = io_fd;
    i++;
  }
}

static int load_functions(const struct bpf_insn *insns, uint32_t count, const uint32_t *starts, int functions) {
  static char log[1 << 20];
  struct bpf_func_info info[MAX_FUNCTIONS];
  union bpf_attr load;
  int btf = function_btf(functions);
  if (btf < 0) return btf;
  for (int i = 0; i < functions; i++) info[i] = (struct bpf_func_info){starts[i], 3 + i};
  memset(&load, 0, sizeof load);
  load.prog_type = BPF_PROG_TYPE_SCHED_CLS;
  load.insns = (uintptr_t)insns;
  load.insn_cnt = count;
  load.license = (uintptr_t)"Dual MIT/GPL";
  load.prog_btf_fd = btf;
  load.func_info = (uintptr_t)info;
  load.func_info_cnt = functions;
  load.func_info_rec_size = sizeof info[0];
  if (getenv("BPFMAPS_KERNEL_LOG")) {
    load.log_buf = (uintptr_t)log;
    load.log_size = sizeof log;
    load.log_level = 1;
  }
  int fd = sys_bpf(BPF_PROG_LOAD, &load, sizeof load);
  if (fd < 0 && load.log_buf) fprintf(stderr, "%s\n", log);
  close(btf);
  return fd;
}

static void op_run(struct reader *in) {
  static struct bpf_insn insns[4096];
  static const uint8_t none[64];
  uint32_t starts[MAX_FUNCTIONS];
  union bpf_attr run;
  int functions = get8(in);
  uint32_t count = get32(in), input = get32(in), output = get32(in), packets = get32(in);
  if (functions > MAX_FUNCTIONS || count > 4096 || input > IO_RESULT - IO_KEY || output > IO_SIZE - IO_RESULT)
    die("run record");
  for (int i = 0; i < functions; i++) starts[i] = get32(in);
  memcpy(insns, in->at, count * sizeof insns[0]);
  memset(io, 0, IO_SIZE);
  memcpy(io + IO_KEY, in->at + count * sizeof insns[0], input);
  resolve_slots(insns, count);
  int ret = load_functions(insns, count, starts, functions);
  if (ret >= 0) {
    int fd = ret;
    ret = 0;
    in->at += count * sizeof insns[0] + input;
    for (uint32_t i = 0; i < packets || i == 0; i++) {
      memset(&run, 0, sizeof run);
      run.test.prog_fd = fd;
      run.test.data_size_in = packets ? get16(in) : sizeof none;
      run.test.data_in = packets ? (uintptr_t)in->at : (uintptr_t)none;
      if (packets) in->at += run.test.data_size_in;
      long failed = sys_bpf(BPF_PROG_TEST_RUN, &run, sizeof run);
      if (failed < 0) {
        ret = failed;
        break;
      }
      ret = (uint32_t)ret * 31 + run.test.retval;
    }
    close(fd);
  }
  put32(ret);
  put(io + IO_RESULT, output);
}

// --- the other end of ring buffers ----------------------------------------------------------------

/** Whether a ring was woken, and had something to wake for, since this was asked last. */
static uint32_t was_woken(struct slot *slot, int is_user) {
  struct epoll_event event = {.events = EPOLLET | (is_user ? EPOLLOUT : EPOLLIN)};
  if (slot->epoll < 0) {
    int fd = epoll_create1(EPOLL_CLOEXEC);
    if (fd < 0) die("epoll_create1");
    slot->epoll = fcntl(fd, F_DUPFD_CLOEXEC, OWN_FDS);
    close(fd);
    if (epoll_ctl(slot->epoll, EPOLL_CTL_ADD, slot->fd, &event) < 0) die("epoll_ctl");
  }
  return epoll_wait(slot->epoll, &event, 1, 0);
}

/** Reads up to `limit` records of a ring, or appends bytes to a user's; answers the three positions after it. */
static void op_ring(struct reader *in) {
  struct slot *slot = slot_at(get8(in));
  int fd = slot->fd, is_user = get8(in) & 1;
  uint32_t size = get32(in), count = get32(in);
  size_t room = 4096 + 2 * (size_t)size;
  uint8_t *cons = mmap(NULL, 4096, is_user ? PROT_READ : PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  uint8_t *prod = mmap(NULL, room, is_user ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 4096);
  put32(cons == MAP_FAILED || prod == MAP_FAILED ? -errno : 0);
  if (cons != MAP_FAILED && prod != MAP_FAILED) {
    uint64_t *cons_pos = (uint64_t *)cons, *prod_pos = (uint64_t *)prod;
    put32(was_woken(slot, is_user));
    if (is_user) {
      memcpy(prod + 4096 + (*prod_pos & (size - 1)), in->at, count);
      *prod_pos += count;
    }
    for (; !is_user && count && *cons_pos < *prod_pos; count--) {
      uint8_t *record = prod + 4096 + (*cons_pos & (size - 1));
      uint32_t head = *(uint32_t *)record, length = head << 2 >> 2;
      if (head & BPF_RINGBUF_BUSY_BIT) break;
      put(record, 8 + length);
      *cons_pos += (length + 15) & ~7u;
    }
    put(cons_pos, 8);
    put(prod_pos, 16);
  }
  if (cons != MAP_FAILED) munmap(cons, 4096);
  if (prod != MAP_FAILED) munmap(prod, room);
}

// --- objects that storage maps hang on ----------------------------------------------------------

static int make_task(struct slot *slot) {
  pid_t child = fork();
  if (child < 0) return -errno;
  if (child == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    for (;;) pause();
  }
  slot->child = child;
  int fd = syscall(SYS_pidfd_open, child, 0);
  return fd < 0 ? -errno : fd;
}

static int make_cgroup(struct slot *slot) {
  static int serial;
  // Any hierarchy does; the second is where systems with both versions mount version 2.
  static const char *const roots[] = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"};
  const char *root = roots[access("/sys/fs/cgroup/cgroup.procs", F_OK) ? 1 : 0];
  snprintf(slot->cgroup, sizeof slot->cgroup, "%s/bpfmaps-%d-%d", root, getpid(), serial++);
  if (mkdir(slot->cgroup, 0755) < 0) return -errno;
  int fd = open(slot->cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return fd < 0 ? -errno : fd;
}

static void op_object(struct reader *in) {
  struct slot *slot = slot_at(get8(in));
  int fd = -EINVAL;
  switch (get8(in)) {
    case OBJECT_SOCKET: fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0); break;
    case OBJECT_TASK: fd = make_task(slot); break;
    case OBJECT_CGROUP: fd = make_cgroup(slot); break;
    case OBJECT_FILE: fd = memfd_create("bpfmaps", MFD_CLOEXEC); break;
  }
  if (fd >= 0) fill_slot(slot, fd);
  put32(fd);
}

// --- paths and windows ---------------------------------------------------------------------------

static void op_path(struct reader *in) {
  uint8_t what = get8(in), index = get8(in);
  const char *path = (const char *)in->at;
  int ret = -1;
  bpffs_used = 1;
  switch (what) {
    case 0: ret = mkdir(path, 0700); break;
    case 1: ret = unlink(path); break;
    case 2: ret = rmdir(path); break;
    case 3: ret = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC); break;
  }
  if (ret < 0) ret = -errno;
  else if (what == 3) fill_slot(slot_at(index), ret);
  put32(ret);
}

/** Opens a window on a map in place of the one before, or just ends that one (length 0, no such slot). */
static void op_mmap(struct reader *in) {
  uint8_t index = get8(in), slot = get8(in), writable = get8(in);
  uint64_t offset = get64(in), length = get64(in);
  if (index >= WINDOWS) die("window number");
  if (windows[index].length) munmap(windows[index].at, windows[index].length);
  windows[index].length = 0;
  if (slot == NO_SLOT) return put32(0);
  void *at = mmap(NULL, length, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, slot_at(slot)->fd, offset);
  put32(at == MAP_FAILED ? -errno : 0);
  if (at == MAP_FAILED) return;
  windows[index].at = at;
  windows[index].length = length;
  put(at, 64);
  if (writable == 2) memset((uint8_t *)at + (index * 8), 0x5a, 3);
}

// --- main loop -----------------------------------------------------------------------------------

static void run_record(struct reader *in) {
  size_t head = out_length;
  put(NULL, 4);
  switch (get8(in)) {
    case OP_BPF: op_bpf(in); break;
    case OP_CPU: pin_to_cpu(get8(in)); break;
    case OP_CLOSE: put32(close_slot(slot_at(get8(in)))); break;
    case OP_WALK: op_walk(in); break;
    case OP_PROG: op_prog(in); break;
    case OP_RESET: reset(); break;
    case OP_OBJECT: op_object(in); break;
    case OP_END: end_object(slot_at(get8(in))); break;
    case OP_RUN: op_run(in); break;
    case OP_RING: op_ring(in); break;
    case OP_PATH: op_path(in); break;
    case OP_MMAP: op_mmap(in); break;
    default: die("unknown record");
  }
  uint32_t length = out_length - head - 4;
  memcpy(out + head, &length, 4);
}

static void *map_memory(size_t length) {
  void *at = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) die("mmap");
  return at;
}

static void set_up(void) {
  union bpf_attr create;
  close_range(3, ~0u, 0);
  // 0 and 1 become files that are nothing special: a parent's pipes may be sockets.
  in_fd = fcntl(0, F_DUPFD_CLOEXEC, OWN_FDS);
  out_fd = fcntl(1, F_DUPFD_CLOEXEC, OWN_FDS);
  int null_fd = open("/dev/null", O_RDWR);
  if (in_fd < 0 || out_fd < 0 || dup2(null_fd, 0) < 0 || dup2(null_fd, 1) < 0) die("standard descriptors");
  close(null_fd);
  if (chdir("/") < 0) die("chdir");
  // A file system of our own, which ends with this process.
  if (unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0) mount_bpffs();
  scratch = map_memory(SCRATCH_SIZE);
  registers = map_memory(REGISTERS * REGISTER_SIZE);
  tail_end = (uint8_t *)map_memory(TAIL_SIZE + 4096) + TAIL_SIZE;
  if (mprotect(tail_end, 4096, PROT_NONE) < 0) die("mprotect");
  memset(&create, 0, sizeof create);
  create.map_type = BPF_MAP_TYPE_ARRAY;
  create.key_size = 4;
  create.value_size = IO_SIZE;
  create.max_entries = 1;
  create.map_flags = BPF_F_MMAPABLE;
  int fd = sys_bpf(BPF_MAP_CREATE, &create, sizeof create);
  if (fd < 0) {
    errno = -fd;
    die("BPF_MAP_CREATE");
  }
  io_fd = fcntl(fd, F_DUPFD_CLOEXEC, OWN_FDS);
  close(fd);
  io = mmap(NULL, IO_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, io_fd, 0);
  if (io == MAP_FAILED) die("mmap of the io map");
  for (int i = 0; i < SLOTS; i++) {
    slots[i].fd = slots[i].epoll = -1;
    for (int j = 0; j < PROGS; j++) slots[i].progs[j] = -1;
  }
  pin_to_cpu(0);
}

int main(void) {
  uint8_t *chunk = NULL;
  uint32_t length, room = 0;
  set_up();
  while (read_all(&length, 4)) {
    if (length > room) {
      room = length * 2;
      if (!(chunk = realloc(chunk, room))) die("realloc");
    }
    if (!read_all(chunk, length)) die("chunk cut short");
    out_length = 0;
    for (struct reader in = {chunk}; in.at < chunk + length;) {
      const uint8_t *record = in.at;
      uint32_t record_length = get32(&in);
      run_record(&in);
      in.at = record + record_length;
    }
    uint32_t answer = out_length;
    write_all(&answer, 4);
    write_all(out, out_length);
  }
  reset();
  return 0;
}
