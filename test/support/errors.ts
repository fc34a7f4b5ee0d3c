import { BpfError } from "../../ts/index.js";

/** The code of the BpfError that `run` throws; "none" when it does not throw. Other errors pass. */
export function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof BpfError) return error.code;
    throw error;
  }
  return "none";
}
