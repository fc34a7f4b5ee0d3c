// The stream of operations that driver.c (the real kernel) and library.ts (this library) replay.
//
// A record is { u32 length of the whole record, u8 operation, body }, little-endian; its answer is
// { u32 length of what follows, body }. Bodies:
//
//   BPF     u8 buffers, u8 patches, u8 result slot (0xff = none), i32 cmd, u32 size, u8 attrLength,
//           u8 changedOffset, u8 changedLength, u8 flags, attr bytes, buffers, patches
//             buffer: u8 attr offset of its pointer, u8 kind, u16 register or value size, u32 length,
//                     bytes if IN
//             patch:  u8 target (0 = attr, n = buffer n - 1), u8 what, u16 offset, u16 slot
//           -> i32 result, attr bytes [changedOffset, +changedLength), bytes of the OUT buffers
//   CPU     u8 cpu                                          -> nothing
//   CLOSE   u8 slot                                         -> i32 result
//   WALK    u8 slot, u32 keySize, u32 limit                 -> i32 result, u32 count, keys
//   PROG    u8 slot, u8 helper, u32 cpu, u32 keySize, u32 valueSize, u64 flags, key, value
//                                                           -> i32 result, valueSize bytes
//   RESET                                                   -> nothing
//   OBJECT  u8 slot, u8 kind                                -> i32 result
//   END     u8 slot                                         -> nothing
//   RUN     u8 functions, u32 insns, u32 inputLength, u32 outputLength, u32 packets, u32 start of each
//           function, instructions (references to maps by slot), input, packets (u16 length, bytes;
//           without any the program runs once on 64 zeros), the program's text for reports
//           -> i32 result (31 * the one before + r0, for each packet), outputLength bytes
//   RING    u8 slot, u8 kind, u32 maxEntries, u32 count, count bytes to append if USER
//           -> i32 result, u32 woken since the record before, up to count records with their headers
//              unless USER, u64 positions (of the consumer, the producer, and the oldest record that
//              is not committed)
//   PATH    u8 what, u8 slot (what OPEN opens), path, NUL   -> i32 result
//   MMAP    u8 window, u8 slot (0xff: only ends the window), u8 0 readable, 1 writable or 2 written to, u64 offset, u64 length
//           -> i32 result, 64 bytes if it is 0
//
// Descriptors go through slots and ids come back as slots, because ids differ from kernel to kernel.
// Results that are descriptors are compared as they are: both sides hand out the lowest free number.

export const OP = {
  BPF: 1,
  CPU: 2,
  CLOSE: 3,
  WALK: 4,
  PROG: 5,
  RESET: 6,
  OBJECT: 7,
  END: 8,
  RUN: 9,
  RING: 10,
  PATH: 11,
  MMAP: 12,
} as const;

/** How a buffer is handed over; bits. */
export const BUF = {
  /** Its bytes follow in the record; otherwise it starts out filled with FILL. */
  IN: 1,
  /** Its bytes after the call are part of the answer. */
  OUT: 2,
  /** It is a register: memory that keeps its bytes from record to record. */
  REG: 4,
  /** It ends where memory ends, so that one byte more faults. At most one per record. */
  TAIL: 8,
  /** It holds per-CPU values of the size in the register's place: their padding is answered as 0. */
  PADDED: 16,
} as const;

/** What a patch does; the id kinds know a map by the slot it was last held in. */
export const PATCH = {
  /** Before the call: the slot's descriptor, its map's id, or the id before that. */
  FD: 0,
  ID: 1,
  ID_BEFORE: 3,
  /** In the answer: the slot in place of the id, or 1 in place of any id at all. */
  OUT_ID: 2,
  OUT_ANY: 4,
} as const;

export const FLAG = {
  /** After -EFAULT the contents of OUT buffers are unspecified: answer zeros. */
  BLANK_ON_FAULT: 1,
  /** Ask for the id of the result now, so that it is known after its descriptor is closed. */
  WANT_ID: 2,
  /** Hand over an address outside memory in place of the attr. */
  BAD_ATTR: 4,
  /** The attr's `size` bytes end where memory ends. */
  TAIL_ATTR: 8,
  /** Answer attr bytes as what the call changed (XOR): pointers and ids in them do not show. */
  CHANGES: 16,
} as const;

/** Helper calls of PROG records. */
export const PROG = {
  LOOKUP: 0,
  UPDATE: 1,
  DELETE: 2,
  PUSH: 3,
  POP: 4,
  PEEK: 5,
  LOOKUP_PERCPU: 6,
} as const;

