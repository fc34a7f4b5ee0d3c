// A small reader of eBPF object files (ELF64, little-endian): finds a program's section, resolves
// its references to maps and appends the functions that it calls in .text.
// What it does not know (global variables, CO-RE, functions of other sections) it says.
import * as op from "./opcodes.js";

/** An object file that cannot be read or linked. */
export class ElfError extends Error {
  override readonly name = "ElfError";
}

interface Section {
  readonly name: string;
  readonly type: number;
  readonly data: Uint8Array;
  readonly link: number;
  readonly info: number;
}

interface ElfSymbol {
  readonly name: string;
  readonly type: number;
  readonly section: number;
  readonly value: number;
  readonly size: number;
}

interface Relocation {
  /** Index of the instruction. */
  readonly pc: number;
  readonly type: number;
  readonly symbol: ElfSymbol;
}

const HEADER_SIZE = 64;
const SECTION_HEADER_SIZE = 64;
const SYMBOL_SIZE = 24;
const REL_SIZE = 16;
const EM_BPF = 247;
const SHT_SYMTAB = 2;
const SHT_NOBITS = 8;
const SHT_REL = 9;
const STT_OBJECT = 1;
const STT_FUNC = 2;
const R_BPF_64_64 = 1;
const R_BPF_64_32 = 10;

/** Sections whose objects are maps: defined by BTF, and the older way. */
const MAP_SECTIONS = [".maps", "maps"];
const TEXT = ".text";

/** An object file. */
export class ElfObject {
  readonly #sections: readonly Section[];
  readonly #symbols: readonly ElfSymbol[];

  /** @throws {ElfError} for anything but an eBPF object of 64 bits, little-endian */
  constructor(file: Uint8Array) {
    this.#sections = readSections(file);
    this.#symbols = readSymbols(this.#sections);
  }

