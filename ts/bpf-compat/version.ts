/** What this entry behaves like. */
export const versions = {
  /** None is used. */
  libelf: "",
  /** The libbpf whose calls the operations are named after. */
  libbpf: "0.9.0",
  /** BTF_VERSION. */
  btf: 1,
  /** The kernel whose maps these are. */
  kernel: "6.18.0",
} as const satisfies { libelf: string; libbpf: string; btf: number; kernel: string };

/** The same as `versions.libbpf`. */
export const version: string = versions.libbpf;
