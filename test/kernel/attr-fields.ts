// The commands of bpf(2) by what can be wrong in them: how often they are tried, where the last field ends, and what the
// fields are for.

import { ATTR_END, CMD } from "./abi.js";

const KINDS = ["fd", "in", "out", "flags", "flags32", "count", "pad"] as const;
/** in, out: pointers; count: any number or id; pad: what nobody looks at. */
export type Kind = (typeof KINDS)[number];
export type Field = readonly [at: number, kind: Kind];

/** A command that does not exist. */
export const NO_CMD = 1000;

const ELEM = "0 fd, 4 pad, 8 in, 16 out, 24 flags";
const CURSORS = "0 in, 8 out";
const BATCH = "36 fd, 16 out, 24 out, 32 count, 40 flags, 48 flags";
const PATHNAME = "0 in, 8 fd, 12 flags32, 16 fd";
const BTF = "0 in, 8 out, 16 count, 20 count, 24 flags32, 28 pad, 32 flags32, 36 fd";

const ROWS: readonly (readonly [cmd: number, weight: number, end: number, fields: string])[] = [
  [CMD.MAP_CREATE, 1, ATTR_END.create, ""],
  [CMD.MAP_LOOKUP_ELEM, 2, ATTR_END.elem, ELEM],
  [CMD.MAP_UPDATE_ELEM, 2, ATTR_END.elem, ELEM],
  [CMD.MAP_DELETE_ELEM, 1, ATTR_END.delete, "0 fd, 4 pad, 8 in"],
  [CMD.MAP_GET_NEXT_KEY, 1, ATTR_END.nextKey, "0 fd, 4 pad, 8 in, 16 out"],
  [CMD.OBJ_PIN, 2, ATTR_END.path, PATHNAME],
  [CMD.OBJ_GET, 2, ATTR_END.path, PATHNAME],
  [CMD.MAP_GET_NEXT_ID, 1, ATTR_END.nextId, "0 count, 4 pad"],
  [CMD.MAP_GET_FD_BY_ID, 1, ATTR_END.fdById, "0 count, 4 pad, 8 flags32"],
  [CMD.OBJ_GET_INFO_BY_FD, 2, ATTR_END.info, "0 fd, 4 count, 8 out"],
  [CMD.BTF_LOAD, 1, ATTR_END.btfLoadAll, BTF],
  [CMD.BTF_GET_FD_BY_ID, 1, ATTR_END.btfFdById, "0 count, 4 pad, 8 flags32, 12 fd"],
  [CMD.MAP_LOOKUP_AND_DELETE_ELEM, 1, ATTR_END.elem, ELEM],
  [CMD.MAP_FREEZE, 1, ATTR_END.freeze, "0 fd"],
  [CMD.BTF_GET_NEXT_ID, 1, ATTR_END.nextId, "0 count, 4 pad"],
  [CMD.MAP_LOOKUP_BATCH, 2, ATTR_END.batch, `${CURSORS}, ${BATCH}`],
  [CMD.MAP_LOOKUP_AND_DELETE_BATCH, 1, ATTR_END.batch, `${CURSORS}, ${BATCH}`],
  [CMD.MAP_UPDATE_BATCH, 2, ATTR_END.batch, `0 pad, 8 pad, ${BATCH}`],
  [CMD.MAP_DELETE_BATCH, 1, ATTR_END.batch, `0 pad, 8 pad, ${BATCH}`],
  [NO_CMD, 1, ATTR_END.elem, ELEM],
];

function parse(fields: string): Field[] {
  return fields.split(", ").map((text) => {
    const [at, name] = text.split(" ");
    const kind = KINDS.find((known) => known === name);
    if (kind === undefined) throw new Error(`no kind of field: ${text}`);
    return [Number(at), kind];
  });
}

const FIELDS = new Map(ROWS.map(([cmd, , , fields]) => [cmd, fields === "" ? [] : parse(fields)]));
const ENDS = new Map(ROWS.map(([cmd, , end]) => [cmd, end]));

/** All commands, each as often as it is to be tried. */
export const CMDS: readonly number[] = ROWS.flatMap(([cmd, weight]) =>
  Array<number>(weight).fill(cmd),
);

export function fieldsOf(cmd: number): readonly Field[] {
  return FIELDS.get(cmd) ?? [];
}

/** Where the last field of a command ends. */
export function endOf(cmd: number): number {
  return ENDS.get(cmd) ?? 0;
}