  /** Names of the sections with programs, .text apart. */
  get programs(): string[] {
    const holders = this.#symbols.filter((symbol) => symbol.type === STT_FUNC);
    const names = holders.map((symbol) => this.#section(symbol.section).name);
    return [...new Set(names)].filter((name) => name !== TEXT);
  }

  /** Names of the maps that the object defines, in the order of their definitions. */
  get maps(): string[] {
    return this.#symbols
      .filter((symbol) => this.#isMap(symbol))
      .toSorted((a, b) => a.section - b.section || a.value - b.value)
      .map((symbol) => symbol.name);
  }

  /** What the object has at the place of a map: attributes, where it was defined the older way. */
  mapData(name: string): Uint8Array {
    const symbol = this.#symbols.find((found) => found.name === name && this.#isMap(found));
    if (symbol === undefined) throw new ElfError(`no map ${name}`);
    return this.#section(symbol.section).data.subarray(symbol.value, symbol.value + symbol.size);
  }

  /** Where the functions of a linked program begin: its own at 0, then those of .text. */
  functionStarts(name: string): number[] {
    const index = this.#sections.findIndex((section) => section.name === name);
    const textIndex = this.#sections.findIndex((section) => section.name === TEXT);
    const textStart = this.#section(index).data.length / op.INSN_SIZE;
    const starts = this.#symbols
      .filter(({ type, section }) => type === STT_FUNC && section === textIndex)
      .map(({ value }) => textStart + value / op.INSN_SIZE);
    return [0, ...starts.toSorted((a, b) => a - b)];
  }

  /**
   * The program of a section with the functions of .text behind it. References to maps become
   * those of kind 1 (map by fd), which relocate() resolves.
   * @param maps fd of each map that the program refers to
   * @throws {ElfError} for an unknown section or map, and for references of other kinds
   */
  link(name: string, maps: Readonly<Record<string, number>>): Uint8Array {
    const index = this.#sections.findIndex((section) => section.name === name);
    if (index === -1) throw new ElfError(`no section ${name}`);
    const textIndex = this.#sections.findIndex((section) => section.name === TEXT);
    const program = this.#section(index).data;
    const text = textIndex === -1 ? new Uint8Array() : this.#section(textIndex).data;
    const result = new Uint8Array(program.length + text.length);
    result.set(program);
    result.set(text, program.length);
    const textStart = program.length / op.INSN_SIZE;
    const linker = { view: new DataView(result.buffer), maps, textIndex, textStart };
    for (const relocation of this.#relocations(index)) this.#apply(linker, 0, relocation);
    for (const relocation of this.#relocations(textIndex)) {
      this.#apply(linker, textStart, relocation);
    }
    return result;
  }

  #apply(linker: Linker, start: number, { pc, type, symbol }: Relocation): void {
    const at = (start + pc) * op.INSN_SIZE;
    const { view, maps, textIndex, textStart } = linker;
    if (type === R_BPF_64_64 && this.#isMap(symbol)) {
      const fd = maps[symbol.name];
      if (fd === undefined) throw new ElfError(`no fd for map ${symbol.name}`);
      view.setUint8(at + 1, (view.getUint8(at + 1) & 0x0f) | (op.BPF_PSEUDO_MAP_FD << 4));
      view.setInt32(at + 4, fd, true);
    } else if (type === R_BPF_64_64 && symbol.section === textIndex) {
      // A callback: imm has bytes from the symbol.
      const target = textStart + (symbol.value + view.getInt32(at + 4, true)) / op.INSN_SIZE;
      view.setUint8(at + 1, (view.getUint8(at + 1) & 0x0f) | (op.BPF_PSEUDO_FUNC << 4));
      view.setInt32(at + 4, target - (start + pc) - 1, true);
    } else if (type === R_BPF_64_32 && symbol.section === textIndex) {
      // imm counts from the symbol, in instructions, less one.
      const target = textStart + symbol.value / op.INSN_SIZE + view.getInt32(at + 4, true) + 1;
      view.setInt32(at + 4, target - (start + pc) - 1, true);
    } else {
      const place = this.#section(symbol.section).name;
      throw new ElfError(`insn ${pc}: reference to ${symbol.name} in ${place} is not supported`);
    }
  }

  #relocations(section: number): Relocation[] {
    return this.#sections
      .filter(({ type, info }) => type === SHT_REL && info === section)
      .flatMap(({ data }) => readRelocations(data, this.#symbols));
  }

  #isMap({ type, section }: ElfSymbol): boolean {
    return type === STT_OBJECT && MAP_SECTIONS.includes(this.#sections[section]?.name ?? "");
  }

  #section(index: number): Section {
    const section = this.#sections[index];
    if (section === undefined) throw new ElfError(`no section ${index}`);
    return section;
  }
}

interface Linker {
  readonly view: DataView;
  readonly maps: Readonly<Record<string, number>>;
  readonly textIndex: number;
  /** Index of .text's first instruction. */
  readonly textStart: number;
}

function viewOf(data: Uint8Array): DataView {
  return new DataView(data.buffer, data.byteOffset, data.byteLength);
}

/** The string that begins at an offset of a string table. */
function stringAt(table: Uint8Array | undefined, offset: number): string {
  if (table === undefined) return "";
  const end = table.indexOf(0, offset);
  return new TextDecoder().decode(table.subarray(offset, end === -1 ? table.length : end));
}

function readSections(file: Uint8Array): Section[] {
  const view = viewOf(file);
  // Magic, 64 bits, little-endian.
  const isElf = file.length >= HEADER_SIZE && view.getUint32(0) === 0x7f454c46;
  if (!isElf || view.getUint8(4) !== 2 || view.getUint8(5) !== 1) {
    throw new ElfError("no ELF file of 64 bits, little-endian");
  }
  if (view.getUint16(18, true) !== EM_BPF) throw new ElfError("no eBPF object");
  const start = Number(view.getBigUint64(40, true));
  const count = view.getUint16(60, true);
  if (start + count * SECTION_HEADER_SIZE > file.length) throw new ElfError("cut off");
  const headers = Array.from({ length: count }, (_, index) => {
    const at = start + index * SECTION_HEADER_SIZE;
    const type = view.getUint32(at + 4, true);
    const offset = Number(view.getBigUint64(at + 24, true));
    const size = type === SHT_NOBITS ? 0 : Number(view.getBigUint64(at + 32, true));
    if (offset + size > file.length) throw new ElfError("cut off");
    const data = file.subarray(offset, offset + size);
    const [link, info] = [view.getUint32(at + 40, true), view.getUint32(at + 44, true)];
    return { nameOffset: view.getUint32(at, true), type, data, link, info };
  });
  const names = headers[view.getUint16(62, true)]?.data;
  return headers.map(({ nameOffset, ...header }) => ({
    ...header,
    name: stringAt(names, nameOffset),
  }));
}

function readSymbols(sections: readonly Section[]): ElfSymbol[] {
  const table = sections.find(({ type }) => type === SHT_SYMTAB);
  if (table === undefined) throw new ElfError("no symbols");
  const view = viewOf(table.data);
  const names = sections[table.link]?.data;
  return Array.from({ length: Math.floor(table.data.length / SYMBOL_SIZE) }, (_, index) => {
    const at = index * SYMBOL_SIZE;
    return {
      name: stringAt(names, view.getUint32(at, true)),
      type: view.getUint8(at + 4) & 0x0f,
      section: view.getUint16(at + 6, true),
      value: Number(view.getBigUint64(at + 8, true)),
      size: Number(view.getBigUint64(at + 16, true)),
    };
  });
}

function readRelocations(data: Uint8Array, symbols: readonly ElfSymbol[]): Relocation[] {
  const view = viewOf(data);
  return Array.from({ length: Math.floor(data.length / REL_SIZE) }, (_, index) => {
    const at = index * REL_SIZE;
    const symbol = symbols[view.getUint32(at + 12, true)];
    if (symbol === undefined) throw new ElfError("a relocation without its symbol");
    const pc = Number(view.getBigUint64(at, true)) / op.INSN_SIZE;
    return { pc, type: view.getUint32(at + 8, true), symbol };
  });
}
