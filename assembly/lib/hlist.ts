// The kernel's hlist: lists whose head is one word, from which a node can be taken without knowing the head.
//
//   head: | first |      node: | next | pprev: address of the word that refers to this node |

/** Makes a node the first of a list; `head` is the address of the word that refers to the first. */
export function hlistAddHead(head: usize, node: usize): void {
  const first = load<u32>(head);
  store<u32>(node, first);
  store<u32>(node, head, 4);
  if (first != 0) store<u32>(first, node, 4);
  store<u32>(head, node);
}

export function hlistDel(node: usize): void {
  const next = load<u32>(node);
  const pprev = load<u32>(node, 4);
  store<u32>(pprev, next);
  if (next != 0) store<u32>(next, pprev, 4);
}