/** What a RUN record's program works with: its input, where its output begins, and the end of both. */
export const IO = { SLOT: 0xff, INPUT: 64, OUTPUT: 8192, SIZE: 16384 } as const;

/** Bits of a RING record's kind: whose positions are moved; whether the library's second copy of the data is mapped. */
export const RING = { USER: 1, MIRRORED: 2 } as const;

export const OBJECT = { SOCKET: 0, TASK: 1, CGROUP: 2, FILE: 3 } as const;

/** What a PATH record does. */
export const PATH = { MKDIR: 0, UNLINK: 1, RMDIR: 2, OPEN: 3 } as const;

/** Windows of MMAP records. */
export const WINDOWS = 4;

export const SLOTS = 64;
export const NO_SLOT = 0xff;
export const REGISTERS = 8;
export const REGISTER_SIZE = 4096;
export const FILL = 0xa5;

/** Where a BPF record's attr begins, counted from the record's start. */
export const ATTR_AT = 20;

/** A growing buffer of records. One is reused for all sessions of a run. */
export class OpStream {
  bytes = new Uint8Array(1 << 20);
  view = new DataView(this.bytes.buffer);
  length = 0;
  /** Where each record starts. */
  starts: number[] = [];
  #start = 0;

  clear(): void {
    this.length = 0;
    this.starts = [];
  }

  get count(): number {
    return this.starts.length;
  }

  /** Bytes of one record. */
  record(index: number): Uint8Array {
    return this.bytes.subarray(this.starts[index], this.starts[index + 1] ?? this.length);
  }

  /** Appends a record taken from another stream. */
  append(record: Uint8Array): void {
    this.#room(record.length);
    this.starts.push(this.length);
    this.bytes.set(record, this.length);
    this.length += record.length;
  }

  cpu(cpu: number): void {
    this.#begin(OP.CPU);
    this.#u8(cpu);
    this.#end();
  }

  close(slot: number): void {
    this.#begin(OP.CLOSE);
    this.#u8(slot);
    this.#end();
  }

  walk(slot: number, keySize: number, limit: number): void {
    this.#begin(OP.WALK);
    this.#u8(slot);
    this.#u32(keySize);
    this.#u32(limit);
    this.#end();
  }

  prog(
    slot: number,
    helper: number,
    key: Uint8Array,
    value: Uint8Array,
    flags: bigint,
    cpu = 0,
  ): void {
    this.#begin(OP.PROG);
    this.#u8(slot);
    this.#u8(helper);
    this.#u32(cpu);
    this.#u32(key.length);
    this.#u32(value.length);
    this.#u64(flags);
    this.#bytes(key);
    this.#bytes(value);
    this.#end();
  }

  reset(): void {
    this.#begin(OP.RESET);
    this.#end();
  }

  object(slot: number, kind: number): void {
    this.#begin(OP.OBJECT);
    this.#u8(slot);
    this.#u8(kind);
    this.#end();
  }

  /** Ends the life of the object in a slot: a task exits and is reaped, a cgroup is removed. */
  endObject(slot: number): void {
    this.#begin(OP.END);
    this.#u8(slot);
    this.#end();
  }

  /** mkdir and the like; OPEN puts a directory's descriptor into `slot`. */
  path(what: number, path: string, slot = 0): void {
    this.#begin(OP.PATH);
    this.#u8(what);
    this.#u8(slot);
    this.#bytes(new TextEncoder().encode(`${path}\0`));
    this.#end();
  }

  /** Ends a window, and opens it again on another map unless `slot` is NO_SLOT. */
  mmap(window: number, slot: number, prot: number, offset: bigint, length: bigint): void {
    this.#begin(OP.MMAP);
    this.#u8(window);
    this.#u8(slot);
    this.#u8(prot);
    this.#u64(offset);
    this.#u64(length);
    this.#end();
  }

  /** A program of its own; `starts` are the instructions where its functions begin, the first at 0. */
  run(
    insns: Uint8Array,
    starts: readonly number[],
    input: Uint8Array,
    output: number,
    text: string,
    packets: readonly Uint8Array[] = [],
  ): void {
    this.#begin(OP.RUN);
    this.#u8(starts.length);
    this.#u32(insns.length / 8);
    this.#u32(input.length);
    this.#u32(output);
    this.#u32(packets.length);
    for (const start of starts) this.#u32(start);
    this.#bytes(insns);
    this.#bytes(input);
    for (const packet of packets) {
      this.#u16(packet.length);
      this.#bytes(packet);
    }
    this.#bytes(new TextEncoder().encode(text));
    this.#end();
  }

