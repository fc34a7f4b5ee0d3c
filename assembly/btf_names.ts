// Names in BTF blobs: offsets into the string section.

import { Btf } from "./btf";
import { isNameByte } from "./lib/bytes";

/** Longest identifier, bytes. */
const NAME_MAX: u32 = 512;

export function isName(btf: Btf, offset: u32): bool {
  return offset < btf.stringsLen;
}

export function hasText(btf: Btf, offset: u32): bool {
  return isName(btf, offset) && load<u8>(btf.strings + offset) != 0;
}

export function isOptionalIdentifier(btf: Btf, offset: u32): bool {
  return offset == 0 || isIdentifier(btf, offset);
}

/** Letters (Latin-1 ones too), digits, `_` and `.`; no digit in front; as long as a symbol at most. */
export function isIdentifier(btf: Btf, offset: u32): bool {
  if (!isText(btf, offset, true)) return false;
  const first = load<u8>(btf.strings + offset);
  return first < 0x30 || first > 0x39;
}

export function isPrintable(btf: Btf, offset: u32): bool {
  return isText(btf, offset, false);
}

/** A name that is not too long, of printable bytes or (`asName`) of those of identifiers. */
function isText(btf: Btf, offset: u32, asName: bool): bool {
  if (!hasText(btf, offset)) return false;
  const start = btf.strings + offset;
  let at = start;
  for (let c = load<u8>(at); c != 0; c = load<u8>(++at)) {
    const isLegal = asName ? isNameByte(c) : c >= 0x20 && (c < 0x7f || c >= 0xa0);
    if (!isLegal || at - start >= NAME_MAX) return false;
  }
  return true;
}