  /** Consumes up to `count` records of a ring buffer. */
  consume(slot: number, maxEntries: number, count: number, kind = 0): void {
    this.#ring(slot, kind, maxEntries, count);
    this.#end();
  }

  /** Appends bytes, records with their headers, to a user ring buffer. */
  produce(slot: number, maxEntries: number, bytes: Uint8Array): void {
    this.#ring(slot, RING.USER, maxEntries, bytes.length);
    this.#bytes(bytes);
    this.#end();
  }

  #ring(slot: number, kind: number, maxEntries: number, count: number): void {
    this.#begin(OP.RING);
    this.#u8(slot);
    this.#u8(kind);
    this.#u32(maxEntries);
    this.#u32(count);
  }

  /** Begins a BPF record; `attr*`, then `buffer`s, then `patch`es, then `endBpf` follow. */
  bpf(cmd: number, attrLength: number, size = attrLength): void {
    this.#begin(OP.BPF);
    this.#room(ATTR_AT + attrLength);
    const at = this.#start;
    this.bytes.fill(0, at + 5, at + ATTR_AT + attrLength);
    this.bytes[at + 7] = NO_SLOT;
    this.view.setInt32(at + 8, cmd, true);
    this.view.setUint32(at + 12, size, true);
    this.bytes[at + 16] = attrLength;
    this.length = at + ATTR_AT + attrLength;
  }

  attr32(offset: number, value: number): void {
    this.view.setUint32(this.#start + ATTR_AT + offset, value, true);
  }

  attr64(offset: number, value: bigint): void {
    this.view.setBigUint64(this.#start + ATTR_AT + offset, value, true);
  }

  attrBytes(offset: number, bytes: Uint8Array): void {
    this.bytes.set(bytes, this.#start + ATTR_AT + offset);
  }

  buffer(attrOffset: number, kind: number, length: number, content?: Uint8Array, reg = 0): void {
    this.bytes[this.#start + 5] = (this.bytes[this.#start + 5] ?? 0) + 1;
    this.#u8(attrOffset);
    this.#u8(kind);
    this.#u16(reg);
    this.#u32(length);
    if ((kind & BUF.IN) !== 0) {
      this.#room(length);
      this.bytes.fill(0, this.length, this.length + length);
      if (content) this.bytes.set(content.subarray(0, length), this.length);
      this.length += length;
    }
  }

  patch(target: number, what: number, offset: number, slot = 0): void {
    this.bytes[this.#start + 6] = (this.bytes[this.#start + 6] ?? 0) + 1;
    this.#u8(target);
    this.#u8(what);
    this.#u16(offset);
    this.#u16(slot);
  }

  /** Puts the result, a descriptor, into a slot. */
  result(slot: number): void {
    this.bytes[this.#start + 7] = slot;
  }

  /** Makes attr bytes part of the answer. */
  changed(offset: number, length: number): void {
    this.bytes[this.#start + 17] = offset;
    this.bytes[this.#start + 18] = length;
  }

  flag(flag: number): void {
    this.bytes[this.#start + 19] = (this.bytes[this.#start + 19] ?? 0) | flag;
  }

  endBpf(): void {
    this.#end();
  }

  #begin(op: number): void {
    this.#start = this.length;
    this.starts.push(this.length);
    this.#u32(0);
    this.#u8(op);
  }

  #end(): void {
    this.view.setUint32(this.#start, this.length - this.#start, true);
  }

  #room(length: number): void {
    if (this.length + length <= this.bytes.length) return;
    const bytes = new Uint8Array((this.length + length) * 2);
    bytes.set(this.bytes);
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer);
  }

  #u8(value: number): void {
    this.#room(1);
    this.bytes[this.length++] = value;
  }

  #u16(value: number): void {
    this.#room(2);
    this.view.setUint16(this.length, value, true);
    this.length += 2;
  }

  #u32(value: number): void {
    this.#room(4);
    this.view.setUint32(this.length, value, true);
    this.length += 4;
  }

  #u64(value: bigint): void {
    this.#room(8);
    this.view.setBigUint64(this.length, value, true);
    this.length += 8;
  }

  #bytes(bytes: Uint8Array): void {
    this.#room(bytes.length);
    this.bytes.set(bytes, this.length);
    this.length += bytes.length;
  }
}
